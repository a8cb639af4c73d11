//! Checks that nobody has to ask for: a repository is read and hashed share by share, and backups are restored into
//! scratch databases, both by policies.

mod damage;
mod drill;
mod leftovers;
mod share;
mod verification;
mod verify;

#[cfg(test)]
mod tests;

pub use damage::{Damage, DamageKey, Damaged};
pub use drill::{DRILL_COLLECTIONS_MAX, DrillPolicy, DrillSample, DrillSchedule, SkippedDrill};
pub use leftovers::{CLEANUP_ATTEMPTS_MAX, Leftovers};
pub use share::{Share, position};
pub use verification::{BackupChecked, FINDINGS_MAX, Verification, VerificationState};
pub use verify::{EVERY_DAYS_MAX, OpenShare, SHARES_AT_ONCE_MAX, VerifyPolicy, VerifySchedule};
