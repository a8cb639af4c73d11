//! Errors that cross crate borders.

use std::error::Error;
use std::fmt;

/// Input that breaks a rule, with the field and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidInput {
    /// Field as the API spells it.
    pub field: &'static str,
    /// The rule, as a sentence that says what to do.
    pub rule: String,
}

impl InvalidInput {
    /// Names a field and the rule it breaks.
    #[must_use]
    pub fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self { field, rule: rule.into() }
    }
}

/// Longest name of a cluster, repository or backup, in characters.
pub const NAME_CHARS_MAX: usize = 64;
/// Longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 1024;

/// A text is no longer than anything that works.
///
/// # Errors
/// Names the field and the limit.
pub(crate) fn check_length(field: &'static str, text: &str, bytes_max: usize) -> Result<(), InvalidInput> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(InvalidInput::new(field, format!("must have at most {bytes_max} bytes, got {}", text.len())))
}

/// Names are 1 to 64 characters, no control characters, no white space at the ends: they go into file names of
/// reports, logs and terminals.
///
/// # Errors
/// Names the field and the rule.
pub fn check_name(field: &'static str, name: &str) -> Result<(), InvalidInput> {
    let count = name.chars().count();
    if count == 0 || count > NAME_CHARS_MAX {
        return Err(InvalidInput::new(
            field,
            format!("must have 1 to {NAME_CHARS_MAX} characters, got {count}"),
        ));
    }
    if let Some(invisible) = name.chars().find(|character| is_invisible(*character)) {
        return Err(InvalidInput::new(
            field,
            format!("must not contain invisible characters, and has U+{:04X}", u32::from(invisible)),
        ));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return Err(InvalidInput::new(
            field,
            "must not contain control characters nor begin or end with white space",
        ));
    }
    Ok(())
}

/// Characters that nobody sees, or that turn the direction of others around: with them two names look the same that are
/// not. Control characters are not among them.
pub(crate) const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Descriptions are at most 1,024 characters, line breaks allowed, other control characters not.
///
/// # Errors
/// Names the field and the rule.
pub fn check_description(field: &'static str, text: &str) -> Result<(), InvalidInput> {
    let count = text.chars().count();
    if count > DESCRIPTION_CHARS_MAX {
        return Err(InvalidInput::new(
            field,
            format!("must have at most {DESCRIPTION_CHARS_MAX} characters, got {count}"),
        ));
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(InvalidInput::new(field, "must not contain control characters"));
    }
    Ok(())
}

/// What kind of failure a port met. Callers decide by this, never by the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// Credentials are missing or wrong, or lack the right.
    PermissionDenied,
    /// The other side cannot be reached or does not answer; it may later.
    Unavailable,
    /// The request itself is wrong; repeating it changes nothing.
    InvalidInput,
    /// It collides with something that exists or runs.
    Conflict,
    /// No space left, or a quota is used up.
    StorageFull,
    /// The place refuses writes.
    ReadOnly,
    /// Stored bytes are not what was written.
    Corrupt,
    /// This server or store cannot do that.
    Unsupported,
    /// The source moved away under the operation; starting over may succeed.
    Changed,
    /// A limit is reached; the same request may be accepted when there is less to do.
    Busy,
    /// Stopped on request.
    Canceled,
    /// A defect of Milvault or an impossible answer.
    Internal,
}

/// Failure of a port: kind for the program, message for the person, source for the log.
///
/// The message is complete by itself (it says what failed, on what, and what to do where that is known) and
/// carries no secret.
pub struct PortError {
    kind: PortErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Result of a port.
pub type PortResult<T> = Result<T, PortError>;

impl PortError {
    /// A failure without a deeper cause.
    #[must_use]
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A failure with its cause.
    #[must_use]
    pub fn with_source(
        kind: PortErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// Puts `context: ` before the message, keeping kind and source.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> PortErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, PortErrorKind::Unavailable | PortErrorKind::Changed)
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl fmt::Debug for PortError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PortError")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_what_people_see_of_it() {
        for name in ["nightly", "ночной бэкап", "每日备份", "Übung #1 (a/b)", &"ü".repeat(64)]
        {
            check_name("name", name).unwrap();
        }
        for name in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\0b",
            "a\u{200b}b",
            "\u{202e}evil",
            "a\u{feff}",
            "a\u{e0041}",
            "a\u{2028}b",
            &"x".repeat(65),
        ] {
            assert_eq!(check_name("name", name).unwrap_err().field, "name", "{name:?}");
        }
    }
}
