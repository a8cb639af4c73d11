//! How long the phases of a backup took.

use anyhow::Context as _;
use milvault_domain::job::{Job, JobEvent, JobPhase};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Seconds that a backup spent in its phases.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Phases {
    /// Fixing the instant.
    pub(super) cut: f64,
    /// Listing, and finding what is there already.
    pub(super) plan: f64,
    /// Copying.
    pub(super) copy: f64,
    /// Writing and checking the manifest, and making the backup available.
    pub(super) seal: f64,
    /// From the request until the catalog showed success.
    pub(super) total: f64,
}

impl Phases {
    /// From the job's history: a phase lasts until the next one begins, the last one until the end.
    pub(super) fn of(job: &Job, events: &[JobEvent], total: Duration) -> anyhow::Result<Self> {
        let ended_at = job.ended_at.context("the job has no end")?;
        let length = |phase: JobPhase| {
            let Some(begin) = events.iter().position(|event| event.phase == Some(phase)) else { return 0.0 };
            let next = events[begin..].iter().find(|event| event.phase != Some(phase));
            let end = next.map_or(ended_at, |event| event.at);
            (end - events[begin].at).as_seconds_f64()
        };
        Ok(Self {
            cut: length(JobPhase::Cut),
            plan: length(JobPhase::Plan),
            copy: length(JobPhase::Copy),
            seal: length(JobPhase::Seal),
            total: total.as_secs_f64(),
        })
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut, plan, copy, seal, total } = self;
        write!(formatter, "{total:>8.3} s (cut {cut:.3}, plan {plan:.3}, copy {copy:.3}, seal {seal:.3})")
    }
}
