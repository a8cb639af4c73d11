//! What a store can do, found out by doing it with small objects below `tmp/`.

use crate::connect::{Connection, S3Connection};
use crate::copy::{CopiedFile, CopyRequests};
use crate::layout;
use crate::place::{Creation, ObjectPlace, Overwrite, Place};
use bytes::Bytes;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::repository::StoreCapabilities;
use std::sync::Arc;

/// Smallest part that every store accepts.
const PROBE_PART_BYTES: usize = 5 << 20;

/// Probes the place of a new repository.
///
/// # Errors
/// Writing or removing a file fails. What a store merely cannot do is no error.
pub(crate) async fn probe(connection: &Connection, place: &dyn Place) -> PortResult<StoreCapabilities> {
    match connection {
        Connection::Local(_) => {
            let conditional_put = refuses_to_overwrite(place).await?;
            Ok(StoreCapabilities { conditional_put, ..StoreCapabilities::default() })
        }
        Connection::Object(connection) => {
            // Only a place that relies on conditions shows whether they are kept.
            let store = Arc::clone(&connection.store);
            let relying = ObjectPlace::new(store, &connection.container, &connection.prefix, true);
            let conditional_put = refuses_to_overwrite(&relying).await?;
            let mut capabilities = StoreCapabilities { conditional_put, ..StoreCapabilities::default() };
            if let Some(s3) = &connection.s3 {
                capabilities.server_side_copy = copies(s3, &relying, false).await?;
                capabilities.multipart_copy =
                    capabilities.server_side_copy && copies(s3, &relying, true).await?;
            }
            Ok(capabilities)
        }
    }
}

async fn refuses_to_overwrite(place: &dyn Place) -> PortResult<bool> {
    let path = layout::temporary("probe-put");
    place.create(&path, Bytes::from_static(b"first"), Overwrite::Never).await?;
    let second = place.create(&path, Bytes::from_static(b"second"), Overwrite::Never).await;
    let content = place.read(&path, 0..5).await;
    place.delete(&path).await?;
    if let Err(error) = &second
        && error.kind() != PortErrorKind::Unsupported
    {
        tracing::info!(%error, "the store does not take conditional puts");
    }
    Ok(matches!(second, Ok(Creation::Existed)) && content.is_ok_and(|content| content == "first"))
}

async fn copies(s3: &S3Connection, place: &ObjectPlace, in_parts: bool) -> PortResult<bool> {
    let size = if in_parts { PROBE_PART_BYTES } else { 1000 };
    let (from, to) = (layout::temporary("probe-from"), layout::temporary("probe-to"));
    let content = Bytes::from(vec![7; size]);
    place.create(&from, content.clone(), Overwrite::Never).await?;
    let copied = try_copy(s3, place, &from, &to, size as u64, in_parts).await;
    let same = match copied {
        Ok(()) => place.read(&to, 0..size as u64).await.is_ok_and(|copy| copy == content),
        Err(error) => {
            tracing::info!(%error, in_parts, "the store does not copy on request");
            false
        }
    };
    place.delete(&from).await?;
    place.delete(&to).await?;
    Ok(same)
}

async fn try_copy(
    s3: &S3Connection,
    place: &ObjectPlace,
    from: &str,
    to: &str,
    size_bytes: u64,
    in_parts: bool,
) -> PortResult<()> {
    let facts = place.facts(from).await?.ok_or_else(|| {
        PortError::new(PortErrorKind::Internal, "the store does not show an object that was just written")
    })?;
    let requests = CopyRequests::new(s3, &s3.config.bucket, true)?;
    let (from, to) = (place.key(from)?, place.key(to)?);
    let file = CopiedFile { from: &from, tag: facts.tag.as_deref(), size_bytes };
    requests.probe(file, &to, in_parts).await
}
