//! A cluster's storage, for listing and reading.

mod grouped;
mod local;
mod object;

pub(crate) use grouped::{GroupedKeys, KeyLayout, check_directory};
pub(crate) use local::{LocalSource, SourceDirectory};
pub(crate) use object::ObjectSource;

use milvault_domain::binlog::BinlogKey;
use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::object::SourceObject;
use milvault_domain::ports::READ_BYTES_MAX;

/// A source file that is gone.
pub(crate) fn gone(key: &BinlogKey) -> PortError {
    PortError::new(
        PortErrorKind::NotFound,
        format!("`{key}` is no longer in the source: Milvus or somebody else has removed it"),
    )
}

/// A file that is too large to be read whole.
pub(crate) fn too_large(key: &BinlogKey, size_bytes: u64) -> PortError {
    PortError::new(
        PortErrorKind::Unsupported,
        format!("`{key}` has {size_bytes} bytes; files above {READ_BYTES_MAX} bytes are not read whole"),
    )
}

/// A source file that is not as it was listed.
pub(crate) fn changed(object: &SourceObject) -> PortError {
    PortError::new(
        PortErrorKind::Changed,
        format!("`{}` is not as it was listed: its size or its time of change differs", object.key),
    )
}
