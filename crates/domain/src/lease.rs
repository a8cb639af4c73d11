//! Leases: which server works on a cluster's jobs, when several servers share one catalog. Pure: the catalog keeps a
//! [`Lease`] per cluster and decides by its own clock, a server keeps a [`Tenure`] for each lease that it holds and
//! decides by a clock that nobody sets.
//!
//! Two rules together make that a cluster's jobs are worked on once. A server begins nothing when its tenure is over,
//! and a tenure ends before the lease does. Where a server is late all the same (it was suspended in the middle of a
//! step), what it writes carries the generation of its lease, and the catalog refuses a generation that is not the
//! current one.

use crate::ids::{ClusterId, ServerId};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// Longest name of a server, in characters.
pub const SERVER_NAME_CHARS_MAX: usize = 128;

/// What a server tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServer {
    /// Made at every start.
    pub id: ServerId,
    /// Where it runs, for people.
    pub name: String,
    /// Version of Milvault.
    pub version: String,
}

/// A server as the catalog knows it. Times are the catalog's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Who.
    pub id: ServerId,
    /// Where it runs, for people.
    pub name: String,
    /// Version of Milvault.
    pub version: String,
    /// When it came.
    pub started_at: DateTime<Utc>,
    /// When it was heard of last.
    pub heartbeat_at: DateTime<Utc>,
    /// Whether that is recent enough to take it for alive.
    pub alive: bool,
}

/// What a server shows with everything that it writes about the jobs of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Whose jobs.
    pub cluster_id: ClusterId,
    /// Who works on them.
    pub server_id: ServerId,
    /// Counts the leases that were granted on the cluster; no two have the same.
    pub generation: u64,
}

/// A lease that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLease {
    /// Who holds which.
    pub fence: Fence,
    /// When it ends unless it is renewed, by the catalog's clock.
    pub expires_at: DateTime<Utc>,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The lease is granted.
    Granted(Fence),
    /// Another server holds it.
    HeldBy(ServerId),
}

/// The lease on one cluster, as the catalog keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease {
    generation: u64,
    held: Option<(ServerId, DateTime<Utc>)>,
}

impl Lease {
    /// Who holds it at a moment, and until when.
    #[must_use]
    pub fn held(&self, cluster_id: ClusterId, now: DateTime<Utc>) -> Option<HeldLease> {
        let (server_id, expires_at) = self.held.filter(|(_, expires_at)| now < *expires_at)?;
        Some(HeldLease { fence: Fence { cluster_id, server_id, generation: self.generation }, expires_at })
    }

    /// Grants the lease unless another server holds it. A claim of the server that holds it begins a new generation:
    /// whatever that server did under the old one is over.
    pub fn claim(
        &mut self,
        cluster_id: ClusterId,
        server_id: ServerId,
        now: DateTime<Utc>,
        length: Duration,
    ) -> Claim {
        if let Some(held) = self.held(cluster_id, now)
            && held.fence.server_id != server_id
        {
            return Claim::HeldBy(held.fence.server_id);
        }
        self.generation += 1;
        self.held = Some((server_id, later(now, length)));
        Claim::Granted(Fence { cluster_id, server_id, generation: self.generation })
    }

    /// Prolongs a lease that has not ended. Returns whether it is held afterwards.
    pub fn renew(&mut self, fence: Fence, now: DateTime<Utc>, length: Duration) -> bool {
        let is_held = self.held(fence.cluster_id, now).is_some_and(|held| held.fence == fence);
        if is_held {
            self.held = Some((fence.server_id, later(now, length)));
        }
        is_held
    }

    /// Ends a lease before its time.
    pub fn give_back(&mut self, fence: Fence) {
        if self.admits(fence) {
            self.held = None;
        }
    }

    /// Whether something may be written under a fence. A lease that has run out and that nobody has claimed since
    /// still admits: nobody else has begun, so what its holder has done is the truth.
    #[must_use]
    pub fn admits(&self, fence: Fence) -> bool {
        self.generation == fence.generation
            && self.held.is_some_and(|(server_id, _)| server_id == fence.server_id)
    }
}

fn later(now: DateTime<Utc>, length: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(length)
        .ok()
        .and_then(|length| now.checked_add_signed(length))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How long a server may work on the strength of the catalog's last answer. Times are those of a clock that only goes
/// forward, such as the time since the server's start.
///
/// A lease is prolonged from the moment at which the catalog reads its clock. That is after the request was sent, so
/// counting from the sending is never too long, however slow the answer is and whatever the two clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    ends_at: Duration,
}

impl Tenure {
    /// The part of a lease that is left unused, so that what is being done when it ends can come to its end: one
    /// fourth.
    const UNUSED: u32 = 4;

    /// A tenure by a claim that was sent at a moment.
    #[must_use]
    pub fn new(asked_at: Duration, length: Duration) -> Self {
        Self { ends_at: asked_at.saturating_add(length.saturating_sub(length / Self::UNUSED)) }
    }

    /// Prolongs the tenure by a renewal that was sent at a moment and granted. One that has ended stays ended.
    pub fn prolong(&mut self, asked_at: Duration, length: Duration, now: Duration) {
        if self.may_work(now) {
            self.ends_at = self.ends_at.max(Self::new(asked_at, length).ends_at);
        }
    }

    /// Whether anything may be begun.
    #[must_use]
    pub fn may_work(&self, now: Duration) -> bool {
        now < self.ends_at
    }

    /// Ends it now.
    pub fn end(&mut self) {
        self.ends_at = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests;
