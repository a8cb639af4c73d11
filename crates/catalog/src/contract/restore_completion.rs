//! How restores, drills and undos end.

use super::Home;
use super::restore_samples::{new_drill, new_restore, new_undo, plan, waiting};
use super::samples::{World, at, progress, uuid};
use milvault_domain::backup::CollectionName;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState};
use milvault_domain::ports::{PortErrorKind, PortResult};
use milvault_domain::restore::{CompareReport, ComparedCollection, RestoreAction, RestoreStep};
use std::sync::Arc;

super::cases![
    a_restore_whose_collections_are_there_is_successful,
    a_restore_with_failed_collections_fails_and_names_the_first,
    a_restore_that_was_left_half_way_is_not_successful,
    completing_a_restore_again_changes_nothing,
    a_restore_that_ended_otherwise_keeps_its_end,
    only_restores_with_a_plan_are_completed,
    a_request_to_cancel_a_restore_can_come_too_late,
    completion_and_cancel_of_a_restore_do_not_pass_each_other,
    a_drill_ends_by_what_it_found,
    an_undo_ends_by_what_is_left,
    an_undo_of_nothing_is_successful,
    warnings_are_bounded,
];

async fn complete(world: &World, job_id: JobId, warnings: &[&str]) -> PortResult<Job> {
    let warnings: Vec<_> = warnings.iter().map(|warning| (*warning).to_owned()).collect();
    world.catalog.complete_restore(job_id, &warnings, progress(1_000), at(6)).await
}

async fn a_restore_whose_collections_are_there_is_successful(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(2).await;
    world.set_step(job_id, 0, RestoreStep::Done).await;
    world.set_step(job_id, 1, RestoreStep::Skipped).await;
    let job = complete(&world, job_id, &["user \0 was not made"]).await.unwrap();
    assert_eq!((job.state, job.ended_at, job.failure.as_ref()), (JobState::Successful, Some(at(6)), None));
    assert_eq!(job.progress, progress(1_000));
    assert_eq!(world.job(job_id).await, job);
    let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
    assert_eq!(restore.warnings, ["user \u{fffd} was not made"]);
    let events = world.catalog.job_events(job_id).await.unwrap();
    assert_eq!(events.last().map(|event| event.state), Some(JobState::Successful));
}

async fn a_restore_with_failed_collections_fails_and_names_the_first(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(4).await;
    for (position, step) in
        [(0, RestoreStep::Done), (1, RestoreStep::Skipped), (2, RestoreStep::Failed), (3, RestoreStep::Done)]
    {
        world.set_step(job_id, position, step).await;
    }
    let job = complete(&world, job_id, &[]).await.unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(
        job.failure.as_deref(),
        Some("1 of 4 collections was not restored; first: default.target_2: 9 of 10 rows were found")
    );
    let events = world.catalog.job_events(job_id).await.unwrap();
    assert_eq!(events.last().map(|event| event.reason.clone()), Some(job.failure));

    let job_id = world.start_restore(3).await;
    for (position, step) in [(0, RestoreStep::Done), (1, RestoreStep::Failed), (2, RestoreStep::Failed)] {
        world.set_step(job_id, position, step).await;
    }
    let failure = complete(&world, job_id, &[]).await.unwrap().failure.unwrap();
    assert!(
        failure.starts_with("2 of 3 collections were not restored; first: default.target_1:"),
        "{failure}"
    );
}

async fn a_restore_that_was_left_half_way_is_not_successful(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for step in [RestoreStep::Waiting, RestoreStep::Created, RestoreStep::Compared] {
        let job_id = world.start_restore(2).await;
        world.set_step(job_id, 0, RestoreStep::Done).await;
        world.set_step(job_id, 1, step).await;
        let job = complete(&world, job_id, &[]).await.unwrap();
        let failure = job.failure.unwrap_or_default();
        assert_eq!(job.state, JobState::Failed, "{step:?}");
        assert!(
            failure.starts_with("1 of 2 collections was not restored; first: default.target_1:"),
            "{failure}"
        );
    }
    // One that is skipped has nothing to wait for.
    let backup = world.add_restorable().await;
    let job_id = world.request(&new_restore(&world.cluster, &backup)).await;
    world.start(job_id).await;
    let mut plan = plan(1);
    plan.collections[0].action = RestoreAction::Skip;
    world.catalog.save_restore_plan(job_id, &plan, &waiting(1)).await.unwrap();
    assert_eq!(complete(&world, job_id, &[]).await.unwrap().state, JobState::Successful);
}

