//! The channel to a Milvus, from what a person registered.

use crate::error::with_causes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ports::SecretSource;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Milvus allows a ping every 5 seconds.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connects, without a call yet.
pub(crate) async fn open(endpoint: &MilvusEndpoint) -> PortResult<Channel> {
    let uri = &endpoint.uri;
    let builder = configure(endpoint)?;
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, builder.connect());
    match connecting.await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => {
            let cause = with_causes(&error.to_string(), std::error::Error::source(&error));
            let advice = connect_advice(uri, &cause);
            let message = format!("cannot connect to Milvus at {uri}: {cause}; {advice}");
            Err(PortError::with_source(PortErrorKind::Unavailable, message, error))
        }
        Err(_) => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            let message = format!(
                "cannot connect to Milvus at {uri}: no answer within {seconds} s; check the address and that no \
                 firewall drops the connection"
            );
            Err(PortError::new(PortErrorKind::Unavailable, message))
        }
    }
}

/// The value of the `authorization` header: Milvus wants `user:password`, or the token, in base64.
pub(crate) fn authorization(
    auth: &MilvusAuth,
    secrets: &dyn SecretSource,
) -> PortResult<Option<MetadataValue<Ascii>>> {
    let encoded = match auth {
        MilvusAuth::None => return Ok(None),
        MilvusAuth::Token(token) => STANDARD.encode(secrets.reveal(token)?.expose()),
        MilvusAuth::Password { user, password } => {
            STANDARD.encode(format!("{user}:{}", secrets.reveal(password)?.expose()))
        }
    };
    // Base64 is plain ASCII; the error carries no part of the value.
    let mut value: MetadataValue<Ascii> = encoded.parse().map_err(|_| {
        PortError::new(PortErrorKind::Internal, "the Milvus credentials do not fit into a header")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn configure(endpoint: &MilvusEndpoint) -> PortResult<Endpoint> {
    let uri = &endpoint.uri;
    let builder = Endpoint::from_shared(uri.clone())
        .map_err(|_| {
            let message =
                format!("`{uri}` is not an address; give `http://host:port` or `https://host:port`");
            PortError::new(PortErrorKind::InvalidInput, message)
        })?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if !uri.starts_with("https://") {
        return Ok(builder);
    }
    let own = own_certificates(endpoint)?;
    let configured = builder.clone().tls_config(own.clone().with_native_roots()).or_else(|error| {
        // A container may have no system certificates at all; that matters only without an own one.
        if endpoint.ca_pem.is_none() { Err(error) } else { builder.tls_config(own) }
    });
    configured.map_err(|error| {
        let cause = with_causes(&error.to_string(), std::error::Error::source(&error));
        let message =
            format!("the TLS settings for {uri} cannot be used: {cause}; check `caPem` and `serverName`");
        PortError::with_source(PortErrorKind::InvalidInput, message, error)
    })
}

fn own_certificates(endpoint: &MilvusEndpoint) -> PortResult<ClientTlsConfig> {
    let mut config = ClientTlsConfig::new();
    if let Some(name) = &endpoint.server_name {
        config = config.domain_name(name);
    }
    if let Some(pem) = &endpoint.ca_pem {
        // Without this check a text that is no certificate would be ignored, and the connection refused later with
        // words that point elsewhere.
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            let message = "`caPem` holds no certificate; it must begin with `-----BEGIN CERTIFICATE-----`";
            return Err(PortError::new(PortErrorKind::InvalidInput, message));
        }
        config = config.ca_certificate(Certificate::from_pem(pem));
    }
    Ok(config)
}

/// What to look at, from the words of the transport: its error types say no more.
fn connect_advice(uri: &str, cause: &str) -> &'static str {
    let cause = cause.to_ascii_lowercase();
    if cause.contains("certificate") {
        "the server's certificate is not trusted or not for this name: give its authority in `caPem`, or the name \
         it was made for in `serverName`"
    } else if uri.starts_with("https://") && (cause.contains("corrupt message") || cause.contains("eof")) {
        "the server does not seem to speak TLS there: use `http://`"
    } else if cause.contains("dns") || cause.contains("lookup") {
        "check the host name"
    } else {
        "check the address and port, and that Milvus is up"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::secret::{Secret, SecretValue};

    struct Plain;

    impl SecretSource for Plain {
        fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
            match secret {
                Secret::Value(value) => Ok(value.clone()),
                _ => Err(PortError::new(PortErrorKind::NotFound, "no such secret")),
            }
        }
    }

    fn endpoint(uri: &str, ca_pem: Option<&str>) -> MilvusEndpoint {
        MilvusEndpoint {
            uri: uri.to_owned(),
            auth: MilvusAuth::None,
            ca_pem: ca_pem.map(str::to_owned),
            server_name: None,
        }
    }

    #[test]
    fn credentials_become_a_header_that_debug_does_not_show() {
        let secret = || Secret::Value(SecretValue::new(String::from("Milvus")));
        let password = MilvusAuth::Password { user: String::from("root"), password: secret() };
        let value = authorization(&password, &Plain).unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "cm9vdDpNaWx2dXM=");
        assert_eq!(format!("{value:?}"), "Sensitive");
        let value = authorization(&MilvusAuth::Token(secret()), &Plain).unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "TWlsdnVz");
        assert!(authorization(&MilvusAuth::None, &Plain).unwrap().is_none());
    }

    #[test]
    fn a_missing_secret_is_reported_before_anything_is_sent() {
        let auth = MilvusAuth::Token(Secret::Environment(String::from("MILVAULT_SECRET_X")));
        assert_eq!(authorization(&auth, &Plain).unwrap_err().kind(), PortErrorKind::NotFound);
    }

    #[test]
    fn settings_that_cannot_be_right_are_invalid_input() {
        let bad = [
            endpoint("http://", None),
            endpoint("not a uri", None),
            endpoint("https://milvus:19530", Some("hello")),
        ];
        for endpoint in bad {
            let kind = configure(&endpoint).map(|_| ()).map_err(|error| error.kind());
            assert_eq!(kind, Err(PortErrorKind::InvalidInput), "{endpoint:?}");
        }
    }

    #[test]
    fn advice_follows_the_words_of_the_transport() {
        assert!(connect_advice("https://a:1", "invalid peer certificate: UnknownIssuer").contains("caPem"));
        assert!(connect_advice("https://a:1", "received corrupt message").contains("http://"));
        assert!(connect_advice("http://a:1", "dns error").contains("host name"));
        assert!(connect_advice("http://a:1", "connection refused").contains("address and port"));
    }
}
