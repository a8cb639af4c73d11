//! Requests for backups: the rule of one manual backup, and repeated requests.

use super::Home;
use super::samples::{World, at, automatic_backup, manual_backup, verify_job, yield_times};
use milvault_domain::backup::{BackupScope, BackupStatus, CollectionName};
use milvault_domain::job::JobState;
use milvault_domain::ports::{
    BackupWithJob, Idempotency, InsertOutcome, JobFilter, NewBackup, PortErrorKind,
};
use std::sync::Arc;

super::cases![
    a_backup_and_its_job_read_back,
    one_manual_backup_is_open_per_cluster,
    an_automatic_backup_that_is_asked_for_again_is_made_alone,
    racing_requests_make_one_backup,
    a_repeated_request_gives_the_same_job,
    a_key_for_another_request_is_refused,
    racing_repetitions_make_one_backup,
    keys_belong_to_a_cluster,
    malformed_requests_are_refused,
    a_dropped_request_leaves_all_or_nothing,
];

fn with_key(mut new: NewBackup, key: &str, request: u8) -> NewBackup {
    new.idempotency = Some(Idempotency { key: key.to_owned(), request_hash: [request; 32] });
    new
}

async fn a_backup_and_its_job_read_back(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut new = manual_backup(&world.cluster);
    new.backup.expires_at = Some(at(86_400));
    new.backup.scope = BackupScope::Collections(vec![CollectionName {
        database: String::from("default"),
        collection: String::from("bücher"),
    }]);
    world.add(&new).await;
    assert_eq!(world.backup(new.backup.id).await, new.backup);
    assert_eq!(world.job(new.job.id).await, new.job);
    assert_eq!(world.catalog.backup_contents(new.backup.id).await.unwrap(), None);
}

async fn one_manual_backup_is_open_per_cluster(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = manual_backup(&world.cluster);
    world.add(&first).await;
    let refused = || async {
        let second = manual_backup(&world.cluster);
        let outcome = world.catalog.insert_backup(&second).await.unwrap();
        assert_eq!(outcome, InsertOutcome::Busy(first.job.id));
        assert_eq!(world.catalog.backup(second.backup.id).await.unwrap(), None);
        assert_eq!(world.catalog.job(second.job.id).await.unwrap(), None);
    };
    refused().await;
    world.start(first.job.id).await;
    refused().await;
    world.catalog.transition_job(first.job.id, JobState::Canceling, None, at(2)).await.unwrap();
    refused().await;

    // Automatic backups, checks and other clusters are not concerned.
    world.add(&automatic_backup(&world.cluster)).await;
    world.add(&automatic_backup(&world.cluster)).await;
    world.add_verify(first.backup.id).await;
    let neighbour = world.add_cluster("neighbour").await;
    world.add(&manual_backup(&neighbour)).await;

    world.catalog.transition_job(first.job.id, JobState::Canceled, None, at(3)).await.unwrap();
    world.add(&manual_backup(&world.cluster)).await;
}

async fn an_automatic_backup_that_is_asked_for_again_is_made_alone(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let again = || NewBackup { asked_again: true, ..automatic_backup(&world.cluster) };
    for other in [manual_backup(&world.cluster), automatic_backup(&world.cluster), again()] {
        world.add(&other).await;
        for state in [None, Some(JobState::InProgress), Some(JobState::Canceling)] {
            if let Some(state) = state {
                world.catalog.transition_job(other.job.id, state, None, at(2)).await.unwrap();
            }
            let refused = again();
            let outcome = world.catalog.insert_backup(&refused).await.unwrap();
            assert_eq!(outcome, InsertOutcome::Busy(other.job.id), "{state:?}");
            assert_eq!(world.catalog.backup(refused.backup.id).await.unwrap(), None);
        }
        world.catalog.transition_job(other.job.id, JobState::Canceled, None, at(3)).await.unwrap();
    }
    let neighbour = world.add_cluster("neighbour").await;
    world.add(&manual_backup(&neighbour)).await;
    world.add(&again()).await;
}

