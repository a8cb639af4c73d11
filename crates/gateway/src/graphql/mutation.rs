//! Mutations, by noun. Each has one input and one payload. The service carries an action out to its end even when the
//! caller goes away in the middle.

pub(crate) mod api_key;
pub(crate) mod backup;
pub(crate) mod catalog_backups;
pub(crate) mod checks;
pub(crate) mod cluster;
pub(crate) mod copies;
pub(crate) mod identity;
pub(crate) mod job;
pub(crate) mod lifecycle;
pub(crate) mod repository;
pub(crate) mod restore;
pub(crate) mod retry;
pub(crate) mod schedules;
pub(crate) mod sign_in;
pub(crate) mod webhooks;

use crate::error::GatewayError;

/// Reads a figure that GraphQL knows only with a sign. Its range is checked with the other rules.
///
/// # Errors
/// It is below zero.
fn not_negative(field: &'static str, figure: Option<i32>) -> Result<Option<u32>, GatewayError> {
    figure
        .map(|figure| {
            u32::try_from(figure)
                .map_err(|_| GatewayError::bad_field(field, format!("must not be negative, got {figure}")))
        })
        .transpose()
}
