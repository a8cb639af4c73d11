//! Which web pages may use the API. Programs send no `Origin` and are not concerned.

use crate::error::GatewayError;
use axum::http::{HeaderMap, header};

/// Refuses requests that a browser makes for a page of another site.
///
/// # Errors
/// `Forbidden`: the origin is neither this host nor on the list.
pub(super) fn check(headers: &HeaderMap, allowed_origins: &[String]) -> Result<(), GatewayError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default().trim_end_matches('/');
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let same_host = origin
        .split_once("://")
        .is_some_and(|(_, authority)| host.is_some_and(|host| host.eq_ignore_ascii_case(authority)));
    let listed =
        allowed_origins.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin));
    if same_host || listed {
        return Ok(());
    }
    Err(GatewayError::Forbidden {
        message: String::from("pages of this origin may not use the API; the operator can allow the origin"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn allowed(origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "milvault.example:19600".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(&headers, &[String::from("https://console.example")]).is_ok()
    }

    #[test]
    fn only_this_host_and_listed_origins_pass() {
        for origin in [
            None,
            Some("http://milvault.example:19600"),
            Some("https://MILVAULT.example:19600"),
            Some("https://console.example"),
        ] {
            assert!(allowed(origin), "{origin:?}");
        }
        for origin in [
            "null",
            "",
            "https://evil.example",
            "http://milvault.example",
            "https://console.example.evil.example",
            "http://evil.example/milvault.example:19600",
        ] {
            assert!(!allowed(Some(origin)), "{origin}");
        }
    }
}
