//! The one place that reads failures: gRPC's codes, and the status that Milvus puts into answers that gRPC calls
//! successful.
//!
//! Milvus 2.3 fills in both an old `error_code` and a newer `code`, older servers only the first, newer ones
//! sometimes only the second. Success is when both are zero.

use milvault_domain::error::{PortError, PortErrorKind};
use milvus::proto::common::{ErrorCode, Status};
use tonic::Code;

/// What a failed call means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server cannot be reached, is not ready or did not answer in time; the same call may succeed later.
    Unavailable,
    /// The server asks for fewer calls.
    RateLimited,
    /// The named collection or database does not exist (any more).
    NotFound,
    /// There is nothing of what was asked about: no index, no replica, no partition, no import, no alias.
    Nothing,
    /// The name belongs to something else.
    Taken,
    /// User, password or token are missing or wrong.
    Unauthenticated,
    /// The user may not do this.
    PermissionDenied,
    /// This server does not know the method.
    Unimplemented,
    /// Anything else.
    Other,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method}: {message}")]
pub(crate) struct CallError {
    pub(crate) fault: Fault,
    pub(crate) method: &'static str,
    pub(crate) message: String,
}

/// Result of a call.
pub(crate) type CallResult<T> = Result<T, CallError>;

/// Longest text that is taken over from a server.
const MESSAGE_CHARS_MAX: usize = 500;

impl CallError {
    pub(crate) fn new(fault: Fault, method: &'static str, message: impl Into<String>) -> Self {
        Self { fault, method, message: message.into().chars().take(MESSAGE_CHARS_MAX).collect() }
    }

    /// Reads a gRPC failure.
    pub(crate) fn from_grpc(method: &'static str, status: &tonic::Status) -> Self {
        let fault = match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                Fault::Unavailable
            }
            Code::ResourceExhausted => Fault::RateLimited,
            Code::NotFound => Fault::NotFound,
            Code::Unauthenticated => Fault::Unauthenticated,
            Code::PermissionDenied => Fault::PermissionDenied,
            Code::Unimplemented => Fault::Unimplemented,
            // A connection that breaks under a call surfaces as `Unknown` with an I/O or HTTP/2 error below it.
            Code::Unknown if std::error::Error::source(status).is_some() => Fault::Unavailable,
            _ => Fault::Other,
        };
        let message = match fault {
            // The server's words are left out: some versions repeat the credentials that they refuse.
            Fault::Unauthenticated => String::from("user, password or token were refused"),
            _ => with_causes(status.message(), std::error::Error::source(status)),
        };
        Self::new(fault, method, message)
    }

    /// Reads the status inside an answer: `Ok` when it reports success or is absent.
    pub(crate) fn check(method: &'static str, status: Option<&Status>) -> CallResult<()> {
        let Some(status) = status else { return Ok(()) };
        #[allow(deprecated, reason = "Milvus 2.2 fills in nothing else")]
        let (old_code, code) = (status.error_code, status.code);
        if old_code == ErrorCode::Success as i32 && code == 0 {
            return Ok(());
        }
        Err(Self::from_code(method, code, old_code, &status.reason))
    }

    /// Reads a code that is not success, with the server's reason.
    pub(crate) fn from_code(method: &'static str, code: i32, old_code: i32, reason: &str) -> Self {
        let fault = fault_of(code, old_code);
        let message = match fault {
            Fault::Unauthenticated => String::from("user, password or token were refused"),
            _ if reason.is_empty() => format!("the server answered error code {code} ({old_code})"),
            _ => reason.to_owned(),
        };
        Self::new(fault, method, message)
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.fault == Fault::NotFound
    }

    /// As the failure of a port, of this kind when the server said no in words only.
    pub(crate) fn refused_as(self, kind: PortErrorKind) -> PortError {
        match self.fault {
            Fault::Other => PortError::with_source(kind, format!("Milvus refused {self}"), self),
            _ => self.into(),
        }
    }
}

/// Meaning of Milvus's codes; 0 in the first stands for a server that only knows the old ones.
fn fault_of(code: i32, old_code: i32) -> Fault {
    match code {
        // Not ready, unavailable, too many requests, node offline or changed, channel not available; broken off or out
        // of time inside the server.
        1 | 2 | 4 | 500..=503 | 900..=905 | 10_000 | 10_001 => Fault::Unavailable,
        // The second is REST's.
        8 | 1807 => Fault::RateLimited,
        10 => Fault::Unimplemented,
        100 | 800 => Fault::NotFound,
        // Partition, replica, index, a key of the server's own store (an import's), alias.
        200 | 400 | 700 | 1000 | 1600 => Fault::Nothing,
        // A collection has the alias's name, or the alias is another collection's.
        1601 | 1602 => Fault::Taken,
        // The second is REST's.
        1400 | 1800 => Fault::Unauthenticated,
        1401 => Fault::PermissionDenied,
        // 2.3 reports much under its catch-all code, where the old code still tells more.
        _ => match ErrorCode::try_from(old_code) {
            Ok(ErrorCode::CollectionNotExists | ErrorCode::CollectionNameNotFound) => Fault::NotFound,
            Ok(ErrorCode::IndexNotExist) => Fault::Nothing,
            Ok(ErrorCode::RateLimit) => Fault::RateLimited,
            Ok(ErrorCode::PermissionDenied) => Fault::PermissionDenied,
            Ok(
                ErrorCode::ConnectFailed
                | ErrorCode::NotReadyServe
                | ErrorCode::NotReadyCoordActivating
                | ErrorCode::DataCoordNa
                | ErrorCode::DdRequestRace
                | ErrorCode::NodeIdNotMatch,
            ) => Fault::Unavailable,
            _ => Fault::Other,
        },
    }
}

