//! What verifies have found about a backup so far.

use crate::job::VerifyLevel;
use crate::ports::VerifyFailure;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Findings about one backup that are kept.
pub const FINDINGS_MAX: usize = 20;

/// Whether a backup was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VerificationState {
    /// No byte of it was.
    #[default]
    Never,
    /// A part of it was, and nothing is known to be wrong.
    Partial,
    /// All of it was, and nothing is known to be wrong.
    Verified,
    /// Something that it needs is not as it must be.
    Damaged,
}

/// What is known about a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When a part of it was checked last.
    pub last_verified_at: Option<DateTime<Utc>>,
    /// How thoroughly.
    pub level: Option<VerifyLevel>,
    /// Objects that were checked at that level since the backup was made.
    pub covered_objects: u64,
    /// Objects of the backup.
    pub object_count: u64,
    /// Its objects that are not as they must be, or 1 for a manifest that cannot be read.
    pub damaged_count: u64,
    /// The first findings, at most [`FINDINGS_MAX`].
    pub findings: Vec<VerifyFailure>,
}

/// What one check found about one backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupChecked {
    /// Its objects that were looked at.
    pub objects: u64,
    /// Whether these were all it has.
    pub whole: bool,
    /// Its objects that are known to be damaged now, those found by other checks included.
    pub damaged_count: u64,
    /// The first of them.
    pub findings: Vec<VerifyFailure>,
}

impl Verification {
    /// Whether the backup was checked.
    #[must_use]
    pub const fn state(&self) -> VerificationState {
        if self.damaged_count > 0 {
            VerificationState::Damaged
        } else if self.level.is_none() {
            VerificationState::Never
        } else if self.covered_objects >= self.object_count {
            VerificationState::Verified
        } else {
            VerificationState::Partial
        }
    }

    /// The part of the backup that was checked, 0 to 100; 100 only when all was.
    #[must_use]
    pub fn covered_percent(&self) -> u8 {
        match (self.level, self.object_count) {
            (None, _) => 0,
            (Some(_), 0) => 100,
            (Some(_), count) => {
                let percent = u128::from(self.covered_objects) * 100 / u128::from(count);
                u8::try_from(percent.min(100)).unwrap_or(100)
            }
        }
    }

    /// After another check. Shares of one turn never overlap, so their objects add up; what a share checks again in
    /// the next turn was complete before. A less thorough check says nothing about what a more thorough one covered.
    #[must_use]
    pub fn after(
        mut self,
        checked: BackupChecked,
        object_count: u64,
        level: VerifyLevel,
        now: DateTime<Utc>,
    ) -> Self {
        self.object_count = object_count;
        self.damaged_count = checked.damaged_count;
        self.findings = checked.findings;
        self.findings.truncate(FINDINGS_MAX);
        let looked = checked.whole || checked.objects > 0;
        if !looked || self.level.is_some_and(|former| level < former) {
            return self;
        }
        let former = if self.level == Some(level) { self.covered_objects } else { 0 };
        let covered = if checked.whole { object_count } else { former.saturating_add(checked.objects) };
        self.covered_objects = covered.min(object_count);
        self.level = Some(level);
        self.last_verified_at = Some(now);
        self
    }
}
