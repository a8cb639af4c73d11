//! Scheduled verifies: a year in seconds, damage and its healing, and what they must not hold up.

use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded};
use chrono::TimeDelta;
use milvault_actors::{VerifyPolicyChange, VerifyRequest};
use milvault_domain::checks::{VerificationState, VerifySchedule};
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::{Job, JobState, JobType, VerifyLevel};
use milvault_domain::ports::{ChecksCatalog, PortErrorKind};
use std::collections::BTreeMap;
use std::time::Duration;

struct Stage {
    world: World,
    repository_id: RepositoryId,
    cluster_id: ClusterId,
}

impl Stage {
    async fn new() -> (Self, Server) {
        let mut world = World::new();
        world.settings.schedule_interval = Duration::from_millis(2);
        let server = world.start().await;
        let cluster = server.register().await;
        (Self { world, repository_id: cluster.repository_id, cluster_id: cluster.id }, server)
    }

    async fn back_up(&self, server: &Server) -> BackupId {
        let made = server.back_up(self.cluster_id).await;
        assert_eq!(server.ended(made.job.id).await.failure, None);
        made.backup.id
    }

    fn change(&self, every_days: u32) -> VerifyPolicyChange {
        VerifyPolicyChange {
            repository_id: self.repository_id,
            enabled: true,
            level: None,
            every_days: Some(every_days),
            hour: Some(2),
            time_zone: Some("Europe/Berlin".parse().unwrap()),
            max_bytes_per_second: None,
        }
    }

    async fn schedule(&self) -> VerifySchedule {
        self.world.catalog.verify_schedule(self.repository_id).await.unwrap().unwrap()
    }

    /// Lets a day pass and waits for the end of the share that begins then.
    async fn next_share(&self, server: &Server) -> Job {
        let before = self.schedule().await;
        self.world.clock.advance(TimeDelta::days(1));
        loop {
            let schedule = self.schedule().await;
            if schedule.last_run != before.last_run {
                return server.ended(schedule.share.unwrap().job_id).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn state(&self, backup_id: BackupId) -> VerificationState {
        let found = self.world.catalog.verification(backup_id).await.unwrap();
        found.unwrap_or_default().state()
    }
}

#[tokio::test]
async fn a_year_of_shares_reads_every_file_every_ten_days() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.back_up(&server).await;
        let begun = server.service.set_verify_policy(stage.change(10)).await.unwrap();
        let first = server.ended(begun.job.unwrap().id).await;
        assert_eq!((first.state, first.backup_id), (JobState::Successful, None));
        let mut newest = None;
        for day in 0..365 {
            let job = stage.next_share(&server).await;
            assert_eq!((job.state, &job.failure), (JobState::Successful, &None), "day {day}");
            if day % 100 == 50 {
                newest = Some(stage.back_up(&server).await);
            }
        }
        let stored = stage.world.stores.repository.stored.lock().unwrap().len();
        let checks = stage.world.stores.repository.checks.lock().unwrap().clone();
        assert_eq!(checks.len(), 366);
        let mut last_read: BTreeMap<_, usize> = BTreeMap::new();
        for (day, (order, files)) in checks.iter().enumerate() {
            assert!(order.all_backups);
            for file in files {
                if let Some(before) = last_read.insert(*file, day) {
                    assert!(day - before <= 10, "{file:?} waited from {before} to {day}");
                }
            }
        }
        assert_eq!(last_read.len(), stored);
        assert!(last_read.values().all(|day| 355 <= *day), "{last_read:?}");
        assert_eq!(stage.state(newest.unwrap()).await, VerificationState::Verified);
        assert_eq!(stage.schedule().await.owed, 0);
    })
    .await;
}

