//! Sign-in of people by OpenID Connect: its settings, and what a sign-in under way consists of.

mod provider;

pub(crate) use provider::ProviderError;

use crate::auth::hash_api_key;
use chrono::TimeDelta;
use milvault_domain::secret::SecretValue;
use milvault_domain::sign_in::{SessionRules, SignInPolicy};
use provider::Provider;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Where the provider sends people back to, on this server.
pub(crate) const CALLBACK_PATH: &str = "/auth/callback";
/// Sign-ins that may talk to the provider at once.
const AT_ONCE_MAX: usize = 32;

/// How people sign in.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// Address of the provider: `https://`, or `http://` on this machine.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    /// Its secret there; `None` for a public client, which has PKCE only.
    pub client_secret: Option<SecretValue>,
    /// Address of this server as browsers see it: scheme and authority, without a path.
    pub public_url: String,
    /// What to ask the provider for, besides `openid`.
    pub scopes: Vec<String>,
    /// Who may come in.
    pub policy: SignInPolicy,
    /// How long a session may lie unused.
    pub session_idle: TimeDelta,
    /// How long a session lasts at most.
    pub session_life: TimeDelta,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct OidcSettingsError {
    setting: &'static str,
    reason: String,
}

/// Sign-in by one provider, ready to be used. The provider itself is first asked when somebody signs in, so it need not
/// be there before.
pub struct OidcSignIn {
    pub(crate) provider: Provider,
    pub(crate) policy: SignInPolicy,
    pub(crate) rules: Arc<SessionRules>,
    pub(crate) session_life: TimeDelta,
    /// The origin of this server's own pages.
    pub(crate) origin: String,
    /// Sign-ins that may talk to the provider.
    pub(crate) turns: Semaphore,
}

impl OidcSignIn {
    /// Takes settings.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(settings: OidcSettings) -> Result<Self, OidcSettingsError> {
        let origin = settings.public_url.trim_end_matches('/').to_ascii_lowercase();
        let rules = SessionRules { issuer: settings.issuer.clone(), idle: settings.session_idle };
        Ok(Self {
            policy: settings.policy.clone(),
            rules: Arc::new(rules),
            session_life: settings.session_life,
            provider: Provider::new(settings, &origin)?,
            origin,
            turns: Semaphore::new(AT_ONCE_MAX),
        })
    }

    /// Whether browsers reach this server by TLS, so that cookies can be kept to that.
    pub(crate) fn is_secure(&self) -> bool {
        self.origin.starts_with("https://")
    }
}

/// What only the browser keeps of a sign-in under way. The catalog has a hash of it; what goes to the provider is
/// derived from it, so that nobody can finish a sign-in with a copy of the catalog.
pub(crate) struct BrowserSecret(pub(crate) [u8; 32]);

impl BrowserSecret {
    pub(crate) fn hash(&self) -> [u8; 32] {
        hash_api_key(&self.text())
    }

    /// How the cookie spells it.
    pub(crate) fn text(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads what the cookie spells.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        hex::decode(text).ok()?.try_into().ok().map(Self)
    }

    /// What the provider has to repeat in the token.
    pub(crate) fn nonce(&self) -> String {
        hex::encode(blake3::derive_key("milvault 2026 oidc nonce", &self.0))
    }

    /// What only who began the sign-in can show when the code is exchanged (PKCE).
    pub(crate) fn code_verifier(&self) -> String {
        hex::encode(blake3::derive_key("milvault 2026 oidc code verifier", &self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_goes_out_does_not_give_the_secret_away() {
        let secret = BrowserSecret([7; 32]);
        let parts = [secret.text(), secret.nonce(), secret.code_verifier(), hex::encode(secret.hash())];
        for (index, part) in parts.iter().enumerate() {
            assert_eq!(part.len(), 64);
            assert!(!parts[..index].contains(part));
        }
        assert_eq!(BrowserSecret::parse(&secret.text()).unwrap().0, secret.0);
        for text in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(BrowserSecret::parse(text).is_none(), "{text}");
        }
    }
}
