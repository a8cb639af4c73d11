//! Free TCP ports.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use rand::Rng as _;

const LOWEST: u16 = 10_240;
/// Where Linux starts to hand out ports to outgoing connections unless told otherwise.
const USUAL_EPHEMERAL_START: u16 = 32_768;
const MAX_TRIES: usize = 1_000;

/// What this process has handed out: two servers that start at once must not be given the same
/// port before either listens on it.
static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// `N` ports on which nothing listens, none of them handed out before.
///
/// They lie below the range of outgoing connections: a server that was stopped wants the same
/// ports when it starts again, and no connection may have taken one meanwhile.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut guard = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let handed_out = guard.get_or_insert_default();
    let above_highest = ephemeral_start();
    let mut ports = [0; N];
    let mut found = 0;
    for _ in 0..MAX_TRIES {
        if found == N {
            break;
        }
        let port = rand::rng().random_range(LOWEST..above_highest);
        if !handed_out.contains(&port) && is_free(port) {
            handed_out.insert(port);
            ports[found] = port;
            found += 1;
        }
    }
    if found < N {
        bail!("found no {N} free TCP ports between {LOWEST} and {above_highest}; end some servers");
    }
    Ok(ports)
}

/// A port on which nothing listens, for a server whose address has to be known before it starts.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    let [port] = free_ports()?;
    Ok(port)
}

/// Whether a server could listen on the port, on all interfaces, now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

fn ephemeral_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|start| *start > LOWEST + 1_000)
        .unwrap_or(USUAL_EPHEMERAL_START)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        let first: [u16; 40] = free_ports().unwrap();
        let second: [u16; 40] = free_ports().unwrap();
        let all: HashSet<u16> = first.into_iter().chain(second).collect();
        assert_eq!(all.len(), 80);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
