//! Failures of file systems and object stores, as the errors that the ports speak.

use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::manifest::FormatError;
use std::io;

/// A failure of a file system, in words: what was being done, on what, and what to do about it.
pub(crate) fn from_io(action: &str, path: &str, error: io::Error) -> PortError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => PortErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => PortErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem => PortErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            PortErrorKind::StorageFull
        }
        io::ErrorKind::AlreadyExists => PortErrorKind::Conflict,
        io::ErrorKind::Interrupted
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::TimedOut
        | io::ErrorKind::ResourceBusy
        | io::ErrorKind::StaleNetworkFileHandle
        | io::ErrorKind::OutOfMemory => PortErrorKind::Unavailable,
        io::ErrorKind::Unsupported => PortErrorKind::Unsupported,
        _ if is_descriptor_limit(&error) => PortErrorKind::Unavailable,
        _ => PortErrorKind::Internal,
    };
    let reason = match kind {
        PortErrorKind::NotFound => String::from("there is no such file or directory"),
        PortErrorKind::PermissionDenied => {
            String::from("the server's user is not permitted to do that; check owner and mode")
        }
        PortErrorKind::ReadOnly => {
            String::from("the file system is mounted read-only; mount it writable or use another place")
        }
        PortErrorKind::StorageFull => {
            String::from("no space is left or a quota is used up; make room and try again")
        }
        _ => error.to_string(),
    };
    PortError::with_source(kind, format!("cannot {action} `{path}`: {reason}"), error)
}

fn is_descriptor_limit(error: &io::Error) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A failure of an object store. `path` is the full key.
pub(crate) fn from_store(action: &str, path: &str, error: object_store::Error) -> PortError {
    let text = deepest_text(&error);
    store_error(action, path, kind_of_store(&error, &text), &text, error)
}

/// A failure to write to an object store. `NotFound` means to callers that what they read is gone, so it is not what
/// they are told of a bucket or an upload that does not exist.
pub(crate) fn from_store_write(path: &str, error: object_store::Error) -> PortError {
    let text = deepest_text(&error);
    let kind = match kind_of_store(&error, &text) {
        PortErrorKind::NotFound if is_missing_bucket(&text) => PortErrorKind::InvalidInput,
        PortErrorKind::NotFound => PortErrorKind::Unavailable,
        kind => kind,
    };
    store_error("write", path, kind, &text, error)
}

fn kind_of_store(error: &object_store::Error, text: &str) -> PortErrorKind {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => PortErrorKind::NotFound,
        Error::AlreadyExists { .. } => PortErrorKind::Conflict,
        Error::Precondition { .. } | Error::NotModified { .. } => PortErrorKind::Changed,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => PortErrorKind::PermissionDenied,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => PortErrorKind::Unsupported,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => PortErrorKind::InvalidInput,
        Error::JoinError { .. } => PortErrorKind::Internal,
        _ => kind_of_text(text),
    }
}

/// The code of stores for a bucket that does not exist.
const NO_BUCKET: &str = "NoSuchBucket";

fn is_missing_bucket(text: &str) -> bool {
    element(text, "Code") == Some(NO_BUCKET)
}

fn store_error(
    action: &str,
    path: &str,
    kind: PortErrorKind,
    text: &str,
    error: object_store::Error,
) -> PortError {
    let reason = match kind {
        PortErrorKind::NotFound | PortErrorKind::InvalidInput if is_missing_bucket(text) => {
            String::from("the bucket does not exist; create it or correct its name")
        }
        PortErrorKind::NotFound => String::from("there is no such object"),
        PortErrorKind::PermissionDenied => {
            format!("the store refuses these credentials ({})", code_of(text))
        }
        PortErrorKind::Changed => String::from("it is not what it was when it was listed"),
        PortErrorKind::StorageFull => {
            format!("the store has no space left or a quota is used up ({})", code_of(text))
        }
        PortErrorKind::Unavailable if text.contains("certificate") => format!(
            "the store's certificate is not trusted ({}); give its authority's certificate with the storage",
            code_of(text)
        ),
        PortErrorKind::Unavailable => {
            format!("the store cannot be reached or does not answer ({})", code_of(text))
        }
        _ => code_of(text),
    };
    PortError::with_source(kind, format!("cannot {action} `{path}`: {reason}"), error)
}

/// What the library puts before the status and, after another colon, the body of an answer.
const STATUS: &str = "Server returned non-2xx status code: ";

/// What a store says in its answer, where the library knows no error of its own for it.
fn kind_of_text(text: &str) -> PortErrorKind {
    let status = text.split_once(STATUS).and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    kind_of_answer(status, element(text, "Code").unwrap_or_default())
}

