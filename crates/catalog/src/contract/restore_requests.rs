//! Requests for jobs that need more than their own row: restores and what belongs to them, and adoptions.

use super::Home;
use super::restore_samples::{adoption, new_compare, new_drill, new_restore, new_undo, plan, waiting};
use super::samples::{World, at, cut, facts, manual_backup, progress, sealer, uuid, verify_job, yield_times};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{Idempotency, InsertJobOutcome, InsertOutcome, NewJob, PortErrorKind};
use std::sync::Arc;

super::cases![
    requests_and_their_jobs_read_back,
    a_repeated_request_gives_the_same_restore,
    a_key_belongs_to_one_kind_of_request,
    racing_repetitions_make_one_restore,
    a_restore_needs_a_target_in_service,
    requests_that_do_not_fit_their_job_are_refused,
    undo_compare_and_resume_need_an_ended_restore,
    an_adoption_is_no_manual_backup,
    an_adoption_ends_as_a_backup_does,
    requests_are_for_jobs_that_need_them,
    such_jobs_are_successful_only_with_their_result,
    a_dropped_request_leaves_all_or_nothing,
    what_requests_hold_cannot_be_read_in_the_database,
    the_next_run_sees_requests_and_plans,
];

fn with_key(mut new: NewJob, key: &str, request: u8) -> NewJob {
    new.idempotency = Some(Idempotency { key: key.to_owned(), request_hash: [request; 32] });
    new
}

async fn requests_and_their_jobs_read_back(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let restored = world.add_ended_restore().await;
    for new in [
        new_restore(&world.cluster, &backup),
        new_drill(&world.cluster, &backup),
        new_undo(&world.cluster, restored),
        new_compare(&world.cluster, restored),
    ] {
        world.request(&new).await;
        assert_eq!(world.job(new.job.id).await, new.job);
        assert_eq!(world.catalog.job_request(new.job.id).await.unwrap(), Some(new.request));
        assert_eq!(world.catalog.job_events(new.job.id).await.unwrap().len(), 1);
    }
    let verify = world.add_verify(backup.id).await;
    assert_eq!(world.catalog.job_request(verify.id).await.unwrap(), None);
    assert_eq!(world.catalog.job_request(JobId::from_uuid(uuid())).await.unwrap(), None);
}

async fn a_repeated_request_gives_the_same_restore(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let first = with_key(new_restore(&world.cluster, &backup), "move", 1);
    world.request(&first).await;
    let again = with_key(new_restore(&world.cluster, &backup), "move", 1);
    let outcome = world.catalog.insert_requested_job(&again).await.unwrap();
    assert_eq!(outcome, InsertJobOutcome::Duplicate(Box::new(first.job.clone())));
    assert_eq!(world.catalog.job(again.job.id).await.unwrap(), None);
    assert_eq!(world.catalog.job_request(again.job.id).await.unwrap(), None);

    let other = with_key(new_restore(&world.cluster, &backup), "move", 2);
    let outcome = world.catalog.insert_requested_job(&other).await.unwrap();
    assert_eq!(outcome, InsertJobOutcome::KeyReused(first.job.id));
    let neighbour = world.add_cluster("neighbour").await;
    world.request(&with_key(new_restore(&neighbour, &backup), "move", 2)).await;
    // Without a key nothing is a repetition.
    world.request(&new_restore(&world.cluster, &backup)).await;
}

async fn a_key_belongs_to_one_kind_of_request(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let restore = with_key(new_restore(&world.cluster, &backup), "restored", 1);
    world.request(&restore).await;
    let drill = with_key(new_drill(&world.cluster, &backup), "restored", 1);
    let outcome = world.catalog.insert_requested_job(&drill).await.unwrap();
    assert_eq!(outcome, InsertJobOutcome::KeyReused(restore.job.id));

    let mut made = manual_backup(&world.cluster);
    made.idempotency.clone_from(&restore.idempotency);
    let outcome = world.catalog.insert_backup(&made).await.unwrap();
    assert_eq!(outcome, InsertOutcome::KeyReused(restore.job.id));
    made.idempotency = Some(Idempotency { key: String::from("made"), request_hash: [1; 32] });
    world.add(&made).await;
    let outcome =
        world.catalog.insert_requested_job(&with_key(new_restore(&world.cluster, &backup), "made", 1)).await;
    assert_eq!(outcome.unwrap(), InsertJobOutcome::KeyReused(made.job.id));
}

