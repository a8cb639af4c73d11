//! Sign-in of people, as the configuration asks for it.

use crate::config::{Configuration, OidcSettings as Section};
use anyhow::Context;
use chrono::TimeDelta;
use milvault_domain::ports::SecretSource;
use milvault_domain::secret::Secret;
use milvault_domain::sign_in::SignInPolicy;
use milvault_gateway::{OidcSettings, OidcSignIn};

/// Sign-in by OpenID Connect; `None` when no provider is configured.
///
/// # Errors
/// The client's secret cannot be read, or a setting cannot be used.
pub(crate) fn configured(
    configuration: &Configuration,
    secrets: &dyn SecretSource,
) -> anyhow::Result<Option<OidcSignIn>> {
    let section = &configuration.oidc;
    let (Some(issuer), Some(client_id), Some(public_url)) =
        (section.issuer.clone(), section.client_id.clone(), section.public_url.clone())
    else {
        return Ok(None);
    };
    let client_secret = client_secret(section)
        .map(|secret| secrets.reveal(&secret))
        .transpose()
        .context("cannot read the secret of [oidc]")?;
    let policy = SignInPolicy {
        provisioning: section.provision,
        allowed_email_domains: section.allowed_email_domains.clone(),
        silent_email_counts: section.trust_unmarked_email,
    };
    let settings = OidcSettings {
        issuer,
        client_id,
        client_secret,
        public_url,
        scopes: section.scopes.clone(),
        policy,
        session_idle: TimeDelta::seconds(i64::from(section.session_idle_seconds)),
        session_life: TimeDelta::seconds(i64::from(section.session_seconds)),
    };
    Ok(Some(OidcSignIn::new(settings).context("cannot use the section [oidc] of the configuration")?))
}

fn client_secret(section: &Section) -> Option<Secret> {
    let of_environment = section.client_secret_env.clone().map(Secret::Environment);
    of_environment.or_else(|| section.client_secret_file.clone().map(Secret::File))
}
