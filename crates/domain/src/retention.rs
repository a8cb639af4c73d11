//! How long backups are kept.

use crate::backup::CreationMethod;
use crate::error::InvalidInput;
use chrono::{DateTime, Days, Utc};

/// Fewest days of retention.
pub const RETENTION_DAYS_MIN: u32 = 1;
/// Most days of retention.
pub const RETENTION_DAYS_MAX: u32 = 30;
/// Days that automatic backups are kept when nobody says otherwise.
pub const RETENTION_DAYS_AUTOMATIC_DEFAULT: u32 = 7;

/// When a backup made now ends by itself: manual ones never unless days are given, automatic ones after seven days
/// unless others are given. A day is 24 hours here, so daylight saving shortens nothing.
///
/// # Errors
/// Days outside 1 to 30.
pub fn expiry(
    creation_method: CreationMethod,
    retention_days: Option<u32>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, InvalidInput> {
    let days = match (creation_method, retention_days) {
        (CreationMethod::Manual, None) => return Ok(None),
        (CreationMethod::Auto, None) => RETENTION_DAYS_AUTOMATIC_DEFAULT,
        (_, Some(days)) => days,
    };
    if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&days) {
        return Err(InvalidInput::new(
            "retentionDays",
            format!(
                "must be between {RETENTION_DAYS_MIN} and {RETENTION_DAYS_MAX}, or null to keep the backup for ever; got {days}"
            ),
        ));
    }
    now.checked_add_days(Days::new(u64::from(days)))
        .map(Some)
        .ok_or_else(|| InvalidInput::new("retentionDays", "reaches beyond the calendar"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn manual_backups_are_kept_for_ever_unless_told_otherwise() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(expiry(CreationMethod::Manual, None, now).unwrap(), None);
        assert_eq!(expiry(CreationMethod::Manual, Some(1), now).unwrap(), Some(now + Days::new(1)));
        assert_eq!(expiry(CreationMethod::Auto, None, now).unwrap(), Some(now + Days::new(7)));
    }

    #[test]
    fn days_outside_the_range_are_refused() {
        for days in [0, 31, u32::MAX] {
            let error = expiry(CreationMethod::Manual, Some(days), DateTime::UNIX_EPOCH).unwrap_err();
            assert_eq!(error.field, "retentionDays");
        }
    }
}
