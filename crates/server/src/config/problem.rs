//! What is wrong with a configuration, in words that name the place but never a value.

use super::check::BrokenRule;
use super::layers::{ENVIRONMENT_SOURCE, FLAG_SOURCE, FileLayer};
use super::{ENVIRONMENT_PREFIX, Figment};
use figment::error::{Actual, Kind};
use figment::{Metadata, Source};
use std::fmt::Display;

/// A configuration that cannot be used: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub(crate) struct ConfigurationProblem {
    place: String,
    reason: String,
}

impl ConfigurationProblem {
    /// Names a place and what is wrong there.
    pub(super) fn new(place: impl Display, reason: impl Into<String>) -> Self {
        Self { place: place.to_string(), reason: reason.into() }
    }

    /// Describes a value of the wrong type or an unknown key.
    pub(super) fn from_figment(error: &figment::Error, file: Option<&FileLayer>) -> Self {
        let mut key_path = error.path.clone();
        if let Kind::UnknownField(name, _) = &error.kind
            && key_path.last() != Some(name)
        {
            key_path.push(name.clone());
        }
        Self::new(place(error.metadata.as_ref(), &key_path, file), reason(&error.kind))
    }

    /// Describes a value that breaks a rule beyond its type.
    pub(super) fn from_rule(rule: &BrokenRule, figment: &Figment, file: Option<&FileLayer>) -> Self {
        let key_path: Vec<String> = rule.key.split('.').map(str::to_owned).collect();
        Self::new(place(figment.find_metadata(rule.key), &key_path, file), rule.rule)
    }
}

fn place(metadata: Option<&Metadata>, key_path: &[String], file: Option<&FileLayer>) -> String {
    let key = key_path.join(".");
    match metadata {
        Some(metadata) if metadata.name == ENVIRONMENT_SOURCE => {
            format!("environment variable {ENVIRONMENT_PREFIX}{}", key_path.join("__").to_ascii_uppercase())
        }
        Some(metadata) if metadata.name == FLAG_SOURCE => {
            let flag = key_path.last().map_or_else(String::new, |last| last.replace('_', "-"));
            let flag = if key_path.first().is_some_and(|section| section == "log") {
                format!("log-{flag}")
            } else {
                flag
            };
            format!("flag --{flag}")
        }
        Some(metadata) if matches!(metadata.source, Some(Source::File(_))) => match file {
            Some(file) => {
                let line = file.line_of(key_path).map_or_else(String::new, |line| format!(" line {line}"));
                format!("{}{line}, key `{key}`", file.path().display())
            }
            None => format!("key `{key}`"),
        },
        _ => format!("key `{key}`"),
    }
}

fn reason(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.clone(),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("expected {expected}, found {}", kind_of(actual))
        }
        Kind::UnknownField(_, known) => format!("unknown setting; known here: {}", known.join(", ")),
        Kind::UnknownVariant(_, known) => format!("must be one of: {}", known.join(", ")),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => String::from("the number is out of range"),
        Kind::MissingField(name) => format!("`{name}` is missing"),
        _ => String::from("the value cannot be used"),
    }
}

/// The type of a value without the value.
fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a bool",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a decimal number",
        Actual::Char(_) | Actual::Str(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
