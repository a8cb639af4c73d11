//! When which part of a backup is restored to see whether it can be.

use crate::backup::CollectionName;
use crate::error::InvalidInput;
use crate::ids::{ClusterId, JobId};
use crate::restore::CompareDepth;
use crate::schedule::{InvalidSchedule, Schedule, SchedulePolicy, TimeZone, Timing};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Most collections that a policy names, or that one drill restores.
pub const DRILL_COLLECTIONS_MAX: usize = 200;

/// What of a backup a drill restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillSample {
    /// Every collection, as far as they fit.
    Everything,
    /// One collection, another each time.
    InTurn,
    /// These, as far as the backup has them.
    Collections(Vec<CollectionName>),
}

/// The scheduled drills of one cluster's backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillPolicy {
    /// Whether drills are made.
    pub enabled: bool,
    /// At which local times.
    pub timing: Timing,
    /// Whose local times.
    pub time_zone: TimeZone,
    /// Where; a cluster that has databases.
    pub target_cluster_id: ClusterId,
    /// What of the backup.
    pub sample: DrillSample,
    /// Most bytes of binlogs that one drill restores.
    pub max_bytes: Option<u64>,
    /// How thoroughly rows are compared.
    pub depth: CompareDepth,
}

/// A start at which no drill was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedDrill {
    /// The start.
    pub scheduled_for: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

/// The policy of a cluster, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillSchedule {
    /// The cluster whose backups are drilled.
    pub cluster_id: ClusterId,
    /// The policy.
    pub policy: DrillPolicy,
    /// The start that was recorded last; `None` when the policy was just switched on, which makes a drill at once.
    pub last_run: Option<DateTime<Utc>>,
    /// The collection that was restored last; the next one in the order of names comes next.
    pub last_collection: Option<CollectionName>,
    /// The job of the last drill.
    pub last_job_id: Option<JobId>,
    /// The start that was last skipped.
    pub last_skipped: Option<SkippedDrill>,
    /// When to look again; `None` is never.
    #[serde(skip)]
    pub next_look: Option<DateTime<Utc>>,
    /// Counts the changes; 0 is not kept yet.
    #[serde(skip)]
    pub revision: u64,
}

impl DrillPolicy {
    /// Checks the policy.
    ///
    /// # Errors
    /// Names the field and its rule.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        SchedulePolicy::new(self.timing.clone(), self.time_zone).validate()?;
        if self.max_bytes == Some(0) {
            return Err(InvalidInput::new("maxBytes", "must be at least 1"));
        }
        let DrillSample::Collections(names) = &self.sample else { return Ok(()) };
        if names.is_empty() || names.len() > DRILL_COLLECTIONS_MAX {
            let rule = format!("must name between 1 and {DRILL_COLLECTIONS_MAX}, got {}", names.len());
            return Err(InvalidInput::new("collections", rule));
        }
        if names.iter().any(|name| name.database.is_empty() || name.collection.is_empty()) {
            return Err(InvalidInput::new("collections", "must not contain empty names"));
        }
        Ok(())
    }
}

impl DrillSchedule {
    /// A cluster's policy from now on, in place of the former one.
    ///
    /// # Errors
    /// The policy breaks a rule.
    pub fn changed(
        former: Option<Self>,
        cluster_id: ClusterId,
        policy: DrillPolicy,
        now: DateTime<Utc>,
    ) -> Result<Self, InvalidInput> {
        policy.validate()?;
        let next_look = policy.enabled.then_some(now);
        let Some(former) = former else {
            return Ok(Self {
                cluster_id,
                policy,
                last_run: None,
                last_collection: None,
                last_job_id: None,
                last_skipped: None,
                next_look,
                revision: 0,
            });
        };
        let same_times = former.policy.timing == policy.timing && former.policy.time_zone == policy.time_zone;
        let last_run = match former.last_run {
            _ if !former.policy.enabled => None,
            last_run if same_times => last_run,
            last_run => last_run.map(|last_run| last_run.max(now)),
        };
        Ok(Self { policy, last_run, next_look, ..former })
    }

    /// The policy's times.
    ///
    /// # Errors
    /// The policy breaks a rule; none that was kept does.
    pub fn rules(&self) -> Result<Schedule, InvalidSchedule> {
        let policy = SchedulePolicy {
            enabled: self.policy.enabled,
            ..SchedulePolicy::new(self.policy.timing.clone(), self.policy.time_zone)
        };
        policy.schedule(self.cluster_id)
    }

    /// The collections of the next drill, of those that a backup has, with their sizes in bytes where a limit makes them
    /// matter. One that is larger than the limit is passed over. The order of names goes around from the one that was
    /// restored last, so that in time each has its turn.
    #[must_use]
    pub fn choose(&self, mut there: Vec<(CollectionName, u64)>) -> Vec<CollectionName> {
        there.sort();
        let behind = there.partition_point(|(name, _)| Some(name) <= self.last_collection.as_ref());
        there.rotate_left(behind);
        let most = match &self.policy.sample {
            DrillSample::Everything => DRILL_COLLECTIONS_MAX,
            DrillSample::InTurn => 1,
            DrillSample::Collections(names) => {
                there.retain(|(name, _)| names.contains(name));
                DRILL_COLLECTIONS_MAX
            }
        };
        let mut left = self.policy.max_bytes.unwrap_or(u64::MAX);
        let mut chosen = Vec::new();
        for (name, bytes) in there {
            if chosen.len() < most && bytes <= left {
                left -= bytes;
                chosen.push(name);
            }
        }
        chosen
    }
}
