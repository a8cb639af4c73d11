//! Names of backups: one living backup of a cluster has a name, and numbers for those that were given none.

use super::Home;
use super::samples::{World, at, automatic_backup, cut, facts, manual_backup, verify_job};
use milvault_domain::backup::{Backup, BackupStatus};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::lifecycle::BackupChange;
use milvault_domain::ports::{
    FoundBackup, Idempotency, InsertJobOutcome, InsertOutcome, NewBackup, PortErrorKind,
};
use std::collections::BTreeSet;
use std::sync::Arc;

super::cases![
    a_name_is_given_once_among_living_backups,
    racing_requests_with_one_name_make_one_backup,
    the_database_refuses_a_second_holder_of_a_name,
    a_rename_names_the_holder,
    default_names_count_and_never_collide,
    found_backups_of_one_name_are_told_apart,
    a_keyed_job_is_added_once,
];

fn named(world: &World, name: &str) -> NewBackup {
    // Any number of automatic ones may be open.
    let mut new = automatic_backup(&world.cluster);
    name.clone_into(&mut new.backup.name);
    new
}

async fn a_name_is_given_once_among_living_backups(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = named(&world, "nightly");
    world.add(&first).await;
    let taken = InsertOutcome::NameTaken(first.backup.id);
    let second = named(&world, "nightly");
    assert_eq!(world.catalog.insert_backup(&second).await.unwrap(), taken);
    assert_eq!(world.catalog.backup(second.backup.id).await.unwrap(), None);
    assert_eq!(world.catalog.job(second.job.id).await.unwrap(), None);
    // It is the name as it is written, and the cluster's.
    world.add(&named(&world, "Nightly")).await;
    let neighbour = world.add_cluster("neighbour").await;
    let mut elsewhere = manual_backup(&neighbour);
    elsewhere.backup.name = String::from("nightly");
    world.add(&elsewhere).await;
    // A failed backup has no claim to it.
    world.start(first.job.id).await;
    world.catalog.transition_job(first.job.id, JobState::Failed, Some("x"), at(3)).await.unwrap();
    assert_eq!(world.backup(first.backup.id).await.status, BackupStatus::Failed);
    world.add(&second).await;
}

async fn racing_requests_with_one_name_make_one_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let requests: Vec<_> = (0..16)
        .map(|_| {
            let (catalog, new) = (Arc::clone(&world.catalog), named(&world, "nightly"));
            tokio::spawn(async move { (new.backup.id, catalog.insert_backup(&new).await.unwrap()) })
        })
        .collect();
    let (mut created, mut taken) = (Vec::new(), Vec::new());
    for request in requests {
        match request.await.unwrap() {
            (backup_id, InsertOutcome::Created) => created.push(backup_id),
            (_, InsertOutcome::NameTaken(other)) => taken.push(other),
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!((created.len(), taken.len()), (1, 15));
    assert!(taken.iter().all(|other| *other == created[0]));
}

async fn the_database_refuses_a_second_holder_of_a_name(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.add(&named(&world, "one")).await;
    world.add(&named(&world, "two")).await;
    home.run_statement("UPDATE backups SET name = 'one'").await.unwrap_err();
}

async fn a_rename_names_the_holder(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let (first, second) = (named(&world, "one"), named(&world, "two"));
    world.add(&first).await;
    world.add(&second).await;
    let change = BackupChange { name: Some(String::from("one")), description: None, expires_at: None };
    let error = world.catalog.update_backup(second.backup.id, &change).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict);
    assert!(error.to_string().contains(&first.backup.id.to_string()), "{error}");
    // To the name it has, it can always be renamed.
    world.catalog.update_backup(first.backup.id, &change).await.unwrap();
}

