//! What goes wrong with one collection concerns that one; what goes wrong with the target concerns all.

use super::stage::{Stage, cities, orders};
use crate::support::fakes::gates::Act;
use crate::support::{Server, bounded};
use milvault_domain::binlog::BinlogKind;
use milvault_domain::job::{Job, JobState};
use milvault_domain::ports::PortErrorKind;
use milvault_domain::restore::{CompareDepth, RestoreRequest, RestoreStep};

/// One collection is missing, for this reason, and the others are there.
fn assert_only_missing(stage: &Stage, job: &Job, position: usize, reasons: &[&str]) {
    assert_eq!(job.state, JobState::Failed);
    let restore = stage.restore_row(job.id);
    let name = restore.plan.unwrap().collections[position].target.clone();
    assert!(job.failure.as_ref().unwrap().contains(&name.collection), "{job:?}");
    for (at, state) in restore.collections.iter().enumerate() {
        let wanted = if at == position { RestoreStep::Failed } else { RestoreStep::Done };
        assert_eq!(state.step, wanted, "{at}: {state:?}");
    }
    let outcome = &restore.collections[position];
    let failure = outcome.failure.clone().unwrap();
    assert!(reasons.iter().all(|reason| failure.contains(reason)), "{failure}");
    assert_eq!(outcome.target_collection_id, None);
    let mut wanted = stage.wanted();
    wanted.remove(&format!("{}.{}", name.database, name.collection));
    assert_eq!(stage.seen(), wanted);
    stage.assert_tidy("the end");
}

async fn restored(stage: &Stage, server: &Server) -> Job {
    stage.restore(server, stage.request()).await
}

#[tokio::test]
async fn rows_that_are_lost_without_a_word_are_missed() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.target.state().rows_to_lose = 2;
        // The others wait, so that it is this collection that loses them.
        let job = stage.restore(&server, stage.only("shop", "orders")).await;
        assert_eq!(job.state, JobState::Failed);
        let outcome = stage.restore_row(job.id).collections[0].clone();
        let failure = outcome.failure.unwrap();
        assert!(failure.contains("partition `_default` has 0 rows instead of 2"), "{failure}");
        assert_eq!((outcome.partitions[0].expected, outcome.partitions[0].found), (2, 0));
        assert!(stage.target.collection_names().is_empty());
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_damaged_object_costs_its_collection_only() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let orders_id = stage.source.state().find(&orders()).unwrap().collection_id;
        // A field that only the staging reads.
        let is_meant = |key: &milvault_domain::binlog::BinlogKey| {
            (key.kind, key.collection_id, key.field_id) == (BinlogKind::Insert, orders_id, 101)
        };
        stage.world.stores.repository.damage(is_meant);
        let job = restored(&stage, &server).await;
        assert_only_missing(&stage, &job, 2, &["is damaged", "partition `_default`"]);
    })
    .await;
}

#[tokio::test]
async fn an_import_that_fails_costs_its_collection_only() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.target.state().import_failure = Some("no space in the node".to_owned());
        let job = restored(&stage, &server).await;
        let failed = stage.steps(job.id).iter().position(|step| *step == RestoreStep::Failed).unwrap();
        assert_only_missing(&stage, &job, failed, &["no space in the node", "import "]);
    })
    .await;
}

#[tokio::test]
async fn an_import_that_stands_still_is_given_up_by_name() {
    bounded(async {
        let (mut stage, server) = Stage::new().await;
        server.shutdown().await;
        stage.world.settings.import_stall_max = std::time::Duration::ZERO;
        let server = stage.world.start().await;
        let job = stage.restore(&server, stage.only("shop", "orders")).await;
        let failure = stage.restore_row(job.id).collections[0].failure.clone().unwrap();
        assert!(failure.contains("has made no progress") && failure.contains("`shop.orders`"), "{failure}");
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn differing_values_are_found_by_the_deepest_comparison() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        for (depth, state) in
            [(CompareDepth::Rows, JobState::Failed), (CompareDepth::Keys, JobState::Successful)]
        {
            let before = stage.world.gates.calls("row_counts");
            let hold = stage.world.gates.hold_once("row_counts");
            let compare = depth;
            let job_id =
                stage.begin(&server, RestoreRequest { compare, ..stage.only("shop", "orders") }).await;
            stage.world.gates.reached("row_counts", before + 1).await;
            let working = stage.restore_row(job_id).plan.unwrap().collections[0].working_name.clone();
            let name = crate::support::fakes::server::name("shop", &working);
            stage.target.damage_field(&name, 101, |values| values.reverse());
            hold.add_permits(1);
            let job = server.ended(job_id).await;
            assert_eq!(job.state, state, "{depth:?}");
            if state == JobState::Failed {
                let failure = stage.restore_row(job_id).collections[0].failure.clone().unwrap();
                assert!(failure.contains("differ"), "{failure}");
            }
        }
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn what_concerns_all_ends_the_job_without_trying_all() {
    bounded(async {
        for kind in [PortErrorKind::StorageFull, PortErrorKind::PermissionDenied, PortErrorKind::ReadOnly] {
            let (stage, server) = Stage::new().await;
            stage.world.gates.always("stage", Act::Fail(kind, "the target's storage refuses"));
            let job = restored(&stage, &server).await;
            assert_eq!(job.state, JobState::Failed);
            let failure = job.failure.unwrap();
            assert!(failure.contains("the target's storage refuses"), "{failure}");
            assert!(stage.target.collection_names().is_empty());
            assert!(!stage.steps(job.id).contains(&RestoreStep::Created));
            stage.assert_tidy("the end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_down_from_the_beginning_fails_the_job() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.world.gates.always("connect_target", Act::Fail(PortErrorKind::Unavailable, "nobody answers"));
        let job = restored(&stage, &server).await;
        assert_eq!((job.state, job.attempt), (JobState::Failed, 1));
        assert!(job.failure.unwrap().contains("nobody answers"));
    })
    .await;
}

#[tokio::test]
async fn an_outage_in_the_middle_is_waited_for() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        // More often than a step is repeated.
        for _ in 0..12 {
            stage.world.gates.once("flush", Act::Fail(PortErrorKind::Unavailable, "nobody answers"));
        }
        let job = restored(&stage, &server).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert!(job.attempt > 1, "{}", job.attempt);
        assert_eq!(stage.seen(), stage.wanted());
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn an_index_that_cannot_be_built_is_a_warning_unless_something_is_replaced() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let refused = || Act::Fail(PortErrorKind::InvalidInput, "unknown index type");
        stage.world.gates.always("create_index", refused());
        let job = restored(&stage, &server).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        let outcome = stage.restore_row(job.id).collections[0].clone();
        assert!(outcome.warnings.iter().any(|words| words.contains("unknown index type")), "{outcome:?}");
        assert_eq!(stage.target.rows(&cities()), stage.wanted()["default.cities"].rows);

        let before = stage.target.state().find(&cities()).unwrap().collection_id;
        let job = stage.restore(&server, stage.replacing()).await;
        assert_eq!(job.state, JobState::Failed);
        assert_eq!(stage.name_of(before), Some(cities()));
    })
    .await;
}
