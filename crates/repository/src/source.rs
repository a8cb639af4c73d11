//! A cluster's storage, for listing and reading.

mod local;
mod object;

pub(crate) use local::{LocalSource, SourceDirectory};
pub(crate) use object::ObjectSource;

use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::object::SourceObject;

/// A source file that is gone.
pub(crate) fn gone(object: &SourceObject) -> PortError {
    PortError::new(
        PortErrorKind::NotFound,
        format!("`{}` is no longer in the source: Milvus has removed it", object.key),
    )
}

/// A source file that is not as it was listed.
pub(crate) fn changed(object: &SourceObject) -> PortError {
    PortError::new(
        PortErrorKind::Changed,
        format!("`{}` is not as it was listed: its size or its time of change differs", object.key),
    )
}
