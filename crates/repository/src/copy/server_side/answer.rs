//! What a store answers to a copy request. Stores may answer 200 and say in the body that it failed.

use crate::error::kind_of_answer;
use crate::place::bare_tag;
use crate::source::{changed, gone};
use futures::TryStreamExt;
use http::StatusCode;
use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::object::SourceObject;
use object_store::client::{HttpError, HttpResponse};
use serde::Deserialize;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// An answer to `CopyObject` or `UploadPartCopy`.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Body,
}

/// The elements of a result and of an error in one: which of them it is shows in what is there.
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(rename = "ETag")]
    tag: Option<String>,
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

/// A copy that was not made.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: PortErrorKind,
    reason: String,
}

impl Answer {
    /// Reads an answer's body.
    pub(super) async fn read(response: HttpResponse) -> Result<Self, Refusal> {
        let status = response.status();
        let mut text = Vec::new();
        let mut pieces = response.into_body().bytes_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|error| Refusal::unreachable(&error))? {
            if ANSWER_BYTES_MAX < text.len() + piece.len() {
                return Err(Refusal::unclear("the answer is too long"));
            }
            text.extend_from_slice(&piece);
        }
        Ok(Self::parse(status, &String::from_utf8_lossy(&text)))
    }

    fn parse(status: StatusCode, text: &str) -> Self {
        Self { status, body: quick_xml::de::from_str(text).unwrap_or_default() }
    }

    /// The entity tag of what was copied.
    pub(super) fn tag(self) -> Result<Box<str>, Refusal> {
        match (self.status.is_success(), self.body) {
            (true, Body { tag: Some(tag), code: None, .. }) => Ok(bare_tag(&tag)),
            (true, Body { tag: None, code: None, .. }) => {
                Err(Refusal::unclear("the store neither copied nor said why"))
            }
            (_, body) => Err(Refusal::from_answer(self.status, body)),
        }
    }
}

impl Refusal {
    /// An answer that cannot be understood. It may be another one next time.
    pub(super) fn unclear(reason: &str) -> Self {
        Self { kind: PortErrorKind::Unavailable, reason: reason.to_owned() }
    }

    /// What this store cannot do.
    pub(super) fn unsupported(reason: &str) -> Self {
        Self { kind: PortErrorKind::Unsupported, reason: reason.to_owned() }
    }

    /// No answer.
    pub(super) fn unreachable(error: &HttpError) -> Self {
        Self { kind: PortErrorKind::Unavailable, reason: format!("the store cannot be reached: {error}") }
    }

    /// A failure of the library.
    pub(super) fn from_port_error(error: &PortError) -> Self {
        Self { kind: error.kind(), reason: error.to_string() }
    }

    fn from_answer(status: StatusCode, body: Body) -> Self {
        let code = body.code.unwrap_or_default();
        let kind = match (status, code.as_str()) {
            (_, "NoSuchKey") => PortErrorKind::NotFound,
            (StatusCode::PRECONDITION_FAILED, _) | (_, "PreconditionFailed") => PortErrorKind::Changed,
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => PortErrorKind::PermissionDenied,
            (StatusCode::NOT_FOUND, "NoSuchBucket" | "NoSuchUpload") => PortErrorKind::InvalidInput,
            (StatusCode::NOT_FOUND, _) => PortErrorKind::NotFound,
            (StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED, _) => PortErrorKind::Unsupported,
            _ => kind_of_answer(Some(status.as_u16()), &code),
        };
        let reason = match body.message {
            Some(message) => format!("{status}, {code}: {message}"),
            None => format!("{status} {code}"),
        };
        Self { kind, reason }
    }

    /// What kind of failure it is.
    pub(crate) const fn kind(&self) -> PortErrorKind {
        self.kind
    }

    /// What the store said.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        self.kind == PortErrorKind::Unavailable
    }

    /// The failure of a copy that was made to see whether it works.
    pub(super) fn into_probe_error(self) -> PortError {
        PortError::new(self.kind, format!("the store does not copy on request: {}", self.reason))
    }

    /// The failure of copying this object.
    pub(super) fn into_port_error(self, source: &SourceObject) -> PortError {
        match self.kind {
            PortErrorKind::NotFound => gone(&source.key),
            PortErrorKind::Changed => changed(source),
            kind => PortError::new(kind, format!("the store did not copy `{}`: {}", source.key, self.reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tag(status: u16, text: &str) -> Result<String, PortErrorKind> {
        let answer = Answer::parse(StatusCode::from_u16(status).unwrap(), text);
        answer.tag().map(String::from).map_err(|refusal| refusal.kind)
    }

    #[test]
    fn a_success_is_one_only_with_a_tag() {
        let copied = "<?xml version=\"1.0\"?><CopyObjectResult xmlns=\"x\"><LastModified>now</LastModified>\
                      <ETag>&quot;abc-2&quot;</ETag></CopyObjectResult>";
        assert_eq!(tag(200, copied), Ok(String::from("abc-2")));
        assert_eq!(tag(200, ""), Err(PortErrorKind::Unavailable));
        assert_eq!(tag(200, "   \n"), Err(PortErrorKind::Unavailable));
    }

    #[test]
    fn an_error_in_a_success_is_an_error() {
        let error = "<Error><Code>InternalError</Code><Message>try again</Message></Error>";
        assert_eq!(tag(200, error), Err(PortErrorKind::Unavailable));
        let error = "<Error><Code>AccessDenied</Code></Error>";
        assert_eq!(tag(200, error), Err(PortErrorKind::PermissionDenied));
    }

    #[test]
    fn refusals_are_told_apart() {
        let code = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        assert_eq!(tag(404, &code("NoSuchKey")), Err(PortErrorKind::NotFound));
        assert_eq!(tag(404, &code("NoSuchBucket")), Err(PortErrorKind::InvalidInput));
        assert_eq!(tag(412, &code("PreconditionFailed")), Err(PortErrorKind::Changed));
        assert_eq!(tag(403, "not xml"), Err(PortErrorKind::PermissionDenied));
        assert_eq!(tag(503, &code("SlowDown")), Err(PortErrorKind::Unavailable));
        assert_eq!(tag(507, &code("InsufficientStorage")), Err(PortErrorKind::StorageFull));
    }
}
