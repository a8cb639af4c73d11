//! What pages of this server carry besides keys: cookies. A session counts only for requests that a page of this very
//! server makes: `SameSite` keeps the cookie from other sites, and the `Origin` that browsers put on such requests keeps
//! it from other hosts of the same site.

use super::Gateway;
use crate::auth::{Presented, key_in_headers};
use crate::error::GatewayError;
use crate::sign_in::OidcSignIn;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const SESSION_COOKIE: &str = "milvault_session";
const SIGN_IN_COOKIE: &str = "milvault_sign_in";
/// Browsers accept such a cookie only from its own host, by TLS, for all paths.
const HOST_PREFIX: &str = "__Host-";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It may change something, or opens a WebSocket that may.
    Act,
    /// It only reads, and may be a link that somebody follows.
    Read,
}

/// A cookie of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// The token of a session.
    Session,
    /// What the browser keeps of a sign-in under way.
    SignIn,
}

impl Cookie {
    fn name(self, is_secure: bool) -> String {
        let name = match self {
            Self::Session => SESSION_COOKIE,
            Self::SignIn => SIGN_IN_COOKIE,
        };
        if is_secure { format!("{HOST_PREFIX}{name}") } else { name.to_owned() }
    }

    /// Its value in a request.
    pub(super) fn find(self, headers: &HeaderMap, is_secure: bool) -> Option<&str> {
        let wanted = self.name(is_secure);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == wanted).then_some(value))
    }

    /// The header that makes a browser keep it for so many seconds; 0 makes it forget it.
    pub(super) fn set(self, value: &str, seconds: i64, is_secure: bool) -> Option<HeaderValue> {
        let name = self.name(is_secure);
        let secure = if is_secure { "; Secure" } else { "" };
        HeaderValue::from_str(&format!(
            "{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}"
        ))
        .ok()
    }
}

impl Gateway {
    /// What a request carries: a key in its header, else a session in its cookie.
    ///
    /// # Errors
    /// `Forbidden` for a session that no page of this server carries.
    pub(super) fn presented<'a>(
        &self,
        headers: &'a HeaderMap,
        purpose: Purpose,
    ) -> Result<Presented<'a>, GatewayError> {
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(key_in_headers(headers).map_or(Presented::Nothing, Presented::Key));
        }
        let Some(sign_in) = &self.sign_in else { return Ok(Presented::Nothing) };
        match Cookie::Session.find(headers, sign_in.is_secure()) {
            None => Ok(Presented::Nothing),
            Some(token) => {
                check_page(headers, sign_in, purpose)?;
                Ok(Presented::Session(token))
            }
        }
    }
}

/// Lets requests through that a page of this server makes; reading ones too that somebody makes who follows a link.
///
/// # Errors
/// `Forbidden` for all others.
pub(super) fn check_page(
    headers: &HeaderMap,
    sign_in: &OidcSignIn,
    purpose: Purpose,
) -> Result<(), GatewayError> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_own = match text(&header::ORIGIN) {
        Some(origin) => origin.eq_ignore_ascii_case(&sign_in.origin),
        None => purpose == Purpose::Read && matches!(text(&FETCH_SITE), None | Some("same-origin" | "none")),
    };
    if is_own {
        return Ok(());
    }
    Err(GatewayError::Forbidden {
        message: format!("a session is for pages of this server: send `Origin: {}`", sign_in.origin),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; xmilvault_session=2;milvault_session=3".parse().unwrap());
        headers.append(header::COOKIE, "__Host-milvault_session=4; milvault_sign_in=".parse().unwrap());
        assert_eq!(Cookie::Session.find(&headers, false), Some("3"));
        assert_eq!(Cookie::Session.find(&headers, true), Some("4"));
        assert_eq!(Cookie::SignIn.find(&headers, false), Some(""));
        assert_eq!(Cookie::SignIn.find(&headers, true), None);
    }

    #[test]
    fn a_cookie_says_who_may_have_it() {
        let set = |is_secure| Cookie::Session.set("x", 60, is_secure).unwrap().to_str().unwrap().to_owned();
        assert_eq!(set(false), "milvault_session=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        assert_eq!(
            set(true),
            "__Host-milvault_session=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
        );
        assert_eq!(Cookie::Session.set("a\nb", 60, true), None);
    }
}
