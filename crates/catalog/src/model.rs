//! How values of the domain are spelled in columns: enums, ids, times, figures, structures, bounded texts.

use crate::error::corrupt;
use chrono::{DateTime, Utc};
use milvault_domain::access::Role;
use milvault_domain::audit::{AuditActorKind, AuditResult};
use milvault_domain::backup::{BackupStatus, BackupType, CreationMethod};
use milvault_domain::job::{JobPhase, JobState, JobType, VerifyLevel};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::restore::RestoreStep;
use milvault_domain::webhook::{DeliveryState, WebhookEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

/// An enum that a column spells as a text with a CHECK.
pub(crate) trait Spelled: Copy + Sized + 'static {
    /// Every value with its spelling.
    const SPELLINGS: &'static [(Self, &'static str)];

    /// How the column spells it.
    fn spelling(self) -> &'static str;
}

/// Every spelling of an enum.
pub(crate) fn all_spellings<T: Spelled>() -> Vec<&'static str> {
    T::SPELLINGS.iter().map(|(_, spelling)| *spelling).collect()
}

/// Reads the spelling of an enum.
pub(crate) fn spelled<T: Spelled>(text: &str) -> PortResult<T> {
    T::SPELLINGS
        .iter()
        .find(|(_, spelling)| *spelling == text)
        .map(|(value, _)| *value)
        .ok_or_else(|| corrupt(format_args!("`{text}` is no {}", std::any::type_name::<T>())))
}

macro_rules! spelled {
    ($type:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl Spelled for $type {
            const SPELLINGS: &'static [(Self, &'static str)] = &[$((Self::$variant, $text)),+];

            fn spelling(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}

spelled!(Role {
    OrganizationOwner => "ORGANIZATION_OWNER",
    OrganizationMember => "ORGANIZATION_MEMBER",
    BillingAdmin => "BILLING_ADMIN",
    ProjectOwner => "PROJECT_OWNER",
    ProjectReadWrite => "PROJECT_READ_WRITE",
    ProjectReadOnly => "PROJECT_READ_ONLY",
    CustomBackupView => "CUSTOM_BACKUP_VIEW",
    CustomBackupManage => "CUSTOM_BACKUP_MANAGE",
});
spelled!(AuditActorKind {
    User => "USER",
    ApiKey => "API_KEY",
    System => "SYSTEM",
    Anonymous => "ANONYMOUS",
});
spelled!(AuditResult { Ok => "OK", Refused => "REFUSED", Failed => "FAILED" });
spelled!(BackupType { Cluster => "CLUSTER", Database => "DATABASE", Collection => "COLLECTION" });
spelled!(CreationMethod { Manual => "MANUAL", Auto => "AUTO" });
spelled!(BackupStatus {
    Creating => "CREATING",
    Available => "AVAILABLE",
    Failed => "FAILED",
    Deleted => "DELETED",
});
spelled!(JobType {
    Backup => "BACKUP",
    Verify => "VERIFY",
    Restore => "RESTORE",
    Drill => "DRILL",
    Undo => "UNDO",
    Compare => "COMPARE",
    Adopt => "ADOPT",
    Copy => "COPY",
    Delete => "DELETE",
    Sweep => "SWEEP",
});
spelled!(JobState {
    Pending => "PENDING",
    InProgress => "IN_PROGRESS",
    Canceling => "CANCELING",
    Successful => "SUCCESSFUL",
    Failed => "FAILED",
    Canceled => "CANCELED",
});
spelled!(JobPhase {
    Cut => "CUT",
    Plan => "PLAN",
    Copy => "COPY",
    Seal => "SEAL",
    Verify => "VERIFY",
    Prepare => "PREPARE",
    Import => "IMPORT",
    Finish => "FINISH",
    Compare => "COMPARE",
    Cleanup => "CLEANUP",
});
spelled!(WebhookEvent {
    BackupFailed => "BACKUP_FAILED",
    BackupOverdue => "BACKUP_OVERDUE",
    BackupSizeUnusual => "BACKUP_SIZE_UNUSUAL",
    HoldExpiring => "HOLD_EXPIRING",
    VerifyFailed => "VERIFY_FAILED",
    RestoreFailed => "RESTORE_FAILED",
    DrillFailed => "DRILL_FAILED",
    CopyFailed => "COPY_FAILED",
    Ping => "PING",
});
spelled!(DeliveryState { Pending => "PENDING", Delivered => "DELIVERED", Failed => "FAILED" });
spelled!(VerifyLevel { Existence => "EXISTENCE", Structure => "STRUCTURE", Content => "CONTENT" });

spelled!(RestoreStep {
    Waiting => "WAITING",
    Created => "CREATED",
    Compared => "COMPARED",
    Done => "DONE",
    Skipped => "SKIPPED",
    Failed => "FAILED",
    Undone => "UNDONE",
});

/// Reads an id in its printed form.
pub(crate) fn id<T: FromStr<Err: Display>>(text: &str) -> PortResult<T> {
    text.parse().map_err(corrupt)
}

/// Reads a time in microseconds since 1970-01-01 UTC.
pub(crate) fn time(microseconds: i64) -> PortResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(microseconds)
        .ok_or_else(|| corrupt(format_args!("time {microseconds} is outside the calendar")))
}

