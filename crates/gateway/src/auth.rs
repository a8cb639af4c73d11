//! API keys and sessions: their text, their hash, and where a request carries them.

use crate::error::GatewayError;
use axum::http::{HeaderMap, header};
use milvault_domain::access::{ApiKey, Credential, Principal};
use milvault_domain::identity::Project;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{Catalog, Clock};
use milvault_domain::secret::SecretValue;
use milvault_domain::sign_in::{SessionAccess, SessionRules};
use std::sync::{Arc, PoisonError, RwLock};

/// What every API key begins with, so that people and secret scanners recognize one.
pub const API_KEY_PREFIX: &str = "mvk_";
/// Length of a key after the prefix: 256 random bits in hex.
const KEY_DIGITS: usize = 64;

/// The text of a new key. It is shown once and never stored; the catalog keeps [`hash_api_key`] of it.
#[must_use]
pub fn new_api_key_text(random: [u8; 32]) -> SecretValue {
    SecretValue::new(format!("{API_KEY_PREFIX}{}", hex::encode(random)))
}

/// What the catalog stores of a key. The text has 256 random bits, so a plain fast hash cannot be turned back.
#[must_use]
pub fn hash_api_key(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// What every session token begins with, so that people and secret scanners recognize one.
pub(crate) const SESSION_PREFIX: &str = "mvs_";

/// The token of a new session: shown to its browser only, and never stored.
pub(crate) fn new_session_token(random: [u8; 32]) -> SecretValue {
    SecretValue::new(format!("{SESSION_PREFIX}{}", hex::encode(random)))
}

/// What a request carries to prove who is asking.
#[derive(Clone, Copy)]
pub(crate) enum Presented<'a> {
    /// Nothing that could be a key.
    Nothing,
    /// The text of an API key.
    Key(&'a str),
    /// The token of a session, carried by a page of this server.
    Session(&'a str),
}

/// What a caller has proven himself with, to look it up again during a long subscription.
#[derive(Debug, Clone)]
enum Proof {
    Key([u8; 32]),
    Session([u8; 32], Arc<SessionRules>),
}

impl Proof {
    /// Who it proves at the moment; `None` when it is good no more.
    async fn principal(
        &self,
        catalog: &dyn Catalog,
        clock: &dyn Clock,
    ) -> Result<Option<Principal>, GatewayError> {
        match self {
            Self::Key(hash) => {
                let found = catalog.find_api_key(hash).await?;
                Ok(found.filter(|key| key.is_valid_at(clock.now())).map(principal_of))
            }
            Self::Session(hash, rules) => {
                let found = catalog.find_session(hash).await?;
                let is_live = |access: &SessionAccess| {
                    !access.user.is_disabled && access.session.is_live_at(clock.now(), rules)
                };
                Ok(found.filter(is_live).map(principal_of_session))
            }
        }
    }
}

/// Who is asking, proven by a key or a session.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Identity and rights.
    pub(crate) principal: Principal,
    proof: Proof,
    /// The projects of his organization, whether he sees them or not. Read with the key, and anew whenever that is
    /// looked up again.
    projects: Arc<RwLock<Vec<Project>>>,
}

impl Caller {
    /// Whether the project is one of the caller's organization. It says nothing about rights.
    pub(crate) fn knows_project(&self, project_id: ProjectId) -> bool {
        self.projects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|known| known.id == project_id)
    }

    /// All projects of his organization, by name, whether he sees them or not.
    pub(crate) fn all_projects(&self) -> Vec<Project> {
        self.projects.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The projects that the caller sees, by name.
    pub(crate) fn visible_projects(&self) -> Vec<Project> {
        let mut seen = self.all_projects();
        seen.retain(|project| self.sees(project.id));
        seen
    }

    /// Takes in a project that the caller has just made or renamed.
    pub(crate) fn meet_project(&self, project: Project) {
        let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        projects.retain(|known| known.id != project.id);
        projects.push(project);
        projects.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// What he is told when that with which he came in is good no more.
    pub(crate) const fn ending(&self) -> &'static str {
        match self.proof {
            Proof::Key(_) => "the API key has ended or its rights have changed; connect again",
            Proof::Session(..) => "the session has ended or its rights have changed; sign in again",
        }
    }

    /// Whether the key or session still is what it was: valid, with the same rights.
    ///
    /// # Errors
    /// The catalog does not answer.
    pub(crate) async fn is_current(
        &self,
        catalog: &dyn Catalog,
        clock: &dyn Clock,
    ) -> Result<bool, GatewayError> {
        let found = self.proof.principal(catalog, clock).await?;
        let is_current = found.is_some_and(|principal| principal.grants == self.principal.grants);
        if is_current {
            let projects = catalog.projects(self.principal.organization_id).await?;
            *self.projects.write().unwrap_or_else(PoisonError::into_inner) = projects;
        }
        Ok(is_current)
    }
}

/// The key text in `Authorization: Bearer <key>`.
pub(crate) fn key_in_headers(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The key text in a `connection_init` payload: `{"Authorization": "Bearer <key>"}`, the same in lower case, or
/// `{"apiKey": "<key>"}`.
pub(crate) fn key_in_payload(payload: &serde_json::Value) -> Option<&str> {
    let text = |name: &str| payload.get(name).and_then(serde_json::Value::as_str);
    text("Authorization").or_else(|| text("authorization")).and_then(bearer).or_else(|| text("apiKey"))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Finds out who is asking.
///
/// # Errors
/// `Unauthenticated` without a valid key or session; `Unavailable` when the catalog does not answer.
pub(crate) async fn authenticate(
    catalog: &dyn Catalog,
    clock: &dyn Clock,
    rules: Option<&Arc<SessionRules>>,
    presented: Presented<'_>,
) -> Result<Caller, GatewayError> {
    // The same words for what never existed, has ended or was taken back.
    let refused = |message| GatewayError::Unauthenticated { message };
    let (proof, not_valid) = match (presented, rules) {
        (Presented::Key(text), _) => {
            let not_valid = refused(
                "the API key is not valid: it is unknown, has expired or was revoked; an owner makes keys with `createApiKey`",
            );
            if !has_form(text, API_KEY_PREFIX) {
                return Err(not_valid);
            }
            (Proof::Key(hash_api_key(text)), not_valid)
        }
        (Presented::Session(text), Some(rules)) => {
            let not_valid = refused("the session is not valid; sign in again");
            if !has_form(text, SESSION_PREFIX) {
                return Err(not_valid);
            }
            (Proof::Session(hash_api_key(text), Arc::clone(rules)), not_valid)
        }
        (Presented::Nothing | Presented::Session(_), _) => {
            return Err(refused("an API key is needed: send `Authorization: Bearer <key>`"));
        }
    };
    let principal = proof.principal(catalog, clock).await?.ok_or(not_valid)?;
    let projects = catalog.projects(principal.organization_id).await?;
    Ok(Caller { principal, proof, projects: Arc::new(RwLock::new(projects)) })
}

/// Whether a text has a prefix and so many digits that it may be what begins with that.
pub(crate) fn has_form(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        digits.len() == KEY_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn principal_of(key: ApiKey) -> Principal {
    // What a person does with a personal key is done by him, whatever the key is called.
    let (user_id, name) = match key.user {
        Some(user) => (Some(user.id), user.name),
        None => (None, key.name),
    };
    let credential = Credential::ApiKey(key.id);
    Principal { credential, user_id, organization_id: key.organization_id, name, grants: key.grants }
}

fn principal_of_session(access: SessionAccess) -> Principal {
    Principal {
        credential: Credential::Session(access.session.id),
        user_id: Some(access.user.id),
        organization_id: access.session.organization_id,
        name: access.user.name,
        grants: access.grants,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_key_has_the_form_that_is_accepted() {
        let text = new_api_key_text([0xab; 32]);
        assert!(has_form(text.expose(), API_KEY_PREFIX));
        assert_eq!(text.expose().len(), API_KEY_PREFIX.len() + KEY_DIGITS);
        assert_eq!(hash_api_key(text.expose()), *blake3::hash(text.expose().as_bytes()).as_bytes());
    }

    #[test]
    fn other_forms_are_refused_before_the_catalog_is_asked() {
        let digits = "ab".repeat(32);
        for text in
            ["", "mvk_", &digits, &format!("mvk_{}", &digits[1..]), &format!("mvk_{}", digits.to_uppercase())]
        {
            assert!(!has_form(text, API_KEY_PREFIX), "{text}");
        }
    }

    #[test]
    fn a_key_is_found_in_every_documented_place() {
        let mut headers = HeaderMap::new();
        assert_eq!(key_in_headers(&headers), None);
        headers.insert(header::AUTHORIZATION, "bearer  mvk_1".parse().unwrap());
        assert_eq!(key_in_headers(&headers), Some("mvk_1"));
        headers.insert(header::AUTHORIZATION, "Basic mvk_1".parse().unwrap());
        assert_eq!(key_in_headers(&headers), None);
        for payload in [
            json!({"Authorization": "Bearer mvk_1"}),
            json!({"authorization": "Bearer mvk_1"}),
            json!({"apiKey": "mvk_1"}),
        ] {
            assert_eq!(key_in_payload(&payload), Some("mvk_1"));
        }
        assert_eq!(key_in_payload(&json!(null)), None);
        assert_eq!(key_in_payload(&json!({"apiKey": 1})), None);
    }
}
