//! What callers are told when something does not work: one closed list of codes.

use milvault_actors::ServiceError;
use milvault_domain::error::{InvalidInput, PortError, PortErrorKind};
use milvault_domain::ids::{InvalidId, JobId};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

/// A failure as the API shows it. `Internal` keeps its cause for the log and hides it from the caller.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The request breaks a rule; repeating it changes nothing.
    #[error("{}{message}", field_prefix(*field))]
    BadUserInput { field: Option<&'static str>, message: String },
    /// No valid API key came with the request.
    #[error("{message}")]
    Unauthenticated { message: &'static str },
    /// The caller sees the thing but may not do this to it.
    #[error("{message}")]
    Forbidden { message: String },
    /// It does not exist, or the caller may not know that it does.
    #[error("there is no {kind} `{id}` among those that you may see")]
    NotFound { kind: &'static str, id: String },
    /// The same, of something that has no id of its own.
    #[error("{message}")]
    Missing { message: String },
    /// It collides with something that exists or runs.
    #[error("{message}")]
    Conflict { message: String, job_id: Option<JobId> },
    /// A limit is reached for the moment.
    #[error("{message}")]
    Busy { message: String },
    /// Something that is needed does not answer, or cannot be used as it is. `retryable` when it may later by itself.
    #[error("{message}")]
    Unavailable { message: String, retryable: bool },
    /// A defect.
    #[error("internal error; the server's log explains it under the request id")]
    Internal { cause: Arc<dyn Error + Send + Sync> },
}

fn field_prefix(field: Option<&'static str>) -> String {
    field.map(|field| format!("{field}: ")).unwrap_or_default()
}

impl GatewayError {
    /// Input that breaks a rule, with the field it is about.
    pub(crate) fn bad_field(field: &'static str, rule: impl Into<String>) -> Self {
        Self::BadUserInput { field: Some(field), message: rule.into() }
    }

    /// A request that breaks a rule as a whole.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::BadUserInput { field: None, message: message.into() }
    }

    /// Absent, or to be treated so.
    pub(crate) fn not_found(kind: &'static str, id: impl Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    /// Something that does not answer now, and may later.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retryable: true }
    }

    /// A defect described in words.
    pub(crate) fn internal(description: &'static str) -> Self {
        Self::Internal { cause: Arc::from(Box::<dyn Error + Send + Sync>::from(description)) }
    }

    /// The code in `extensions.code`.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::BadUserInput { .. } => "BAD_USER_INPUT",
            Self::Unauthenticated { .. } => "UNAUTHENTICATED",
            Self::Forbidden { .. } => "FORBIDDEN",
            Self::NotFound { .. } | Self::Missing { .. } => "NOT_FOUND",
            Self::Conflict { .. } => "CONFLICT",
            Self::Busy { .. } => "BUSY",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Internal { .. } => "INTERNAL",
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub(crate) const fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable { retryable: true, .. })
    }

    /// The input field it is about.
    pub(crate) const fn field(&self) -> Option<&'static str> {
        match self {
            Self::BadUserInput { field, .. } => *field,
            _ => None,
        }
    }

    /// The job it collides with.
    pub(crate) const fn job_id(&self) -> Option<JobId> {
        match self {
            Self::Conflict { job_id, .. } => *job_id,
            _ => None,
        }
    }
}

impl From<InvalidInput> for GatewayError {
    fn from(error: InvalidInput) -> Self {
        Self::bad_field(error.field, error.rule)
    }
}

impl From<InvalidId> for GatewayError {
    fn from(error: InvalidId) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Of a read from the catalog. Its message may name tables or addresses, so only the kind goes out.
impl From<PortError> for GatewayError {
    fn from(error: PortError) -> Self {
        if error.kind() == PortErrorKind::Unavailable {
            tracing::warn!(%error, "catalog does not answer");
            Self::unavailable("the catalog does not answer; try again later")
        } else {
            Self::Internal { cause: Arc::new(error) }
        }
    }
}

impl From<ServiceError> for GatewayError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::InvalidInput(invalid) => invalid.into(),
            ServiceError::NotFound { kind, id } => Self::NotFound { kind, id },
            ServiceError::Conflict { message, job_id } => Self::Conflict { message, job_id },
            ServiceError::Busy { message } => Self::Busy { message },
            ServiceError::Missing { message } => Self::Missing { message },
            ServiceError::Unavailable { message, retryable } => Self::Unavailable { message, retryable },
            other => Self::Internal { cause: Arc::new(other) },
        }
    }
}
