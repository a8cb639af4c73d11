//! API keys: their text, their hash, and where a request carries them.

use crate::error::GatewayError;
use axum::http::{HeaderMap, header};
use milvault_domain::access::{ApiKey, Principal};
use milvault_domain::identity::Project;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{Catalog, Clock};
use milvault_domain::secret::SecretValue;
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

/// Who is asking, proven by a key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Identity and rights.
    pub(crate) principal: Principal,
    /// To look the key up again during a long subscription.
    key_hash: [u8; 32],
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

    /// The projects that the caller sees, by name.
    pub(crate) fn visible_projects(&self) -> Vec<Project> {
        let mut seen = self.projects.read().unwrap_or_else(PoisonError::into_inner).clone();
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

    /// Whether the key still is what it was: valid, with the same rights.
    ///
    /// # Errors
    /// The catalog does not answer.
    pub(crate) async fn is_current(
        &self,
        catalog: &dyn Catalog,
        clock: &dyn Clock,
    ) -> Result<bool, GatewayError> {
        let found = catalog.find_api_key(&self.key_hash).await?;
        let is_current = found.is_some_and(|key| {
            key.is_valid_at(clock.now()) && principal_of(key).grants == self.principal.grants
        });
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
/// `Unauthenticated` without a valid key; `Unavailable` when the catalog does not answer.
pub(crate) async fn authenticate(
    catalog: &dyn Catalog,
    clock: &dyn Clock,
    key_text: Option<&str>,
) -> Result<Caller, GatewayError> {
    let Some(key_text) = key_text else {
        return Err(GatewayError::Unauthenticated {
            message: "an API key is needed: send `Authorization: Bearer <key>`",
        });
    };
    // The same words for a key that never existed, has ended or was taken back.
    let refused = GatewayError::Unauthenticated { message: "the API key is not valid" };
    if !has_key_form(key_text) {
        return Err(refused);
    }
    let key_hash = hash_api_key(key_text);
    match catalog.find_api_key(&key_hash).await? {
        Some(key) if key.is_valid_at(clock.now()) => {
            let principal = principal_of(key);
            let projects = catalog.projects(principal.organization_id).await?;
            Ok(Caller { principal, key_hash, projects: Arc::new(RwLock::new(projects)) })
        }
        _ => Err(refused),
    }
}

fn has_key_form(text: &str) -> bool {
    text.strip_prefix(API_KEY_PREFIX).is_some_and(|digits| {
        digits.len() == KEY_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn principal_of(key: ApiKey) -> Principal {
    // What a person does with a personal key is done by him, whatever the key is called.
    let (user_id, name) = match key.user {
        Some(user) => (Some(user.id), user.name),
        None => (None, key.name),
    };
    Principal { api_key_id: key.id, user_id, organization_id: key.organization_id, name, grants: key.grants }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_key_has_the_form_that_is_accepted() {
        let text = new_api_key_text([0xab; 32]);
        assert!(has_key_form(text.expose()));
        assert_eq!(text.expose().len(), API_KEY_PREFIX.len() + KEY_DIGITS);
        assert_eq!(hash_api_key(text.expose()), *blake3::hash(text.expose().as_bytes()).as_bytes());
    }

    #[test]
    fn other_forms_are_refused_before_the_catalog_is_asked() {
        let digits = "ab".repeat(32);
        for text in
            ["", "mvk_", &digits, &format!("mvk_{}", &digits[1..]), &format!("mvk_{}", digits.to_uppercase())]
        {
            assert!(!has_key_form(text), "{text}");
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
