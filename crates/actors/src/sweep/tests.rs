//! Removals that another server's work must not suffer from.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::{Deps, Settings};
use crate::fakes::binlogs::FakeBinlogs;
use crate::fakes::catalog::MemoryCatalog;
use crate::fakes::gates::{Act, Gates};
use crate::fakes::milvus::{FakeMilvus, cut};
use crate::fakes::repository::FakeRepository;
use crate::fakes::stores::FakeStores;
use crate::fakes::webhooks::FakeSender;
use crate::fakes::{FakeClock, FakeIds};
use crate::leases::ClusterLease;
use milvault_domain::ids::ServerId;
use milvault_domain::lease::Fence;
use milvault_domain::object::ObjectId;
use milvault_domain::sweep::DataFile;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

/// What work under a lease that was granted just now sees.
fn core_under_lease(gates: &Arc<Gates>, settings: Settings) -> Core {
    let deps = Deps {
        catalog: Arc::new(MemoryCatalog::new(Arc::clone(gates))),
        stores: Arc::new(FakeStores::default()),
        milvus: Arc::new(FakeMilvus::new(cut(vec![]), Arc::clone(gates))),
        binlogs: Arc::new(FakeBinlogs::default()),
        clock: Arc::new(FakeClock::new()),
        ids: Arc::new(FakeIds::default()),
        webhooks: Arc::new(FakeSender::default()),
    };
    let fence = Fence {
        cluster_id: ClusterId::from_uuid(Uuid::nil()),
        server_id: ServerId::from_uuid(Uuid::nil()),
        generation: 1,
    };
    let lease = Arc::new(ClusterLease::new(fence, Instant::now(), settings.lease_length));
    Core::new(deps, settings, Handle::current()).under(&lease)
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_not_tried_again_when_the_lease_is_over() {
    for (pause_secs, ends_as, attempts) in [(1, None, 2), (30, Some(PortErrorKind::Canceled), 1)] {
        let gates = Arc::new(Gates::default());
        let settings = Settings { step_retry_delay: Duration::from_secs(pause_secs), ..Settings::default() };
        let core = core_under_lease(&gates, settings);
        let id = RepositoryId::from_uuid(Uuid::nil());
        let repository = FakeRepository { id, gates: Arc::clone(&gates), state: Arc::default() };
        gates.once("remove_file", Act::Fail(PortErrorKind::Unavailable, "away"));
        let file = ListedFile {
            file: DataFile::Object(ObjectId::from_hex(&"0".repeat(32)).unwrap()),
            size_bytes: 1,
        };
        let removed = remove_files(&core, &repository, vec![file], |_| {}).await;
        assert_eq!(
            (removed.err().map(|error| error.kind()), gates.calls("remove_file")),
            (ends_as, attempts)
        );
    }
}
