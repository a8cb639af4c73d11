//! What callers of this crate are told when something cannot be done.

use milvault_domain::error::InvalidInput;
use milvault_domain::ids::JobId;
use milvault_domain::ports::{PortError, PortErrorKind};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The request breaks a rule; the field and the rule are named.
    #[error(transparent)]
    InvalidInput(#[from] InvalidInput),
    /// Something that the request names does not exist.
    #[error("{kind} `{id}` does not exist")]
    NotFound {
        /// What kind of thing, e.g. `cluster`.
        kind: &'static str,
        /// As it was named.
        id: String,
    },
    /// The same, in words.
    #[error("{message}")]
    Missing {
        /// What does not exist.
        message: String,
    },
    /// It collides with something that exists or runs.
    #[error("{message}")]
    Conflict {
        /// What it collides with, in words.
        message: String,
        /// The job it collides with, where there is one.
        job_id: Option<JobId>,
    },
    /// A limit is reached; the same request may be accepted later.
    #[error("{message}")]
    Busy {
        /// Which limit, in words.
        message: String,
    },
    /// Something that is needed cannot be reached or used now, or this server is shutting down.
    #[error("{message}")]
    Unavailable {
        /// What, in words.
        message: String,
        /// Whether the same request may be accepted later without anybody changing anything.
        retryable: bool,
    },
    /// A defect of Milvault, or data that is not as it must be.
    #[error("internal error: {0}")]
    Internal(#[source] PortError),
}

impl From<PortError> for ServiceError {
    fn from(error: PortError) -> Self {
        let message = error.to_string();
        match error.kind() {
            PortErrorKind::NotFound => Self::Missing { message },
            PortErrorKind::InvalidInput => Self::InvalidInput(InvalidInput::new("input", message)),
            PortErrorKind::Conflict => Self::Conflict { message, job_id: None },
            PortErrorKind::Busy => Self::Busy { message },
            PortErrorKind::Unavailable
            | PortErrorKind::Changed
            | PortErrorKind::PermissionDenied
            | PortErrorKind::StorageFull
            | PortErrorKind::ReadOnly => Self::Unavailable { message, retryable: error.is_retryable() },
            PortErrorKind::Corrupt
            | PortErrorKind::Unsupported
            | PortErrorKind::Canceled
            | PortErrorKind::Internal => Self::Internal(error),
        }
    }
}

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system refused a thread, or an event loop could not be made on it.
    #[error("cannot start the thread of the actors: {0}")]
    Thread(#[source] std::io::Error),
    /// The catalog did not tell which jobs were left open.
    #[error("cannot take up the open jobs: {0}")]
    Catalog(#[from] PortError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_may_be_tried_again() {
        for (kind, expected) in [
            (PortErrorKind::Unavailable, true),
            (PortErrorKind::Changed, true),
            (PortErrorKind::PermissionDenied, false),
            (PortErrorKind::StorageFull, false),
            (PortErrorKind::ReadOnly, false),
        ] {
            let error = ServiceError::from(PortError::new(kind, "x"));
            let told = matches!(error, ServiceError::Unavailable { retryable, .. } if retryable == expected);
            assert!(told, "{kind:?}: {error:?}");
        }
        let missing = ServiceError::from(PortError::new(PortErrorKind::NotFound, "job 7 does not exist"));
        assert_eq!(missing.to_string(), "job 7 does not exist");
    }
}