#[tokio::test]
async fn damage_shows_on_every_backup_that_needs_it_and_the_next_backup_heals() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let (first, second) = (stage.back_up(&server).await, stage.back_up(&server).await);
        assert_eq!(stage.state(first).await, VerificationState::Never);
        let begun = server.service.set_verify_policy(stage.change(1)).await.unwrap();
        assert_eq!(server.ended(begun.job.unwrap().id).await.state, JobState::Successful);
        for backup_id in [first, second] {
            assert_eq!(stage.state(backup_id).await, VerificationState::Verified);
        }

        stage.world.stores.repository.damage(|key| key.collection_id == 1);
        let found = stage.next_share(&server).await;
        assert_eq!(found.state, JobState::Failed);
        for backup_id in [first, second] {
            assert_eq!(stage.state(backup_id).await, VerificationState::Damaged);
        }
        assert!(!stage.world.catalog.damage(stage.repository_id).await.unwrap().is_empty());

        let third = stage.back_up(&server).await;
        let copies = stage.world.stores.repository.copies.lock().unwrap().clone();
        for (key, count) in copies {
            assert_eq!(count, if key.collection_id == 1 { 2 } else { 1 }, "{key}");
        }
        assert_eq!(stage.next_share(&server).await.state, JobState::Successful);
        assert_eq!(stage.state(third).await, VerificationState::Verified);
        assert!(stage.world.catalog.damage(stage.repository_id).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_verify_by_hand_feeds_the_same_results() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let backup_id = stage.back_up(&server).await;
        let verify =
            VerifyRequest { backup_id, level: VerifyLevel::Content, created_by: "tester".to_owned() };
        let job = server.service.request_verify(verify.clone()).await.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Successful);
        assert_eq!(stage.state(backup_id).await, VerificationState::Verified);
        stage.world.stores.repository.damage(|_| true);
        let job = server.service.request_verify(verify).await.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Failed);
        assert_eq!(stage.state(backup_id).await, VerificationState::Damaged);
    })
    .await;
}

#[tokio::test]
async fn a_long_share_holds_up_no_backup_and_no_second_one_begins_beside_it() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.back_up(&server).await;
        let permit = stage.world.gates.hold_once("verify");
        let begun = server.service.set_verify_policy(stage.change(30)).await.unwrap().job.unwrap();
        stage.world.gates.reached("verify", 1).await;
        stage.back_up(&server).await;

        let before = stage.schedule().await.last_run;
        stage.world.clock.advance(TimeDelta::days(3));
        while stage.schedule().await.last_run == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let waiting = stage.schedule().await;
        assert_eq!((waiting.share.unwrap().job_id, waiting.owed), (begun.id, 4));
        permit.add_permits(1);
        assert_eq!(server.ended(begun.id).await.state, JobState::Successful);
        assert_eq!(stage.next_share(&server).await.state, JobState::Successful);
        let after = stage.schedule().await;
        assert_eq!((after.share.unwrap().count, after.owed), (2, 2));
        let verifies = stage.world.catalog.all_jobs();
        assert_eq!(verifies.iter().filter(|job| job.job_type == JobType::Verify).count(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_share_that_was_cut_off_is_counted_once() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let backup_id = stage.back_up(&server).await;
        stage.world.gates.once("recorded_check", Act::Hang);
        let job = server.service.set_verify_policy(stage.change(4)).await.unwrap().job.unwrap();
        stage.world.gates.reached("recorded_check", 1).await;
        let recorded = stage.schedule().await;
        let covered = stage.world.catalog.verification(backup_id).await.unwrap();
        server.kill().await;
        let server = stage.world.start().await;
        assert_eq!(server.ended(job.id).await.state, JobState::Successful);
        assert_eq!(stage.schedule().await.position, recorded.position);
        assert_eq!(stage.world.catalog.verification(backup_id).await.unwrap(), covered);
    })
    .await;
}

#[tokio::test]
async fn a_share_that_cannot_be_read_comes_again() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.back_up(&server).await;
        stage.world.gates.always("verify", Act::Fail(PortErrorKind::Unavailable, "away"));
        let job = server.service.set_verify_policy(stage.change(5)).await.unwrap().job.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Failed);
        let failed = stage.schedule().await;
        assert_eq!((failed.position, failed.owed), (0, 1));
        let retried = server.service.retry_job(job.id, "tester".to_owned()).await;
        assert!(retried.unwrap_err().to_string().contains("next share"));
        stage.world.gates.clear("verify");
        assert_eq!(stage.next_share(&server).await.state, JobState::Successful);
        let after = stage.schedule().await;
        assert_eq!((after.share.unwrap().count, after.owed), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn switched_off_and_empty_repositories_have_nothing_read() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let empty = server.service.set_verify_policy(stage.change(5)).await.unwrap();
        assert_eq!((empty.job, empty.schedule.owed), (None, 0));
        stage.back_up(&server).await;
        let off = VerifyPolicyChange { enabled: false, ..stage.change(5) };
        let off = server.service.set_verify_policy(off).await.unwrap();
        assert_eq!((off.job, off.schedule.next_look), (None, None));
        let wrong = server.service.set_verify_policy(stage.change(0)).await.unwrap_err();
        assert!(wrong.to_string().contains("365"), "{wrong}");
        let nowhere = VerifyPolicyChange {
            repository_id: RepositoryId::from_uuid(uuid::Uuid::from_u128(77)),
            ..stage.change(5)
        };
        assert!(server.service.set_verify_policy(nowhere).await.is_err());
    })
    .await;
}