/// A message with those of its causes: transport errors hide the reason behind "transport error".
pub(crate) fn with_causes(message: &str, source: Option<&(dyn std::error::Error + 'static)>) -> String {
    let mut text = message.to_owned();
    let causes = std::iter::successors(source, |error| error.source());
    for cause in causes.take(8).map(ToString::to_string) {
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

impl From<CallError> for PortError {
    fn from(error: CallError) -> Self {
        let (kind, advice) = match error.fault {
            Fault::Unavailable => {
                (PortErrorKind::Unavailable, "; check that Milvus is up and healthy, then try again")
            }
            Fault::RateLimited => {
                (PortErrorKind::Unavailable, "; Milvus limits the rate of this call, try again later")
            }
            Fault::NotFound | Fault::Nothing => (PortErrorKind::NotFound, ""),
            Fault::Taken => (PortErrorKind::Conflict, ""),
            Fault::Unauthenticated => {
                (PortErrorKind::PermissionDenied, "; check the credentials registered for this cluster")
            }
            Fault::PermissionDenied => {
                (PortErrorKind::PermissionDenied, "; give this Milvus user a role that allows it")
            }
            Fault::Unimplemented => {
                (PortErrorKind::Unsupported, "; this Milvus version lacks the call, 2.3 or newer is needed")
            }
            Fault::Other => (PortErrorKind::Internal, ""),
        };
        let message = format!("Milvus refused or failed {error}{advice}");
        Self::with_source(kind, message, error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, deprecated)]
    use super::*;

    fn fault(code: i32, error_code: i32) -> Option<Fault> {
        let status = Status { code, error_code, reason: String::from("because"), ..Status::default() };
        CallError::check("Flush", Some(&status)).err().map(|error| error.fault)
    }

    #[test]
    fn success_needs_both_codes_to_be_zero() {
        assert_eq!(CallError::check("Flush", None), Ok(()));
        assert_eq!(fault(0, 0), None);
        assert_eq!(fault(65535, 0), Some(Fault::Other));
        assert_eq!(fault(0, ErrorCode::UnexpectedError as i32), Some(Fault::Other));
    }

    #[test]
    fn codes_of_both_generations_mean_the_same() {
        // As Milvus 2.3.5 answered them, and as servers with only one of the codes would.
        assert_eq!(fault(100, ErrorCode::CollectionNotExists as i32), Some(Fault::NotFound));
        assert_eq!(fault(100, ErrorCode::UnexpectedError as i32), Some(Fault::NotFound));
        assert_eq!(fault(0, ErrorCode::CollectionNotExists as i32), Some(Fault::NotFound));
        assert_eq!(fault(800, ErrorCode::UnexpectedError as i32), Some(Fault::NotFound));
        assert_eq!(fault(700, ErrorCode::IndexNotExist as i32), Some(Fault::Nothing));
        assert_eq!(fault(400, ErrorCode::MetaFailed as i32), Some(Fault::Nothing));
        assert_eq!(fault(1000, ErrorCode::UnexpectedError as i32), Some(Fault::Nothing));
        assert_eq!(fault(1602, ErrorCode::UnexpectedError as i32), Some(Fault::Taken));
        assert_eq!(fault(8, ErrorCode::RateLimit as i32), Some(Fault::RateLimited));
        assert_eq!(fault(0, ErrorCode::RateLimit as i32), Some(Fault::RateLimited));
        assert_eq!(fault(1, ErrorCode::NotReadyServe as i32), Some(Fault::Unavailable));
    }

    #[test]
    fn refused_credentials_are_not_repeated() {
        let status = tonic::Status::unauthenticated("invalid token: hunter2");
        let error = PortError::from(CallError::from_grpc("GetVersion", &status));
        assert_eq!(error.kind(), PortErrorKind::PermissionDenied);
        assert!(!format!("{error:?} {error}").contains("hunter2"));

        let status = Status { code: 1400, reason: String::from("hunter2"), ..Status::default() };
        let error = CallError::check("GetVersion", Some(&status)).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn long_texts_of_servers_are_cut() {
        let error = CallError::new(Fault::Other, "Flush", "x".repeat(10_000));
        assert_eq!(error.message.len(), MESSAGE_CHARS_MAX);
    }
}
