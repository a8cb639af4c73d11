//! How jobs end well.

use super::Home;
use super::samples::{World, at, cut, facts, manual_backup, progress, uuid};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::JobState;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{NewBackup, PortErrorKind, PortResult, VerifyFailure, VerifyReport};
use std::sync::Arc;

super::cases![
    a_completed_backup_is_available_with_its_contents,
    completing_again_changes_nothing,
    a_request_to_cancel_that_comes_too_late_changes_nothing,
    an_ended_or_waiting_job_completes_nothing,
    completion_and_cancel_do_not_pass_each_other,
    a_verify_without_failure_is_successful,
    a_verify_with_failures_fails_and_keeps_its_report,
    an_ended_verify_keeps_its_end,
];

async fn complete(world: &World, new: &NewBackup, seconds: i64) -> PortResult<()> {
    let (job_id, backup_id) = (new.job.id, new.backup.id);
    let completed = world
        .catalog
        .complete_backup(job_id, backup_id, &facts(), &cut(), progress(1_000), at(seconds))
        .await;
    completed.map(|(backup, job)| assert_eq!((backup.id, job.id), (backup_id, job_id)))
}

async fn a_completed_backup_is_available_with_its_contents(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    world.start(new.job.id).await;
    complete(&world, &new, 5).await.unwrap();

    let backup = world.backup(new.backup.id).await;
    assert_eq!((backup.status, backup.completed_at), (BackupStatus::Available, Some(at(5))));
    assert_eq!(backup.facts, Some(facts()));
    let job = world.job(new.job.id).await;
    assert_eq!((job.state, job.ended_at, job.progress), (JobState::Successful, Some(at(5)), progress(1_000)));
    let contents = world.catalog.backup_contents(new.backup.id).await.unwrap().unwrap();
    assert_eq!(contents, without_schema_proto(cut()));
    let events = world.catalog.job_events(new.job.id).await.unwrap();
    assert_eq!(events.last().map(|event| event.state), Some(JobState::Successful));
}

fn without_schema_proto(mut cut: Cut) -> Cut {
    for collection in cut.databases.iter_mut().flat_map(|database| &mut database.collections) {
        assert!(!collection.schema_proto.is_empty());
        collection.schema_proto.clear();
    }
    cut
}

async fn completing_again_changes_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let before = (world.backup(new.backup.id).await, world.job(new.job.id).await);
    let mut other_facts = facts();
    other_facts.row_count += 1;
    let again = world
        .catalog
        .complete_backup(new.job.id, new.backup.id, &other_facts, &cut(), progress(3), at(9))
        .await
        .unwrap();
    assert_eq!(again, before);
    assert_eq!((world.backup(new.backup.id).await, world.job(new.job.id).await), before);
    assert_eq!(world.catalog.job_events(new.job.id).await.unwrap().len(), 3);
}

async fn a_request_to_cancel_that_comes_too_late_changes_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    world.start(new.job.id).await;
    world.catalog.transition_job(new.job.id, JobState::Canceling, None, at(4)).await.unwrap();
    complete(&world, &new, 5).await.unwrap();
    assert_eq!(world.backup(new.backup.id).await.status, BackupStatus::Available);
}

async fn an_ended_or_waiting_job_completes_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    assert_eq!(complete(&world, &new, 5).await.unwrap_err().kind(), PortErrorKind::Conflict);
    world.catalog.transition_job(new.job.id, JobState::Canceled, None, at(4)).await.unwrap();
    assert_eq!(complete(&world, &new, 5).await.unwrap_err().kind(), PortErrorKind::Conflict);
    assert_eq!(world.backup(new.backup.id).await.status, BackupStatus::Failed);
    assert_eq!(world.catalog.backup_contents(new.backup.id).await.unwrap(), None);

    let mut stranger = manual_backup(&world.cluster);
    world.add(&stranger).await;
    world.start(stranger.job.id).await;
    stranger.backup.id = BackupId::from_uuid(uuid());
    assert_eq!(complete(&world, &stranger, 5).await.unwrap_err().kind(), PortErrorKind::Conflict);
    stranger.job.id = JobId::from_uuid(uuid());
    assert_eq!(complete(&world, &stranger, 5).await.unwrap_err().kind(), PortErrorKind::NotFound);
}

