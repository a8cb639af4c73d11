//! How many jobs of a cluster may wait. That is decided in the transaction that makes the job, under the lock on the
//! cluster's row, so that it holds for all servers together.

use crate::database::{Statement, Transaction};
use milvault_domain::ids::ClusterId;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::queue::ClusterQueue;

/// On whose behalf a job is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A person or a program of his, who can ask again later.
    Person,
    /// A timer. Its jobs wait however many there are: policies have few open jobs each.
    Timer,
}

impl Asker {
    /// Checks that one more job of a cluster may wait. The caller holds the lock on the cluster's row.
    ///
    /// # Errors
    /// `Busy` when a person's must not.
    pub(crate) async fn admit(
        self,
        transaction: &mut dyn Transaction,
        cluster_id: ClusterId,
    ) -> PortResult<()> {
        let limit = ClusterQueue::WAITING_MAX;
        if self == Self::Timer || transaction.query(select_waiting(cluster_id)).await?.len() < limit {
            return Ok(());
        }
        let message = format!("the cluster already has {limit} waiting jobs; try again when some have ended");
        Err(PortError::new(PortErrorKind::Busy, message))
    }
}

/// The jobs of a cluster that wait, no more of them than may.
pub(crate) fn select_waiting(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND state = 'PENDING' LIMIT ")
        .bind(i64::try_from(ClusterQueue::WAITING_MAX).unwrap_or(i64::MAX))
}