async fn default_names_count_and_never_collide(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let chosen = named(&world, "production_backup2");
    world.add(&chosen).await;
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (catalog, new) = (Arc::clone(&world.catalog), named(&world, ""));
            tokio::spawn(async move {
                assert_eq!(catalog.insert_backup(&new).await.unwrap(), InsertOutcome::Created);
                catalog.backup(new.backup.id).await.unwrap().unwrap().name
            })
        })
        .collect();
    let mut names = BTreeSet::new();
    for request in requests {
        assert!(names.insert(request.await.unwrap()));
    }
    let expected = [1, 3, 4, 5, 6, 7, 8, 9].map(|number| format!("production_backup{number}"));
    assert_eq!(names, expected.into());
    // A repetition that makes nothing takes no number.
    let mut keyed = named(&world, "");
    keyed.idempotency = Some(Idempotency { key: String::from("k"), request_hash: [1; 32] });
    world.add(&keyed).await;
    world.catalog.insert_backup(&keyed).await.unwrap();
    let next = named(&world, "");
    world.add(&next).await;
    assert_eq!(world.backup(next.backup.id).await.name, "production_backup11");
}

async fn found_backups_of_one_name_are_told_apart(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let found = || {
        let backup = Backup {
            status: BackupStatus::Available,
            completed_at: Some(at(4)),
            facts: Some(facts()),
            ..named(&world, "nightly").backup
        };
        FoundBackup { backup, contents: cut(), holds: Vec::new(), record_revision: 0 }
    };
    let all = [found(), found()];
    assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap(), 2);
    assert_eq!(world.backup(all[0].backup.id).await.name, "nightly");
    let other = world.backup(all[1].backup.id).await.name;
    let digits = all[1].backup.id.as_uuid().simple().to_string();
    assert_eq!(other, format!("nightly-{}", &digits[20..]));
    assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap(), 0);
}

async fn a_keyed_job_is_added_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let key = |request: u8| Idempotency { key: String::from("weekly"), request_hash: [request; 32] };
    let job = || verify_job(&world.cluster, new.backup.id);
    let cluster_id = world.cluster.id;
    assert_eq!(world.catalog.job_of_key(cluster_id, JobType::Verify, &key(1)).await.unwrap(), None);
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (catalog, job, key) = (Arc::clone(&world.catalog), job(), key(1));
            tokio::spawn(async move { (job.id, catalog.insert_keyed_job(&job, &key).await.unwrap()) })
        })
        .collect();
    let (mut created, mut repeated) = (Vec::new(), Vec::new());
    for request in requests {
        match request.await.unwrap() {
            (job_id, InsertJobOutcome::Created) => created.push(job_id),
            (_, InsertJobOutcome::Duplicate(job)) => repeated.push(job.id),
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!((created.len(), repeated.len()), (1, 7));
    assert!(repeated.iter().all(|job_id| *job_id == created[0]));
    let reused = InsertJobOutcome::KeyReused(created[0]);
    assert_eq!(world.catalog.insert_keyed_job(&job(), &key(2)).await.unwrap(), reused);

    // A job that was begun keeps its key; one that is refused leaves it to the next.
    world.start(created[0]).await;
    assert_eq!(world.catalog.refuse_job(created[0], "no", at(9)).await.unwrap(), None);
    let second_key = Idempotency { key: String::from("other"), request_hash: [1; 32] };
    let turned_away = job();
    assert_eq!(
        world.catalog.insert_keyed_job(&turned_away, &second_key).await.unwrap(),
        InsertJobOutcome::Created
    );
    let ended = world.catalog.refuse_job(turned_away.id, "full", at(9)).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.failure.as_deref()), (JobState::Failed, Some("full")));
    assert_eq!(world.catalog.insert_keyed_job(&job(), &second_key).await.unwrap(), InsertJobOutcome::Created);
    for (job_type, request, same) in
        [(JobType::Verify, 1, true), (JobType::Verify, 2, false), (JobType::Undo, 1, false)]
    {
        let known = world.catalog.job_of_key(cluster_id, job_type, &key(request)).await.unwrap();
        assert_eq!(matches!(known, Some(InsertJobOutcome::Duplicate(_))), same);
        assert_eq!(known == Some(reused.clone()), !same);
    }
}