async fn completion_and_cancel_do_not_pass_each_other(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for _ in 0..12 {
        let new = manual_backup(&world.cluster);
        world.add(&new).await;
        world.start(new.job.id).await;
        let (completed, canceled) = tokio::join!(
            complete(&world, &new, 5),
            world.catalog.transition_job(new.job.id, JobState::Canceled, None, at(5))
        );
        let state = (world.job(new.job.id).await.state, world.backup(new.backup.id).await.status);
        match (completed.is_ok(), canceled.is_ok()) {
            (true, false) => assert_eq!(state, (JobState::Successful, BackupStatus::Available)),
            (false, true) => assert_eq!(state, (JobState::Canceled, BackupStatus::Failed)),
            outcome => panic!("both or none: {outcome:?}"),
        }
    }
}

async fn a_verify_without_failure_is_successful(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let verify = world.add_verify(new.backup.id).await;
    assert_eq!(world.job(verify.id).await, verify);
    assert_eq!(world.catalog.verify_report(verify.id).await.unwrap(), None);
    world.start(verify.id).await;
    let report = VerifyReport {
        objects_checked: 10,
        bytes_read: 1_000,
        hashes_recorded: 2,
        ..VerifyReport::default()
    };
    let job = world.catalog.complete_verify(verify.id, &report, progress(1_000), at(6)).await.unwrap();
    assert_eq!((job.state, job.ended_at, job.failure.as_ref()), (JobState::Successful, Some(at(6)), None));
    assert_eq!(job.progress, progress(1_000));
    assert_eq!(world.job(verify.id).await, job);
    assert_eq!(world.catalog.verify_report(verify.id).await.unwrap(), Some(report));
}

async fn a_verify_with_failures_fails_and_keeps_its_report(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let verify = world.add_verify(new.backup.id).await;
    world.start(verify.id).await;
    let failure = |number| VerifyFailure {
        file: format!("packs/00/{number}"),
        key: Some(format!("insert_log/{number}")),
        reason: String::from("its hash differs"),
    };
    let report = VerifyReport {
        failures: (0..150).map(failure).collect(),
        failure_count: 2_000,
        ..VerifyReport::default()
    };
    let job = world.catalog.complete_verify(verify.id, &report, progress(1), at(6)).await.unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(
        job.failure.as_deref(),
        Some("2000 failures; first: packs/00/0 (object insert_log/0): its hash differs")
    );
    let kept = world.catalog.verify_report(verify.id).await.unwrap().unwrap();
    assert_eq!(
        (kept.failure_count, kept.failures),
        (2_000, report.failures[..VerifyReport::FAILURES_MAX].to_vec())
    );

    let again = world.catalog.complete_verify(verify.id, &VerifyReport::default(), progress(2), at(7)).await;
    assert_eq!(again.unwrap(), job);
    assert_eq!(world.catalog.verify_report(verify.id).await.unwrap().unwrap().failure_count, 2_000);
}

async fn an_ended_verify_keeps_its_end(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let verify = world.add_verify(new.backup.id).await;
    let report = VerifyReport::default();
    let complete = |job_id| world.catalog.complete_verify(job_id, &report, progress(1), at(6));
    assert_eq!(complete(verify.id).await.unwrap_err().kind(), PortErrorKind::Conflict);
    for end in [JobState::Canceled, JobState::Failed] {
        let verify = world.add_verify(new.backup.id).await;
        world.start(verify.id).await;
        world.catalog.transition_job(verify.id, end, Some("stopped"), at(5)).await.unwrap();
        assert_eq!(complete(verify.id).await.unwrap_err().kind(), PortErrorKind::Conflict);
        assert_eq!(world.job(verify.id).await.state, end);
        assert_eq!(world.catalog.verify_report(verify.id).await.unwrap(), None);
    }
    assert_eq!(complete(new.job.id).await.unwrap_err().kind(), PortErrorKind::Conflict);
    assert_eq!(complete(JobId::from_uuid(uuid())).await.unwrap_err().kind(), PortErrorKind::NotFound);
}
