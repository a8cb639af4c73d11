//! Keys that make a repeated request recognizable.

use crate::error::ServiceError;
use milvault_domain::error::InvalidInput;
use milvault_domain::ports::{Idempotency, PortError, PortErrorKind};
use serde::Serialize;

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Pairs a caller's key with a hash of everything that makes the request this request and not another; who sends it
/// does not.
pub(super) fn idempotency(
    key: Option<String>,
    fingerprint: &impl Serialize,
) -> Result<Option<Idempotency>, ServiceError> {
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        let rule = format!("must have 1 to {KEY_BYTES_MAX} bytes and no control characters");
        return Err(InvalidInput::new("idempotencyKey", rule).into());
    }
    let bytes = serde_json::to_vec(fingerprint).map_err(|error| {
        ServiceError::Internal(PortError::with_source(
            PortErrorKind::Internal,
            "cannot encode the request",
            error,
        ))
    })?;
    Ok(Some(Idempotency { key, request_hash: *blake3::hash(&bytes).as_bytes() }))
}
