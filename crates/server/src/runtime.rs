//! Time and ids of a running server: the one place that asks the system for them.

use chrono::{DateTime, Utc};
use milvault_domain::ports::{Clock, IdSource};
use uuid::Uuid;

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Version 7 UUIDs: their order is the order of creation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemIds;

impl IdSource for SystemIds {
    #[allow(clippy::disallowed_methods, reason = "this is the source that everything else is handed")]
    fn new_uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