async fn completing_a_restore_again_changes_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for (step, end) in [(RestoreStep::Done, JobState::Successful), (RestoreStep::Failed, JobState::Failed)] {
        let job_id = world.start_restore(1).await;
        world.set_step(job_id, 0, step).await;
        let job = complete(&world, job_id, &["first"]).await.unwrap();
        assert_eq!(job.state, end);
        let events = world.catalog.job_events(job_id).await.unwrap();
        world.set_step(job_id, 0, RestoreStep::Undone).await;
        let again = world.catalog.complete_restore(job_id, &[], progress(1), at(9)).await.unwrap();
        assert_eq!(again, job);
        assert_eq!(world.job(job_id).await, job);
        assert_eq!(world.catalog.job_events(job_id).await.unwrap(), events);
        assert_eq!(world.catalog.restore(job_id).await.unwrap().unwrap().warnings, ["first"]);
    }
}

async fn a_restore_that_ended_otherwise_keeps_its_end(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for end in [JobState::Canceled, JobState::Failed] {
        for step in [RestoreStep::Done, RestoreStep::Failed] {
            let job_id = world.start_restore(1).await;
            world.set_step(job_id, 0, step).await;
            world.catalog.transition_job(job_id, end, Some("stopped"), at(5)).await.unwrap();
            let before = world.job(job_id).await;
            assert_eq!(complete(&world, job_id, &["w"]).await.unwrap_err().kind(), PortErrorKind::Conflict);
            assert_eq!(world.job(job_id).await, before);
            assert!(world.catalog.restore(job_id).await.unwrap().unwrap().warnings.is_empty());
        }
    }
    // One that waits to be taken up again has not ended, but is not at work either.
    for step in [RestoreStep::Done, RestoreStep::Failed] {
        let job_id = world.start_restore(1).await;
        world.set_step(job_id, 0, step).await;
        world.catalog.transition_job(job_id, JobState::Pending, None, at(5)).await.unwrap();
        assert_eq!(complete(&world, job_id, &[]).await.unwrap_err().kind(), PortErrorKind::Conflict);
        world.start(job_id).await;
        complete(&world, job_id, &[]).await.unwrap();
    }
}

async fn only_restores_with_a_plan_are_completed(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    for new in [new_restore(&world.cluster, &backup), new_drill(&world.cluster, &backup)] {
        let job_id = world.request(&new).await;
        world.start(job_id).await;
        assert_eq!(complete(&world, job_id, &[]).await.unwrap_err().kind(), PortErrorKind::NotFound);
        assert_eq!(world.job(job_id).await.state, JobState::InProgress);
    }
    let verify = world.add_verify(backup.id).await.id;
    world.start(verify).await;
    assert_eq!(complete(&world, verify, &[]).await.unwrap_err().kind(), PortErrorKind::Conflict);
    let unknown = JobId::from_uuid(uuid());
    assert_eq!(complete(&world, unknown, &[]).await.unwrap_err().kind(), PortErrorKind::NotFound);
}

async fn a_request_to_cancel_a_restore_can_come_too_late(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(1).await;
    world.set_step(job_id, 0, RestoreStep::Done).await;
    world.catalog.transition_job(job_id, JobState::Canceling, None, at(4)).await.unwrap();
    assert_eq!(complete(&world, job_id, &[]).await.unwrap().state, JobState::Successful);
}

async fn completion_and_cancel_of_a_restore_do_not_pass_each_other(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for _ in 0..12 {
        let job_id = world.start_restore(1).await;
        world.set_step(job_id, 0, RestoreStep::Done).await;
        let (completed, canceled) = tokio::join!(
            complete(&world, job_id, &[]),
            world.catalog.transition_job(job_id, JobState::Canceled, None, at(5))
        );
        let state = world.job(job_id).await.state;
        match (completed.is_ok(), canceled.is_ok()) {
            (true, false) => assert_eq!(state, JobState::Successful),
            (false, true) => assert_eq!(state, JobState::Canceled),
            outcome => panic!("both or none: {outcome:?}"),
        }
    }
}

