//! A clock that was ahead has expired backups, and is right again.

use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded, request};
use chrono::TimeDelta;
use milvault_actors::BackupRequest;
use milvault_domain::backup::{Backup, BackupStatus};
use milvault_domain::job::JobState;
use milvault_domain::ports::{Catalog, PortErrorKind};
use std::time::Duration;

const AHEAD: TimeDelta = TimeDelta::days(8);
/// Looks that retention takes in the meantime would have shown by then.
const QUIET: Duration = Duration::from_millis(60);

/// A backup that is kept for a week.
async fn kept_a_week(server: &Server) -> Backup {
    let cluster = server.register().await;
    let request = BackupRequest { retention_days: Some(7), ..request(cluster.id) };
    let accepted = server.service.request_backup(request).await.unwrap();
    assert_eq!(server.ended(accepted.job.id).await.state, JobState::Successful);
    accepted.backup
}

/// Waits until the catalog and the repository both say so.
async fn becomes(world: &World, backup: &Backup, status: BackupStatus) {
    let is_buried = status == BackupStatus::Deleted;
    loop {
        let found = world.catalog.backup(backup.id).await.unwrap().unwrap();
        let buried = world.stores.repository.tombstones.lock().unwrap().contains_key(&backup.id);
        if (found.status, buried) == (status, is_buried) {
            assert_eq!(found.expires_at, backup.expires_at);
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A server whose clock has come ahead, and a backup that has expired by it.
async fn expired_ahead(world: &World) -> (Server, Backup) {
    let server = world.start().await;
    let backup = kept_a_week(&server).await;
    world.clock.advance(AHEAD);
    becomes(world, &backup, BackupStatus::Deleted).await;
    (server, backup)
}

async fn stays(world: &World, backup: &Backup, status: BackupStatus) {
    tokio::time::sleep(QUIET).await;
    becomes(world, backup, status).await;
}

#[tokio::test]
async fn what_a_clock_that_is_ahead_expires_comes_back_once() {
    bounded(async {
        let world = World::new();
        let (server, backup) = expired_ahead(&world).await;
        world.clock.advance(-AHEAD);
        becomes(&world, &backup, BackupStatus::Available).await;
        stays(&world, &backup, BackupStatus::Available).await;
        // Of two clocks that differ for good, the one that is ahead has the last word.
        world.clock.advance(AHEAD);
        becomes(&world, &backup, BackupStatus::Deleted).await;
        world.clock.advance(-AHEAD);
        stays(&world, &backup, BackupStatus::Deleted).await;
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_longer_whole_stays_deleted_and_is_looked_at_once() {
    bounded(async {
        let world = World::new();
        let (server, backup) = expired_ahead(&world).await;
        world.stores.repository.report.lock().unwrap().failure_count = 1;
        world.clock.advance(-AHEAD);
        world.gates.reached("judge_early_expiry", 1).await;
        world.stores.repository.report.lock().unwrap().failure_count = 0;
        stays(&world, &backup, BackupStatus::Deleted).await;
        assert_eq!((world.gates.calls("judge_early_expiry"), world.gates.calls("exhume")), (1, 0));
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn what_has_lost_its_manifest_stays_deleted_and_is_looked_at_once() {
    bounded(async {
        let world = World::new();
        let (server, backup) = expired_ahead(&world).await;
        world.gates.once("verify", Act::Fail(PortErrorKind::NotFound, "no manifest"));
        world.clock.advance(-AHEAD);
        world.gates.reached("judge_early_expiry", 1).await;
        stays(&world, &backup, BackupStatus::Deleted).await;
        assert_eq!((world.gates.calls("verify"), world.gates.calls("exhume")), (1, 0));
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn what_has_expired_in_time_or_hardly_too_early_stays_deleted() {
    for (ahead, back) in [(AHEAD, TimeDelta::hours(20)), (TimeDelta::days(7), TimeDelta::minutes(15))] {
        bounded(async {
            let world = World::new();
            let server = world.start().await;
            let backup = kept_a_week(&server).await;
            world.clock.advance(ahead);
            becomes(&world, &backup, BackupStatus::Deleted).await;
            world.clock.advance(-back);
            stays(&world, &backup, BackupStatus::Deleted).await;
            assert_eq!(world.gates.calls("judge_early_expiry"), 0);
            server.shutdown().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_takes_an_expiry_back_leaves_it_to_the_next() {
    for point in ["exhume", "exhumed", "judge_early_expiry", "judged_early_expiry"] {
        bounded(async {
            let world = World::new();
            let (server, backup) = expired_ahead(&world).await;
            world.gates.once(point, Act::Hang);
            let before = world.gates.calls(point);
            world.clock.advance(-AHEAD);
            world.gates.reached(point, before + 1).await;
            server.kill().await;

            let server = world.start().await;
            becomes(&world, &backup, BackupStatus::Available).await;
            server.shutdown().await;
        })
        .await;
    }
}

#[tokio::test]
async fn an_expiry_that_the_catalog_does_not_take_back_keeps_its_tombstone() {
    bounded(async {
        let world = World::new();
        let (server, backup) = expired_ahead(&world).await;
        // Somebody else gets the name in the last moment.
        world.gates.once("exhume", Act::Fail(PortErrorKind::Unavailable, "away"));
        let hold = world.gates.hold_once("judge_early_expiry");
        world.clock.advance(-AHEAD);
        world.gates.reached("judge_early_expiry", 1).await;
        let namesake = BackupRequest { name: Some(backup.name.clone()), ..request(backup.cluster_id) };
        let namesake = server.service.request_backup(namesake).await.unwrap();
        assert_eq!(server.ended(namesake.job.id).await.state, JobState::Successful);
        hold.add_permits(1);
        stays(&world, &backup, BackupStatus::Deleted).await;
        assert_eq!(world.gates.calls("judge_early_expiry"), 1);
        server.shutdown().await;
    })
    .await;
}
