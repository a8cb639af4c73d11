//! The leases that this server holds, as far as work on jobs asks about them. Claiming and keeping them is done in
//! [`crate::takeover`]; the rules are in [`milvault_domain::lease`].

use crate::core::lock;
use milvault_domain::lease::{Fence, Tenure};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The lease on one cluster, from its claim to its end. A new claim makes a new one.
#[derive(Debug)]
pub(crate) struct ClusterLease {
    pub(crate) fence: Fence,
    origin: Instant,
    length: Duration,
    tenure: Mutex<Tenure>,
}

impl ClusterLease {
    /// A lease that was granted to a claim that was sent at a moment.
    pub(crate) fn new(fence: Fence, asked_at: Instant, length: Duration) -> Self {
        let tenure = Mutex::new(Tenure::new(Duration::ZERO, length));
        Self { fence, origin: asked_at, length, tenure }
    }

    /// Counts a renewal that was granted.
    pub(crate) fn prolong(&self, asked_at: Instant) {
        let asked_at = asked_at.saturating_duration_since(self.origin);
        lock(&self.tenure).prolong(asked_at, self.length, self.origin.elapsed());
    }

    /// Nothing is begun any more.
    pub(crate) fn end(&self) {
        lock(&self.tenure).end();
    }

    /// Whether anything may be begun.
    pub(crate) fn may_work(&self) -> bool {
        lock(&self.tenure).may_work(self.origin.elapsed())
    }

    /// To be asked right before a step that cannot be taken back and that the catalog does not see.
    ///
    /// # Errors
    /// `Canceled` when the lease is over: another server may be at work.
    pub(crate) fn check(&self) -> PortResult<()> {
        if self.may_work() {
            return Ok(());
        }
        let message = format!("the lease on cluster {} is over; nothing more is done", self.fence.cluster_id);
        Err(PortError::new(PortErrorKind::Canceled, message))
    }
}

/// How well this server keeps its leases.
#[derive(Debug)]
pub(crate) struct LeaseHealth {
    /// When the request was sent that the catalog answered last.
    heard_at: Mutex<Instant>,
    patience: Duration,
}

impl LeaseHealth {
    pub(crate) fn new(length: Duration) -> Self {
        Self { heard_at: Mutex::new(Instant::now()), patience: length.saturating_sub(length / 4) }
    }

    pub(crate) fn heard(&self, asked_at: Instant) {
        *lock(&self.heard_at) = asked_at;
    }

    /// Whether a lease that this server holds would still be good.
    pub(crate) fn is_good(&self) -> bool {
        lock(&self.heard_at).elapsed() < self.patience
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::ids::{ClusterId, ServerId};
    use uuid::Uuid;

    const LENGTH: Duration = Duration::from_secs(20);

    fn lease() -> ClusterLease {
        let fence = Fence {
            cluster_id: ClusterId::from_uuid(Uuid::nil()),
            server_id: ServerId::from_uuid(Uuid::nil()),
            generation: 1,
        };
        ClusterLease::new(fence, Instant::now(), LENGTH)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_ends_before_its_time() {
        let lease = lease();
        tokio::time::advance(Duration::from_secs(14)).await;
        lease.check().unwrap();
        let asked_at = Instant::now();
        lease.prolong(asked_at);
        tokio::time::advance(Duration::from_secs(14)).await;
        lease.check().unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lease.check().unwrap_err().kind(), PortErrorKind::Canceled);
        // The answer to a renewal comes when it is over.
        lease.prolong(Instant::now());
        assert!(!lease.may_work());
    }

    #[tokio::test(start_paused = true)]
    async fn health_is_lost_when_the_catalog_is_silent_and_comes_back_with_it() {
        let health = LeaseHealth::new(LENGTH);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!health.is_good());
        health.heard(Instant::now());
        assert!(health.is_good());
    }
}