/// Reads a time that may be missing.
pub(crate) fn optional_time(microseconds: Option<i64>) -> PortResult<Option<DateTime<Utc>>> {
    microseconds.map(time).transpose()
}

/// Writes a time that may be missing, in microseconds since 1970-01-01 UTC.
pub(crate) fn optional_microseconds(time: Option<DateTime<Utc>>) -> Option<i64> {
    time.map(|time| time.timestamp_micros())
}

/// Writes a figure. The databases' largest whole number is 2^63 - 1.
pub(crate) fn figure(name: &'static str, value: u64) -> PortResult<i64> {
    i64::try_from(value).map_err(|_| {
        PortError::new(
            PortErrorKind::InvalidInput,
            format!("{name} must be at most {}, got {value}", i64::MAX),
        )
    })
}

/// Reads a figure.
pub(crate) fn count<T: TryFrom<i64>>(value: i64) -> PortResult<T> {
    T::try_from(value).map_err(|_| corrupt(format_args!("figure {value} is out of range")))
}

/// Writes a structure as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> PortResult<String> {
    serde_json::to_string(value).map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "a record cannot be written as JSON", error)
    })
}

/// Reads a structure from JSON. The text itself stays out of the error: it may be anything.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> PortResult<T> {
    serde_json::from_str(text).map_err(|error| {
        corrupt(format_args!(
            "JSON of {} is wrong at line {} column {}",
            std::any::type_name::<T>(),
            error.line(),
            error.column()
        ))
    })
}

/// Longest reason of a failure that is kept, in characters.
pub(crate) const FAILURE_CHARS_MAX: usize = 4096;
/// Longest name of who asked for something, in characters.
pub(crate) const CREATED_BY_CHARS_MAX: usize = 256;

/// At most so many characters of a text, without zero characters, which PostgreSQL cannot store.
pub(crate) fn bounded(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Most warnings of one job or one collection that are kept.
const WARNINGS_MAX: usize = 100;
/// Longest warning or difference that is kept, in characters.
pub(crate) const WARNING_CHARS_MAX: usize = 1024;

/// Warnings as they are kept: the first ones, each cut, and how many there were besides. What was kept stays the same
/// when it is kept again.
pub(crate) fn bounded_warnings(warnings: &[String]) -> Vec<String> {
    if warnings.len() == WARNINGS_MAX + 1 {
        return warnings.iter().map(|warning| bounded(warning, WARNING_CHARS_MAX)).collect();
    }
    let left_out = warnings.len().saturating_sub(WARNINGS_MAX);
    let mut kept: Vec<_> =
        warnings.iter().take(WARNINGS_MAX).map(|warning| bounded(warning, WARNING_CHARS_MAX)).collect();
    if 0 < left_out {
        kept.push(format!("and {left_out} more that were not kept"));
    }
    kept
}

/// A text as it is compared without regard to case.
pub(crate) fn folded(text: &str) -> String {
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check<T: Spelled + PartialEq + std::fmt::Debug>() {
        for (value, spelling) in T::SPELLINGS {
            assert_eq!(value.spelling(), *spelling);
            assert_eq!(spelled::<T>(spelling).unwrap(), *value);
        }
        assert_eq!(spelled::<T>("NONSENSE").unwrap_err().kind(), PortErrorKind::Corrupt);
    }

    #[test]
    fn enums_read_back_what_they_spell() {
        check::<Role>();
        check::<AuditActorKind>();
        check::<AuditResult>();
        check::<BackupType>();
        check::<CreationMethod>();
        check::<BackupStatus>();
        check::<JobType>();
        check::<JobState>();
        check::<JobPhase>();
        check::<VerifyLevel>();
        check::<RestoreStep>();
        check::<WebhookEvent>();
        check::<DeliveryState>();
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(bounded("äöü", 2), "äö");
        assert_eq!(bounded("a\0b", 9), "a\u{fffd}b");
        assert_eq!(bounded(&"ß".repeat(5000), FAILURE_CHARS_MAX).chars().count(), FAILURE_CHARS_MAX);
    }

    #[test]
    fn warnings_are_bounded_in_number_and_length() {
        let few = vec![String::from("a"), "ü".repeat(5_000)];
        assert_eq!(bounded_warnings(&few), [String::from("a"), "ü".repeat(WARNING_CHARS_MAX)]);
        let many = vec![String::from("a"); WARNINGS_MAX + 7];
        let kept = bounded_warnings(&many);
        assert_eq!(kept.len(), WARNINGS_MAX + 1);
        assert_eq!(kept.last().map(String::as_str), Some("and 7 more that were not kept"));
        assert_eq!(bounded_warnings(&kept), kept);
    }

    #[test]
    fn errors_about_json_do_not_show_it() {
        let error = from_json::<Vec<u32>>("[\"hunter2\"]").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn figures_beyond_the_databases_range_are_refused() {
        assert_eq!(figure("maxBytesPerSecond", u64::MAX).unwrap_err().kind(), PortErrorKind::InvalidInput);
        assert_eq!(figure("x", 5).unwrap(), 5);
        assert!(count::<u32>(-1).is_err());
    }
}