async fn racing_repetitions_make_one_restore(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let requests: Vec<_> = (0..16)
        .map(|_| {
            let catalog = Arc::clone(&world.catalog);
            let new = with_key(new_restore(&world.cluster, &backup), "key", 1);
            tokio::spawn(async move { (new.job.id, catalog.insert_requested_job(&new).await.unwrap()) })
        })
        .collect();
    let (mut created, mut known) = (Vec::new(), Vec::new());
    for request in requests {
        match request.await.unwrap() {
            (job_id, InsertJobOutcome::Created) => created.push(job_id),
            (_, InsertJobOutcome::Duplicate(earlier)) => known.push(earlier.id),
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!((created.len(), known.len()), (1, 15));
    assert!(known.iter().all(|job_id| *job_id == created[0]));
}

async fn a_restore_needs_a_target_in_service(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let mut removed = world.add_cluster("removed").await;
    let earlier = world.request(&new_restore(&removed, &backup)).await;
    world.catalog.transition_job(earlier, JobState::Canceled, None, at(2)).await.unwrap();
    world.catalog.remove_cluster(removed.id, at(3)).await.unwrap();
    for new in [new_restore(&removed, &backup), new_drill(&removed, &backup)] {
        let error = world.catalog.insert_requested_job(&new).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
        assert_eq!(world.catalog.job(new.job.id).await.unwrap(), None);
    }
    // What is left of an earlier restore may still be asked for.
    world.request(&new_undo(&removed, earlier)).await;
    world.request(&new_compare(&removed, earlier)).await;

    removed.id = ClusterId::from_uuid(uuid());
    let mut unknown_backup = backup.clone();
    unknown_backup.id = BackupId::from_uuid(uuid());
    for new in [
        new_restore(&removed, &backup),
        new_undo(&removed, earlier),
        new_restore(&world.cluster, &unknown_backup),
    ] {
        let error = world.catalog.insert_requested_job(&new).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
        assert_eq!(world.catalog.job_request(new.job.id).await.unwrap(), None);
    }
}

async fn requests_that_do_not_fit_their_job_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let neighbour = world.add_cluster("neighbour").await;
    let good = || new_restore(&world.cluster, &backup);
    let mut started = good();
    started.job.state = JobState::InProgress;
    let mut other_kind = good();
    other_kind.job.job_type = JobType::Drill;
    let mut verify = good();
    verify.job.job_type = JobType::Verify;
    let mut other_target = good();
    other_target.job.cluster_id = neighbour.id;
    let mut other_backup = good();
    other_backup.job.backup_id = None;
    let mut makes_backup = good();
    makes_backup.job.job_type = JobType::Adopt;
    makes_backup.request = adoption(&world.cluster).request.unwrap();
    let no_key = with_key(good(), "", 1);
    let long_key = with_key(good(), &"k".repeat(257), 1);
    for new in [started, other_kind, verify, other_target, other_backup, makes_backup, no_key, long_key] {
        let error = world.catalog.insert_requested_job(&new).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
        assert_eq!(world.catalog.job(new.job.id).await.unwrap(), None);
    }
    let error = world.catalog.insert_job(&good().job).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "a restore without a request: {error}");
}

