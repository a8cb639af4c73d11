//! Jobs and the only ways in which their state may change.

use crate::ids::{BackupId, ClusterId, JobId, ProjectId};
use crate::progress::Progress;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The work that makes, checks, restores, copies or deletes a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Identity.
    pub id: JobId,
    /// Project of its cluster.
    pub project_id: ProjectId,
    /// The cluster it works on; jobs of one cluster are serialized.
    pub cluster_id: ClusterId,
    /// What it does.
    pub job_type: JobType,
    /// Its state.
    pub state: JobState,
    /// What it is doing, while in progress; what it did last, after that.
    pub phase: Option<JobPhase>,
    /// One line for people.
    pub description: String,
    /// Who asked for it.
    pub created_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When work began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it failed, in words, with what to do.
    pub failure: Option<String>,
    /// The backup it is about.
    pub backup_id: Option<BackupId>,
    /// How thoroughly a verify checks; `None` for other jobs.
    pub verify_level: Option<VerifyLevel>,
    /// How often work on it has begun: 1 for a job that was never interrupted.
    pub attempt: u32,
    /// How often it was put aside in order, to be continued.
    pub parks: u32,
    /// How far it is.
    pub progress: Progress,
}

impl Job {
    /// The attempts that count against their limit: that one was put aside in order says nothing against the job.
    #[must_use]
    pub const fn counted_attempts(&self) -> u32 {
        self.attempt.saturating_sub(self.parks)
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobType {
    /// Makes a backup.
    Backup,
    /// Checks a backup's bytes.
    Verify,
    /// Gives a backup's rows back to a cluster.
    Restore,
    /// Restores into scratch databases, compares, and drops them again.
    Drill,
    /// Removes again what a restore made.
    Undo,
    /// Compares restored collections with their backup.
    Compare,
    /// Takes over a backup that milvus-backup made.
    Adopt,
    /// Copies a backup to another repository.
    Copy,
    /// Buries a backup that was deleted by hand.
    Delete,
    /// Removes what only deleted and failed backups of a cluster refer to.
    Sweep,
}

impl JobType {
    /// Whether it needs the files of the backup that it refers to: such a backup neither is deleted nor expires. A copy
    /// refers to the backup that it makes, and needs the one that this is copied from besides.
    #[must_use]
    pub const fn reads_backup(self) -> bool {
        match self {
            Self::Verify | Self::Restore | Self::Drill | Self::Compare | Self::Copy => true,
            Self::Backup | Self::Undo | Self::Adopt | Self::Delete | Self::Sweep => false,
        }
    }

    /// Whether it ends with a new backup.
    #[must_use]
    pub const fn makes_backup(self) -> bool {
        matches!(self, Self::Backup | Self::Adopt | Self::Copy)
    }
}

/// State of a job. Spelled for people and programs as `PENDING`, `IN_PROGRESS`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobState {
    /// Accepted, waiting for its turn.
    Pending,
    /// At work.
    InProgress,
    /// Asked to stop, not yet stopped.
    Canceling,
    /// Ended well.
    Successful,
    /// Ended badly; the failure says why.
    Failed,
    /// Stopped on request.
    Canceled,
}

/// What a job in progress is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobPhase {
    /// Fixing the instant and the segments.
    Cut,
    /// Listing the objects and finding those that are already there.
    Plan,
    /// Copying.
    Copy,
    /// Writing and checking the manifest.
    Seal,
    /// Reading and hashing.
    Verify,
    /// Looking at the target and planning a restore.
    Prepare,
    /// Staging and importing, building indexes, comparing: collection by collection, many at once.
    Import,
    /// What concerns all collections together: users and roles, and dropping what was replaced.
    Finish,
    /// Reading both sides and comparing rows.
    Compare,
    /// Removing collections and staged files.
    Cleanup,
}

/// How thoroughly to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VerifyLevel {
    /// Manifests decode, and every file they reference exists with the right size.
    Existence,
    /// Besides, packs' own indexes agree with the manifests.
    Structure,
    /// Besides, every byte is read and hashed.
    Content,
}

/// An entry of a job's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// When.
    pub at: DateTime<Utc>,
    /// State from then on.
    pub state: JobState,
    /// Phase from then on.
    pub phase: Option<JobPhase>,
    /// Why, where there is something to say.
    pub reason: Option<String>,
}

/// A change of state that the rules do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job cannot go from {from:?} to {to:?}")]
pub struct IllegalTransition {
    /// State it is in.
    pub from: JobState,
    /// State that was asked for.
    pub to: JobState,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::InProgress, Self::Canceling, Self::Successful, Self::Failed, Self::Canceled];

    /// Whether nothing can follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Canceled)
    }

    /// Checks a change of state. A job in progress may go back to pending when the server that worked on it is gone.
    /// Canceling may end in success or failure when the work ended before the request reached it.
    ///
    /// # Errors
    /// The change is not allowed.
    pub const fn transition(self, to: Self) -> Result<Self, IllegalTransition> {
        let allowed = match self {
            Self::Pending => matches!(to, Self::InProgress | Self::Canceled | Self::Failed),
            Self::InProgress => {
                matches!(
                    to,
                    Self::Successful | Self::Failed | Self::Canceling | Self::Canceled | Self::Pending
                )
            }
            Self::Canceling => matches!(to, Self::Canceled | Self::Successful | Self::Failed),
            Self::Successful | Self::Failed | Self::Canceled => false,
        };
        if allowed { Ok(to) } else { Err(IllegalTransition { from: self, to }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_allow_nothing_and_others_allow_something() {
        for from in JobState::ALL {
            let open = JobState::ALL.into_iter().any(|to| from.transition(to).is_ok());
            assert_eq!(open, !from.is_final(), "{from:?}");
        }
    }

    #[test]
    fn every_state_can_reach_an_end() {
        for from in JobState::ALL {
            let reaches_end = from.is_final()
                || JobState::ALL.into_iter().any(|to| to.is_final() && from.transition(to).is_ok());
            assert!(reaches_end, "{from:?}");
        }
    }

    #[test]
    fn no_job_is_successful_without_having_been_at_work() {
        assert!(JobState::Pending.transition(JobState::Successful).is_err());
    }
}
