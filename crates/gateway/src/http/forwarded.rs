//! Where a request comes from when proxies stand between: what their header says counts only from addresses that the
//! operator has named, because anybody else can write the header too.

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// The header that proxies add the address of their client to.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Entries of the header that are looked at, from the nearest on.
const ENTRIES_MAX: usize = 32;

/// An address, or all addresses with the same beginning: `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an IP address nor a network such as `10.0.0.0/8`")]
pub struct UnknownNetwork(String);

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, bits: u32| {
            let shift = bits.saturating_sub(u32::from(self.prefix_bits));
            own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(u128::from(own.to_bits()), u128::from(other.to_bits()), u32::BITS)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), u128::BITS),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownNetwork(text.chars().take(64).collect());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| unknown())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.map_or(Ok(bits_max), str::parse).map_err(|_| unknown())?;
        if prefix_bits > bits_max {
            return Err(unknown());
        }
        Ok(Self { address: address.to_canonical(), prefix_bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Lets the requests of a router come from where these proxies say. Without any, the header means nothing.
pub fn behind_proxies(router: Router, proxies: Vec<Network>) -> Router {
    if proxies.is_empty() {
        return router;
    }
    router.layer(from_fn_with_state(Arc::new(proxies), look_behind))
}

async fn look_behind(State(proxies): State<Arc<Vec<Network>>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    if let Some(peer) = peer {
        let client = client(peer.ip(), request.headers(), &proxies);
        if client != peer.ip() {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
        }
    }
    next.run(request).await
}

/// The nearest address that is no proxy of ours: each proxy wrote down whom it heard from, behind what it was told.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|line| line.to_str().ok());
    let entries = lines.flat_map(|line| line.rsplit(',')).take(ENTRIES_MAX);
    for entry in entries {
        if !is_proxy(nearest) {
            break;
        }
        // What is no address came from somebody who is no proxy of ours; nothing behind it can be believed.
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
    }
    nearest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(peer: &str, lines: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let proxies: Vec<Network> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn the_header_counts_only_from_a_proxy() {
        assert_eq!(seen("8.8.8.8", &["1.2.3.4"], &["10.0.0.0/8"]), "8.8.8.8");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("::ffff:10.0.0.1", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_writes_in_front_is_not_believed() {
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6", "1.2.3.4"], &["10.0.0.1"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, nonsense"], &["10.0.0.1"]), "10.0.0.1");
    }

    #[test]
    fn networks_are_read_and_refused() {
        for text in ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "0.0.0.0/0"] {
            text.parse::<Network>().unwrap();
        }
        for text in ["", "proxy", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/x"] {
            text.parse::<Network>().unwrap_err();
        }
        assert_eq!(seen("fd12::1", &["2001:db8::1"], &["fd00::/8"]), "2001:db8::1");
        assert_eq!(seen("9.9.9.9", &["1.2.3.4"], &["0.0.0.0/0"]), "1.2.3.4");
    }
}