async fn racing_requests_make_one_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let requests: Vec<_> = (0..32)
        .map(|_| {
            let (catalog, new) = (Arc::clone(&world.catalog), manual_backup(&world.cluster));
            tokio::spawn(async move { (new.job.id, catalog.insert_backup(&new).await.unwrap()) })
        })
        .collect();
    let (mut created, mut busy) = (Vec::new(), Vec::new());
    for request in requests {
        match request.await.unwrap() {
            (job_id, InsertOutcome::Created) => created.push(job_id),
            (_, InsertOutcome::Busy(job_id)) => busy.push(job_id),
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!((created.len(), busy.len()), (1, 31));
    assert!(busy.iter().all(|job_id| *job_id == created[0]));
    let page = world.catalog.jobs(&JobFilter::default(), super::samples::FIRST_PAGE).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

async fn a_repeated_request_gives_the_same_job(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = with_key(manual_backup(&world.cluster), "nightly", 1);
    world.add(&first).await;
    let again = with_key(manual_backup(&world.cluster), "nightly", 1);
    let InsertOutcome::Duplicate(known) = world.catalog.insert_backup(&again).await.unwrap() else {
        panic!("the repetition was not recognized");
    };
    assert_eq!(*known, BackupWithJob { backup: first.backup.clone(), job: first.job.clone() });

    // The key is kept when the job has ended, and shows what became of it.
    world.catalog.transition_job(first.job.id, JobState::Canceled, None, at(2)).await.unwrap();
    let InsertOutcome::Duplicate(known) = world.catalog.insert_backup(&again).await.unwrap() else {
        panic!("the repetition was not recognized");
    };
    assert_eq!((known.job.state, known.backup.status), (JobState::Canceled, BackupStatus::Failed));
}

async fn a_key_for_another_request_is_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = with_key(manual_backup(&world.cluster), "nightly", 1);
    world.add(&first).await;
    let other = with_key(manual_backup(&world.cluster), "nightly", 2);
    assert_eq!(world.catalog.insert_backup(&other).await.unwrap(), InsertOutcome::KeyReused(first.job.id));
    // A refused request does not use its key up.
    let busy = with_key(manual_backup(&world.cluster), "weekly", 1);
    assert_eq!(world.catalog.insert_backup(&busy).await.unwrap(), InsertOutcome::Busy(first.job.id));
    world.catalog.transition_job(first.job.id, JobState::Canceled, None, at(2)).await.unwrap();
    world.add(&busy).await;
}

async fn racing_repetitions_make_one_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let requests: Vec<_> = (0..16)
        .map(|_| {
            let catalog = Arc::clone(&world.catalog);
            let new = with_key(manual_backup(&world.cluster), "key", 1);
            tokio::spawn(async move { (new.job.id, catalog.insert_backup(&new).await.unwrap()) })
        })
        .collect();
    let (mut created, mut known) = (Vec::new(), Vec::new());
    for request in requests {
        match request.await.unwrap() {
            (job_id, InsertOutcome::Created) => created.push(job_id),
            (_, InsertOutcome::Duplicate(earlier)) => known.push(earlier.job.id),
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!((created.len(), known.len()), (1, 15));
    assert!(known.iter().all(|job_id| *job_id == created[0]));
}

async fn keys_belong_to_a_cluster(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let neighbour = world.add_cluster("neighbour").await;
    world.add(&with_key(manual_backup(&world.cluster), "key", 1)).await;
    world.add(&with_key(manual_backup(&neighbour), "key", 2)).await;
}

async fn malformed_requests_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut wrong_status = manual_backup(&world.cluster);
    wrong_status.backup.status = BackupStatus::Available;
    let mut wrong_state = manual_backup(&world.cluster);
    wrong_state.job.state = JobState::InProgress;
    let mut wrong_job = manual_backup(&world.cluster);
    wrong_job.job.backup_id = None;
    let no_key = with_key(manual_backup(&world.cluster), "", 1);
    let long_key = with_key(manual_backup(&world.cluster), &"k".repeat(257), 1);
    for new in [wrong_status, wrong_state, wrong_job, no_key, long_key] {
        let error = world.catalog.insert_backup(&new).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    }
    let mut backup_job = manual_backup(&world.cluster);
    world.add(&backup_job).await;
    backup_job.job.id = verify_job(&world.cluster, backup_job.backup.id).id;
    let error = world.catalog.insert_job(&backup_job.job).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
}

async fn a_dropped_request_leaves_all_or_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for polls in [0, 1, 2, 3, 5, 10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000] {
        let new = automatic_backup(&world.cluster);
        tokio::select! {
            biased;
            outcome = world.catalog.insert_backup(&new) => assert_eq!(outcome.unwrap(), InsertOutcome::Created),
            () = yield_times(polls) => {}
        }
        // Behind the dropped transaction: its end is known when another one has begun.
        world.add(&automatic_backup(&world.cluster)).await;
        let backup = world.catalog.backup(new.backup.id).await.unwrap();
        let job = world.catalog.job(new.job.id).await.unwrap();
        let events = world.catalog.job_events(new.job.id).await.unwrap();
        assert_eq!((backup.is_some(), events.len()), (job.is_some(), usize::from(job.is_some())), "{polls}");
    }
}
