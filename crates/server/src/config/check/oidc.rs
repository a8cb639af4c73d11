//! Rules of the section `[oidc]`.

use super::{BrokenRule, is_origin, within};
use crate::config::settings::OidcSettings;
use milvault_domain::secret::Secret;

/// The first rule that is broken. An empty section is none: nobody signs in.
pub(super) fn broken_rule(oidc: &OidcSettings) -> Option<BrokenRule> {
    let is_used = oidc.issuer.is_some();
    let all_or_none = "must be set together with oidc.issuer, and only with it";
    let secret_env = oidc.client_secret_env.as_deref();
    let rules: [(&'static str, bool, &'static str); 11] = [
        (
            "oidc.issuer",
            oidc.issuer.as_deref().is_none_or(is_issuer),
            "must be an https:// address without query, as the provider publishes it; http:// only on this machine",
        ),
        (
            "oidc.client_id",
            is_used == oidc.client_id.as_deref().is_some_and(|id| !id.is_empty()),
            all_or_none,
        ),
        ("oidc.public_url", is_used == oidc.public_url.is_some(), all_or_none),
        (
            "oidc.public_url",
            oidc.public_url.as_deref().is_none_or(is_public_url),
            "must be the address of this server as browsers see it, without a path: https://, or http:// on this machine",
        ),
        (
            "oidc.client_secret_env",
            secret_env.is_none_or(|name| name.starts_with(Secret::ENVIRONMENT_PREFIX)),
            "must name a variable that begins with MILVAULT_SECRET_",
        ),
        (
            "oidc.client_secret_file",
            oidc.client_secret_file.is_none() || secret_env.is_none(),
            "must not be set besides oidc.client_secret_env",
        ),
        (
            "oidc.scopes",
            oidc.scopes.len() <= 20 && oidc.scopes.iter().all(|scope| is_word(scope)),
            "must be at most 20 scopes such as email, without spaces",
        ),
        (
            "oidc.allowed_email_domains",
            oidc.allowed_email_domains.len() <= 100
                && oidc.allowed_email_domains.iter().all(|domain| is_word(domain) && !domain.contains('@')),
            "must be at most 100 domains such as example.com, without @",
        ),
        ("oidc.session_seconds", within(oidc.session_seconds, 1..=2_592_000), "must be 1 to 2592000 seconds"),
        (
            "oidc.session_idle_seconds",
            within(oidc.session_idle_seconds, 120..=2_592_000),
            "must be 120 to 2592000 seconds",
        ),
        (
            "oidc.allowed_email_domains",
            is_used || oidc.allowed_email_domains.is_empty(),
            "has no effect without oidc.issuer",
        ),
    ];
    rules.into_iter().find(|(_, holds, _)| !holds).map(|(key, _, rule)| BrokenRule { key, rule })
}

/// Tokens and codes go there: never in plain text through a network.
fn is_issuer(text: &str) -> bool {
    let (address, path) = split(text);
    is_safe(address) && !path.contains(['?', '#', ' '])
}

fn is_public_url(text: &str) -> bool {
    let (address, path) = split(text);
    is_safe(address) && matches!(path, "" | "/")
}

/// `scheme://authority`, and what follows.
fn split(text: &str) -> (&str, &str) {
    let start = text.find("://").map_or(text.len(), |end| end + 3);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |slash| start + slash);
    text.split_at(end)
}

fn is_safe(address: &str) -> bool {
    if !is_origin(address) {
        return false;
    }
    let Some(authority) = address.strip_prefix("http://") else { return true };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> OidcSettings {
        OidcSettings {
            issuer: Some(String::from("https://id.example.com/realms/one")),
            client_id: Some(String::from("milvault")),
            public_url: Some(String::from("https://backup.example.com")),
            ..OidcSettings::default()
        }
    }

    fn broken(change: impl FnOnce(&mut OidcSettings)) -> Option<&'static str> {
        let mut oidc = used();
        change(&mut oidc);
        broken_rule(&oidc).map(|rule| rule.key)
    }

    #[test]
    fn a_section_is_empty_or_complete() {
        assert_eq!(broken_rule(&OidcSettings::default()), None);
        assert_eq!(broken_rule(&used()), None);
        assert_eq!(broken(|oidc| oidc.client_id = None), Some("oidc.client_id"));
        assert_eq!(broken(|oidc| oidc.public_url = None), Some("oidc.public_url"));
        assert_eq!(broken(|oidc| oidc.issuer = None), Some("oidc.client_id"));
    }

    #[test]
    fn nothing_goes_through_a_network_in_plain_text() {
        for address in
            ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:8", "https://id.example:8443"]
        {
            assert_eq!(broken(|oidc| oidc.issuer = Some(format!("{address}/a/"))), None, "{address}");
            assert_eq!(broken(|oidc| oidc.public_url = Some(address.to_owned())), None, "{address}");
        }
        for address in [
            "",
            "id.example",
            "http://id.example",
            "http://127.0.0.1.evil",
            "ftp://localhost",
            "https://",
            "https://a@b",
        ] {
            let issuer = broken(|oidc| oidc.issuer = Some(address.to_owned()));
            assert_eq!(issuer, Some("oidc.issuer"), "{address}");
            let public_url = broken(|oidc| oidc.public_url = Some(address.to_owned()));
            assert_eq!(public_url, Some("oidc.public_url"), "{address}");
        }
        assert_eq!(
            broken(|oidc| oidc.public_url = Some(String::from("https://a.example/milvault"))),
            Some("oidc.public_url")
        );
    }

    #[test]
    fn secrets_lists_and_times_have_their_limits() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(broken(|oidc| oidc.client_secret_env = text("PATH")), Some("oidc.client_secret_env"));
        let both = broken(|oidc| {
            oidc.client_secret_env = text("MILVAULT_SECRET_OIDC");
            oidc.client_secret_file = text("oidc");
        });
        assert_eq!(both, Some("oidc.client_secret_file"));
        assert_eq!(broken(|oidc| oidc.scopes = vec![String::from("a b")]), Some("oidc.scopes"));
        let domains = broken(|oidc| oidc.allowed_email_domains = vec![String::from("@example.com")]);
        assert_eq!(domains, Some("oidc.allowed_email_domains"));
        assert_eq!(broken(|oidc| oidc.session_seconds = 0), Some("oidc.session_seconds"));
        assert_eq!(broken(|oidc| oidc.session_idle_seconds = 60), Some("oidc.session_idle_seconds"));
    }
}
