//! `milvault.json`: the file that makes a place a repository. Written once.

use crate::layout::MARKER;
use crate::place::{Creation, Overwrite, Place};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::RepositoryId;
use milvault_domain::manifest::FORMAT_VERSION;
use milvault_domain::repository::StoreCapabilities;
use serde::{Deserialize, Serialize};

/// A marker is some hundred bytes long. What is longer is none.
const MARKER_BYTES_MAX: u64 = 64 << 10;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// What a person should know who finds the file.
    about: String,
    /// Format version of the repository.
    format_version: u32,
    /// Identity.
    pub(crate) repository_id: String,
    /// When the repository was made, as its id tells.
    created_at: Option<DateTime<Utc>>,
    /// What the store was found to do then.
    pub(crate) capabilities: StoreCapabilities,
}

impl Marker {
    /// The marker of a new repository.
    pub(crate) fn new(repository_id: RepositoryId, capabilities: StoreCapabilities) -> Self {
        // Version 7 identities carry the time at which they were made.
        let created_at = repository_id.as_uuid().get_timestamp().and_then(|timestamp| {
            let (seconds, nanos) = timestamp.to_unix();
            DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
        });
        Self {
            about: String::from("A repository of Milvault backups. docs/format.md of Milvault describes it."),
            format_version: FORMAT_VERSION,
            repository_id: repository_id.to_string(),
            created_at,
            capabilities,
        }
    }
}

/// Writes the marker.
///
/// # Errors
/// `Conflict` when one is there; errors of the store.
pub(crate) async fn write(place: &dyn Place, marker: &Marker) -> PortResult<()> {
    let json = serde_json::to_vec_pretty(marker).map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "the repository's marker does not render", error)
    })?;
    match place.create(MARKER, Bytes::from(json), Overwrite::Never).await? {
        Creation::Created => Ok(()),
        // The answer to an earlier request may have been lost: the marker there is this one then.
        Creation::Existed
            if read(place).await?.is_some_and(|found| found.repository_id == marker.repository_id) =>
        {
            Ok(())
        }
        Creation::Existed => Err(PortError::new(
            PortErrorKind::Conflict,
            format!("`{}` has just been made by somebody else", place.display(MARKER)),
        )),
    }
}

/// Reads the marker; `None` when the place is no repository.
///
/// # Errors
/// `Corrupt` when it cannot be understood, `Unsupported` when a newer program wrote it; errors of the store.
pub(crate) async fn read(place: &dyn Place) -> PortResult<Option<Marker>> {
    let Some(facts) = place.facts(MARKER).await? else {
        // A store answers the same for a missing bucket, but not when it is asked for a list.
        if let Some(Err(error)) = place.list("").next().await {
            return Err(error);
        }
        return Ok(None);
    };
    let shown = place.display(MARKER);
    if MARKER_BYTES_MAX < facts.size_bytes {
        return Err(PortError::new(PortErrorKind::Corrupt, format!("`{shown}` is too long to be a marker")));
    }
    let json = place.read(MARKER, 0..facts.size_bytes).await?;
    let marker: Marker = serde_json::from_slice(&json).map_err(|error| {
        PortError::with_source(
            PortErrorKind::Corrupt,
            format!("`{shown}` cannot be understood: {error}"),
            error,
        )
    })?;
    if FORMAT_VERSION < marker.format_version {
        return Err(PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "`{shown}` is of format version {}; use a newer Milvault to open this repository",
                marker.format_version
            ),
        ));
    }
    Ok(Some(marker))
}