async fn undo_compare_and_resume_need_an_ended_restore(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let neighbour = world.add_cluster("neighbour").await;
    let resume = |restore_job_id| {
        let mut new = new_restore(&world.cluster, &backup);
        let JobRequest::Restore(request) = &mut new.request else { panic!("it is a restore") };
        request.continues = Some(restore_job_id);
        new
    };
    let all = |restore_job_id| {
        let cluster = &world.cluster;
        [new_undo(cluster, restore_job_id), new_compare(cluster, restore_job_id), resume(restore_job_id)]
    };
    let restore = world.request(&new_restore(&world.cluster, &backup)).await;
    let elsewhere = world.request(&new_restore(&neighbour, &backup)).await;
    world.catalog.transition_job(elsewhere, JobState::Canceled, None, at(2)).await.unwrap();
    let verify = world.add_verify(backup.id).await.id;
    for (job_id, kind) in [
        (restore, PortErrorKind::Conflict),
        (elsewhere, PortErrorKind::NotFound),
        (verify, PortErrorKind::NotFound),
        (JobId::from_uuid(uuid()), PortErrorKind::NotFound),
    ] {
        for new in all(job_id) {
            let error = world.catalog.insert_requested_job(&new).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
    world.start(restore).await;
    world.catalog.transition_job(restore, JobState::Failed, Some("no space left"), at(2)).await.unwrap();
    for new in all(restore) {
        world.request(&new).await;
    }
}

async fn an_adoption_is_no_manual_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = adoption(&world.cluster);
    world.add(&first).await;
    assert_eq!(world.job(first.job.id).await, first.job);
    assert_eq!(world.backup(first.backup.id).await, first.backup);
    assert_eq!(world.catalog.job_request(first.job.id).await.unwrap(), first.request);
    // It neither counts as the open manual backup nor is it refused because of one.
    let manual = manual_backup(&world.cluster);
    world.add(&manual).await;
    world.add(&adoption(&world.cluster)).await;
    let outcome = world.catalog.insert_backup(&manual_backup(&world.cluster)).await.unwrap();
    assert_eq!(outcome, InsertOutcome::Busy(manual.job.id));

    let mut repeated = adoption(&world.cluster);
    repeated.idempotency = Some(Idempotency { key: String::from("key"), request_hash: [1; 32] });
    world.add(&repeated).await;
    let InsertOutcome::Duplicate(known) = world.catalog.insert_backup(&repeated).await.unwrap() else {
        panic!("the repetition was not recognized");
    };
    assert_eq!((known.job.id, known.backup.id), (repeated.job.id, repeated.backup.id));
}

async fn an_adoption_ends_as_a_backup_does(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let done = adoption(&world.cluster);
    world.add_available(&done).await;
    assert_eq!(world.backup(done.backup.id).await.status, BackupStatus::Available);
    assert_eq!(world.job(done.job.id).await.state, JobState::Successful);
    for end in [JobState::Failed, JobState::Canceled] {
        let new = adoption(&world.cluster);
        world.add(&new).await;
        world.start(new.job.id).await;
        world.catalog.transition_job(new.job.id, end, None, at(3)).await.unwrap();
        assert_eq!(world.backup(new.backup.id).await.status, BackupStatus::Failed);
        let late = world
            .catalog
            .complete_backup(new.job.id, new.backup.id, &facts(), &cut(), progress(1), at(4))
            .await;
        assert_eq!(late.unwrap_err().kind(), PortErrorKind::Conflict);
    }
}

async fn requests_are_for_jobs_that_need_them(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut without = adoption(&world.cluster);
    without.request = None;
    let mut with = manual_backup(&world.cluster);
    with.request = adoption(&world.cluster).request;
    let mut wrong = adoption(&world.cluster);
    wrong.request = Some(new_undo(&world.cluster, without.job.id).request);
    for new in [without, with, wrong] {
        let error = world.catalog.insert_backup(&new).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
        assert_eq!(world.catalog.backup(new.backup.id).await.unwrap(), None);
    }
    let backup = world.add_restorable().await;
    let mut adopt_alone = verify_job(&world.cluster, backup.id);
    adopt_alone.job_type = JobType::Adopt;
    let error = world.catalog.insert_job(&adopt_alone).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
}

async fn such_jobs_are_successful_only_with_their_result(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let restored = world.add_ended_restore().await;
    let adopted = adoption(&world.cluster);
    world.add(&adopted).await;
    let mut job_ids = vec![adopted.job.id];
    for new in [
        new_restore(&world.cluster, &backup),
        new_drill(&world.cluster, &backup),
        new_undo(&world.cluster, restored),
        new_compare(&world.cluster, restored),
    ] {
        job_ids.push(world.request(&new).await);
    }
    for job_id in job_ids {
        world.start(job_id).await;
        let error =
            world.catalog.transition_job(job_id, JobState::Successful, None, at(2)).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
        assert_eq!(world.job(job_id).await.state, JobState::InProgress);
        world.catalog.transition_job(job_id, JobState::Failed, None, at(3)).await.unwrap();
    }
}

async fn a_dropped_request_leaves_all_or_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    for polls in [0, 1, 2, 3, 5, 10, 30, 100, 300, 1_000, 3_000, 10_000] {
        let new = with_key(new_restore(&world.cluster, &backup), &format!("key {polls}"), 1);
        tokio::select! {
            biased;
            outcome = world.catalog.insert_requested_job(&new) => {
                assert_eq!(outcome.unwrap(), InsertJobOutcome::Created);
            }
            () = yield_times(polls) => {}
        }
        // Behind the dropped transaction: its end is known when another one has begun.
        world.request(&new_restore(&world.cluster, &backup)).await;
        let written = world.catalog.job(new.job.id).await.unwrap().is_some();
        let request = world.catalog.job_request(new.job.id).await.unwrap();
        assert_eq!(request.is_some(), written, "{polls}");
        let again = world.catalog.insert_requested_job(&new).await.unwrap();
        assert_eq!(matches!(again, InsertJobOutcome::Duplicate(_)), written, "{polls}");
    }
}

async fn what_requests_hold_cannot_be_read_in_the_database(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let restore = world.request(&new_restore(&world.cluster, &backup)).await;
    world.catalog.save_restore_plan(restore, &plan(1), &waiting(1)).await.unwrap();
    world.add(&adoption(&world.cluster)).await;
    let contents = home.raw_contents().await;
    let holds = |text: &str| contents.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("target_0"), "the search finds what is there");
    for secret in ["restore-password-plaintext", "adopted-secret-plaintext"] {
        assert!(!holds(secret), "{secret}");
        assert!(!holds(&hex::encode(secret)), "{secret} as hexadecimal digits");
    }
}

async fn the_next_run_sees_requests_and_plans(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(3).await;
    let before = world.catalog.restore(job_id).await.unwrap();
    assert!(before.is_some());
    drop(world);
    let catalog = home.open(sealer()).await.unwrap();
    assert_eq!(catalog.restore(job_id).await.unwrap(), before);
    let open: Vec<_> = catalog.open_jobs().await.unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(open, [job_id]);
}
