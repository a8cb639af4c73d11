//! The outside world in memory: every port with programmable failures and delays. Knows nothing of the crate under
//! test, so that its unit tests can use it too.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fakes/audit.rs"]
pub mod audit;
#[path = "fakes/batches.rs"]
pub mod batches;
#[path = "fakes/binlogs.rs"]
pub mod binlogs;
#[path = "fakes/catalog.rs"]
pub mod catalog;
#[path = "fakes/checks.rs"]
pub mod checks;
#[path = "fakes/copies.rs"]
pub mod copies;
#[path = "fakes/disks.rs"]
pub mod disks;
#[path = "fakes/gates.rs"]
pub mod gates;
#[path = "fakes/identity.rs"]
pub mod identity;
#[path = "fakes/keyed.rs"]
pub mod keyed;
#[path = "fakes/leases.rs"]
pub mod leases;
#[path = "fakes/lifecycle.rs"]
pub mod lifecycle;
#[path = "fakes/milvus.rs"]
pub mod milvus;
#[path = "fakes/policies.rs"]
pub mod policies;
#[path = "fakes/recovery.rs"]
pub mod recovery;
#[path = "fakes/repository.rs"]
pub mod repository;
#[path = "fakes/schedules.rs"]
pub mod schedules;
#[path = "fakes/server.rs"]
pub mod server;
#[path = "fakes/sign_in.rs"]
pub mod sign_in;
#[path = "fakes/stager.rs"]
pub mod stager;
#[path = "fakes/stores.rs"]
pub mod stores;
#[path = "fakes/tables.rs"]
pub mod tables;
#[path = "fakes/target.rs"]
pub mod target;
#[path = "fakes/webhooks.rs"]
pub mod webhooks;

use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::ports::{Clock, IdSource};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A clock that only tests move.
pub struct FakeClock(Mutex<DateTime<Utc>>);

impl FakeClock {
    pub fn new() -> Self {
        Self(Mutex::new(DateTime::from_timestamp(1_790_000_000, 0).unwrap()))
    }

    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// Ids that count.
#[derive(Default)]
pub struct FakeIds(AtomicU64);

impl IdSource for FakeIds {
    fn new_uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 0x1000)
    }
}
