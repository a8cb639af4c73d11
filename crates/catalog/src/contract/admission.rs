//! How many jobs of a cluster may wait.

use super::Home;
use super::leases::two;
use super::restore_samples::new_restore;
use super::samples::{World, at, automatic_backup, manual_backup, uuid, verify_job};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{Idempotency, InsertJobOutcome, PortErrorKind};
use milvault_domain::queue::ClusterQueue;
use std::sync::Arc;

super::cases![racing_requests_fill_the_last_places, people_are_refused_and_timers_are_not];

async fn available(world: &World) -> BackupId {
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    new.backup.id
}

fn key(number: usize) -> Idempotency {
    Idempotency { key: format!("key {number}"), request_hash: [1; 32] }
}

async fn racing_requests_fill_the_last_places(home: Arc<dyn Home>) {
    const PLACES: usize = 3;
    let (world, other) = two(&*home).await;
    let backup_id = available(&world).await;
    for _ in 0..ClusterQueue::WAITING_MAX - PLACES {
        world.add_verify(backup_id).await;
    }
    let requests: Vec<_> = (0..12)
        .map(|number| {
            let catalog = Arc::clone(if number < 6 { &world.catalog } else { &other });
            let job = verify_job(&world.cluster, backup_id);
            tokio::spawn(async move {
                if number % 2 == 0 {
                    return catalog.insert_job(&job).await;
                }
                catalog.insert_keyed_job(&job, &key(number)).await.map(|outcome| {
                    assert_eq!(outcome, InsertJobOutcome::Created);
                })
            })
        })
        .collect();
    let mut accepted = 0;
    for request in requests {
        match request.await.unwrap() {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert_eq!(error.kind(), PortErrorKind::Busy);
                assert!(error.to_string().contains("64 waiting jobs"), "{error}");
            }
        }
    }
    assert_eq!(accepted, PLACES);
    assert_eq!(world.catalog.open_jobs().await.unwrap().len(), ClusterQueue::WAITING_MAX);
    let open = world.catalog.open_jobs().await.unwrap();
    let next = || Job { id: JobId::from_uuid(uuid()), ..open[0].clone() };
    // A job that begins or ends makes room.
    for (job, to) in open.iter().zip([JobState::InProgress, JobState::Canceled]) {
        assert_eq!(other.insert_job(&next()).await.unwrap_err().kind(), PortErrorKind::Busy);
        world.catalog.transition_job(job.id, to, None, at(2)).await.unwrap();
        other.insert_job(&next()).await.unwrap();
    }
}

async fn people_are_refused_and_timers_are_not(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup_id = available(&world).await;
    let keyed = verify_job(&world.cluster, backup_id);
    world.catalog.insert_keyed_job(&keyed, &key(1)).await.unwrap();
    for _ in 1..ClusterQueue::WAITING_MAX {
        world.add_verify(backup_id).await;
    }
    let spare = manual_backup(&world.add_cluster("neighbour").await);
    world.add_available(&spare).await;

    let manual = manual_backup(&world.cluster);
    let error = world.catalog.insert_backup(&manual).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Busy);
    assert_eq!(world.catalog.backup(manual.backup.id).await.unwrap(), None);
    let restore = new_restore(&world.cluster, &world.backup(backup_id).await);
    let error = world.catalog.insert_requested_job(&restore).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Busy);
    // What was accepted before is given again.
    let repeated = verify_job(&world.cluster, backup_id);
    let outcome = world.catalog.insert_keyed_job(&repeated, &key(1)).await.unwrap();
    assert_eq!(outcome, InsertJobOutcome::Duplicate(Box::new(keyed)));

    // A deletion that is refused deletes nothing.
    let unused = automatic_backup(&world.cluster);
    world.add_available(&unused).await;
    let deletion =
        Job { job_type: JobType::Delete, verify_level: None, ..verify_job(&world.cluster, unused.backup.id) };
    let error = world.catalog.delete_backup(&deletion, at(9)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Busy);
    assert_eq!(world.backup(unused.backup.id).await.status, BackupStatus::Available);

    world.add(&automatic_backup(&world.cluster)).await;
    let sweep = Job {
        job_type: JobType::Sweep,
        verify_level: None,
        backup_id: None,
        ..verify_job(&world.cluster, backup_id)
    };
    assert_eq!(world.catalog.insert_sweep(&sweep).await.unwrap(), None);
}