/// What a status and the code in an answer's body mean. Nothing else is looked at: addresses, keys and ids of requests
/// hold any digits and words.
pub(crate) fn kind_of_answer(status: Option<u16>, code: &str) -> PortErrorKind {
    const FULL: [&str; 5] =
        ["QuotaExceeded", "InsufficientStorage", "NoSpace", "StorageFull", "EntityTooLarge"];
    const DENIED: [&str; 5] =
        ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"];
    let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
    if code == NO_BUCKET {
        PortErrorKind::NotFound
    } else if has(&DENIED) {
        PortErrorKind::PermissionDenied
    } else if status == Some(507) || has(&FULL) {
        PortErrorKind::StorageFull
    } else {
        PortErrorKind::Unavailable
    }
}

/// The innermost message: the outer ones repeat the request's address, which people have no use for.
fn deepest_text(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    let outer = error.to_string();
    let inner = current.to_string();
    if inner.len() < outer.len() && !outer.contains("<Code>") { inner } else { outer }
}

/// `<Code>: <Message>` of a store's XML answer, or the text itself, cut to a readable length. An answer that is none of
/// a store's is told by its status alone: callers choose the address, and its content is not theirs to read.
pub(crate) fn code_of(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    match (element(text, "Code"), element(text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => without_body(text).chars().take(CHARS_MAX).collect(),
    }
}

fn without_body(text: &str) -> &str {
    let after_status = text.find(STATUS).map(|start| start + STATUS.len());
    let length = after_status.and_then(|start| Some(start + text[start..].find(':')?));
    length.map_or(text, |length| &text[..length])
}

/// What an element of an XML answer holds.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.find(&format!("<{name}>"))? + name.len() + 2;
    let length = text[start..].find("</")?;
    Some(&text[start..start + length])
}

/// A file of the repository that does not decode.
pub(crate) fn from_format(path: &str, error: FormatError) -> PortError {
    let kind = match error {
        FormatError::Corrupt(_) => PortErrorKind::Corrupt,
        FormatError::Newer(_) => PortErrorKind::Unsupported,
        FormatError::TooLarge(_) => PortErrorKind::InvalidInput,
    };
    PortError::with_source(kind, format!("`{path}`: {error}"), error)
}

/// A blocking task that did not come back: it panicked, or the runtime is shutting down.
pub(crate) fn from_join(error: tokio::task::JoinError) -> PortError {
    let kind = if error.is_cancelled() { PortErrorKind::Canceled } else { PortErrorKind::Internal };
    PortError::with_source(kind, "a file operation did not run to its end", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn failures_of_the_disk_are_told_apart() {
        let kind = |errno: Errno| {
            from_io("write", "packs/00/x", io::Error::from_raw_os_error(errno.raw_os_error())).kind()
        };
        assert_eq!(kind(Errno::NOSPC), PortErrorKind::StorageFull);
        assert_eq!(kind(Errno::DQUOT), PortErrorKind::StorageFull);
        assert_eq!(kind(Errno::ROFS), PortErrorKind::ReadOnly);
        assert_eq!(kind(Errno::ACCESS), PortErrorKind::PermissionDenied);
        assert_eq!(kind(Errno::NOENT), PortErrorKind::NotFound);
        assert_eq!(kind(Errno::MFILE), PortErrorKind::Unavailable);
        assert_eq!(kind(Errno::IO), PortErrorKind::Internal);
    }

    #[test]
    fn a_stores_answer_is_shortened_to_code_and_message() {
        let text = "status 403: <Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        assert_eq!(code_of(text), "AccessDenied: Access Denied.");
        assert_eq!(kind_of_text(text), PortErrorKind::PermissionDenied);
        assert_eq!(kind_of_text("connection refused"), PortErrorKind::Unavailable);
    }

    #[test]
    fn what_is_no_stores_answer_is_not_repeated() {
        let text = format!(
            "Error performing GET http://inside/ in 1s - {STATUS}404 Not Found: <html>internal: 10.0.0.1"
        );
        assert_eq!(
            code_of(&text),
            format!("Error performing GET http://inside/ in 1s - {STATUS}404 Not Found")
        );
        assert_eq!(code_of("connection refused"), "connection refused");
    }

    #[test]
    fn only_status_and_code_tell_what_a_store_means() {
        let answer = |status: &str, code: &str, key: &str| {
            kind_of_text(&format!(
                "Generic S3 error: Error performing PUT http://store:5507/{key} in 1s - Server returned non-2xx status \
                 code: {status}: <Error><Code>{code}</Code><Resource>/{key}</Resource><RequestId>4F507A</RequestId>\
                 </Error>"
            ))
        };
        for key in ["packs/50/507f", "AccessDenied", "NoSuchBucket", "QuotaExceeded"] {
            assert_eq!(
                answer("503 Service Unavailable", "SlowDown", key),
                PortErrorKind::Unavailable,
                "{key}"
            );
        }
        assert_eq!(answer("507 Insufficient Storage", "", "a"), PortErrorKind::StorageFull);
        assert_eq!(answer("400 Bad Request", "XMinioStorageFull", "a"), PortErrorKind::StorageFull);
        assert_eq!(answer("400 Bad Request", "ExpiredToken", "a"), PortErrorKind::PermissionDenied);
    }
}
