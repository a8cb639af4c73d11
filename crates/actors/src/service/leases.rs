//! What callers may know about this server among others.

use super::Service;
use milvault_domain::ids::ServerId;

impl Service {
    /// This server, as others see it.
    #[must_use]
    pub fn server_id(&self) -> ServerId {
        self.host().server.id
    }

    /// Whether the catalog has answered this server's renewals of leases lately. Where it has not, jobs are parked, and
    /// none is taken up.
    #[must_use]
    pub fn keeps_leases(&self) -> bool {
        self.host().lease_health.is_good()
    }
}