async fn a_drill_ends_by_what_it_found(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let name = |collection: &str| CollectionName {
        database: String::from("milvault_drill_1"),
        collection: collection.to_owned(),
    };
    let report = |differences: Vec<String>| CompareReport {
        collections: vec![ComparedCollection {
            source: name("books"),
            target: name("books"),
            partitions: vec![],
            rows_compared_whole: 10,
            differences,
        }],
    };
    let differs = report(vec![String::from("key 7 is missing")]);
    for (step, report, end, words) in [
        (RestoreStep::Undone, Some(report(vec![])), JobState::Successful, ""),
        (RestoreStep::Compared, None, JobState::Successful, ""),
        (RestoreStep::Failed, None, JobState::Failed, "1 of 1 collections was not restored"),
        (
            RestoreStep::Undone,
            Some(differs),
            JobState::Failed,
            "1 of 1 collections differs from the backup; first: milvault_drill_1.books: key 7 is missing",
        ),
    ] {
        let job_id = world.request(&new_drill(&world.cluster, &backup)).await;
        world.start(job_id).await;
        world.catalog.save_restore_plan(job_id, &plan(1), &waiting(1)).await.unwrap();
        world.set_step(job_id, 0, step).await;
        if let Some(report) = report {
            world.catalog.save_compare_report(job_id, &report).await.unwrap();
        }
        let job = complete(&world, job_id, &[]).await.unwrap();
        assert_eq!(job.state, end);
        assert!(job.failure.unwrap_or_default().starts_with(words), "{words}");
    }
}

async fn an_undo_ends_by_what_is_left(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for (step, good) in [
        (RestoreStep::Undone, true),
        (RestoreStep::Failed, true),
        (RestoreStep::Skipped, true),
        (RestoreStep::Waiting, true),
        (RestoreStep::Created, false),
        (RestoreStep::Compared, false),
        (RestoreStep::Done, false),
    ] {
        let restore = world.start_restore(2).await;
        world.set_step(restore, 0, RestoreStep::Done).await;
        world.set_step(restore, 1, step).await;
        world.catalog.transition_job(restore, JobState::Failed, None, at(3)).await.unwrap();
        let undo = world.request(&new_undo(&world.cluster, restore)).await;
        world.start(undo).await;
        world.set_step(restore, 0, RestoreStep::Undone).await;
        let job = complete(&world, undo, &["alias is gone"]).await.unwrap();
        assert_eq!(job.state, if good { JobState::Successful } else { JobState::Failed }, "{step:?}");
        let reason = world.catalog.job_events(undo).await.unwrap().pop().unwrap().reason.unwrap();
        assert!(reason.ends_with("alias is gone"), "{reason}");
        let words = "1 of 2 collections was not removed; first: default.target_1:";
        assert_eq!(job.failure.unwrap_or_default().starts_with(words), !good, "{step:?}");

        world.set_step(restore, 1, RestoreStep::Undone).await;
        let again = complete(&world, undo, &[]).await.unwrap();
        assert_eq!(again, world.job(undo).await);
        assert_eq!(again.state, job.state);
    }
}

async fn an_undo_of_nothing_is_successful(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let restore = world.add_ended_restore().await;
    let undo = world.request(&new_undo(&world.cluster, restore)).await;
    assert_eq!(complete(&world, undo, &[]).await.unwrap_err().kind(), PortErrorKind::Conflict);
    world.start(undo).await;
    let job = complete(&world, undo, &[]).await.unwrap();
    assert_eq!((job.state, job.failure), (JobState::Successful, None));
    assert_eq!(world.catalog.job_events(undo).await.unwrap().pop().unwrap().reason, None);
}

async fn warnings_are_bounded(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(0).await;
    let warnings = vec!["ü".repeat(2_000); 1_000];
    world.catalog.complete_restore(job_id, &warnings, progress(1), at(6)).await.unwrap();
    let kept = world.catalog.restore(job_id).await.unwrap().unwrap().warnings;
    assert_eq!((kept.len(), &kept[0]), (101, &"ü".repeat(1_024)));
    assert_eq!(kept[100], "and 900 more that were not kept");
}
