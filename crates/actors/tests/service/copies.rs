//! Copies of backups in a second repository: what is refused, crashes, cancels, races, damage.

mod policies;

use crate::support::fakes::gates::Act;
use crate::support::fakes::repository::RepositoryState;
use crate::support::fakes::stores::OBJECT_BYTES;
use crate::support::{Server, World, bounded, directory, project};
use chrono::TimeDelta;
use milvault_actors::{CopyRequest, NewRepository, ServiceError, VerifyRequest};
use milvault_domain::backup::{Backup, BackupStatus, CopyOrigin};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, JobId, ProjectId, RepositoryId};
use milvault_domain::job::{JobState, JobType, VerifyLevel};
use milvault_domain::ports::{BackupWithJob, Catalog, CopyCatalog, PortErrorKind};
use std::sync::Arc;
use uuid::Uuid;

/// A backup of ten objects, and another repository to copy it to.
struct Stage {
    world: World,
    server: Server,
    cluster: Cluster,
    source: Backup,
    elsewhere: RepositoryId,
    copied: Arc<RepositoryState>,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let accepted = server.back_up(cluster.id).await;
        assert_eq!(server.ended(accepted.job.id).await.state, JobState::Successful);
        let source = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
        let elsewhere = repository(&server, project(), "elsewhere").await;
        let copied = world.stores.separate(elsewhere);
        world.clock.advance(TimeDelta::minutes(5));
        Self { world, server, cluster, source, elsewhere, copied }
    }

    fn request(&self) -> CopyRequest {
        CopyRequest {
            backup_id: self.source.id,
            repository_id: self.elsewhere,
            name: None,
            description: None,
            retention_days: None,
            idempotency_key: None,
            created_by: "copier".to_owned(),
        }
    }

    async fn copy(&self) -> BackupWithJob {
        self.server.service.request_copy(self.request()).await.unwrap()
    }

    async fn row(&self, backup_id: BackupId) -> Backup {
        self.world.catalog.backup(backup_id).await.unwrap().unwrap()
    }

    fn copies_max(&self) -> usize {
        self.copied.copies.lock().unwrap().values().copied().max().unwrap_or(0)
    }
}

async fn repository(server: &Server, project_id: ProjectId, name: &str) -> RepositoryId {
    let new = NewRepository { project_id, name: name.to_owned(), storage: directory(&format!("/{name}")) };
    server.service.register_repository(new).await.unwrap().id
}

fn conflict(error: ServiceError) -> (String, Option<JobId>) {
    match error {
        ServiceError::Conflict { message, job_id } => (message, job_id),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_copy_is_a_backup_of_its_own() {
    bounded(async {
        let stage = Stage::new().await;
        let BackupWithJob { backup, job } = stage.copy().await;
        assert_eq!((job.job_type, job.backup_id), (JobType::Copy, Some(backup.id)));
        let job = stage.server.ended(job.id).await;
        assert_eq!(
            (job.state, job.failure.as_deref(), job.progress.percent()),
            (JobState::Successful, None, 100)
        );
        assert_eq!((job.progress.bytes_total, job.progress.bytes_reused), (10 * OBJECT_BYTES, 0));
        let copy = stage.row(backup.id).await;
        let origin = CopyOrigin { backup_id: stage.source.id, repository_id: stage.source.repository_id };
        assert_eq!((copy.status, copy.copied_from), (BackupStatus::Available, Some(origin)));
        assert_eq!((copy.repository_id, copy.cluster_id), (stage.elsewhere, stage.cluster.id));
        assert_eq!(copy.name, format!("{}-copy", stage.source.name));
        assert_eq!((copy.expires_at, copy.creation_method), (None, stage.source.creation_method));
        let (facts, original) = (copy.facts.unwrap(), stage.source.facts.clone().unwrap());
        assert_eq!((facts.cut_at, facts.row_count), (original.cut_at, original.row_count));
        assert_eq!((facts.object_count, facts.reused_object_count), (10, 0));
        let contents = stage.world.catalog.backup_contents(backup.id).await.unwrap();
        assert_eq!(contents, stage.world.catalog.backup_contents(stage.source.id).await.unwrap());
        let manifest = stage.copied.sealed.lock().unwrap()[&backup.id].clone();
        assert_eq!((manifest.0.copied_from, manifest.1.len()), (Some(origin), 10));
        assert_eq!(stage.world.catalog.copies(stage.source.id).await.unwrap().len(), 1);

        // The next one finds everything there, and gets a name of its own.
        let again = stage.copy().await;
        assert_eq!(again.backup.name, format!("{}-copy-2", stage.source.name));
        let job = stage.server.ended(again.job.id).await;
        assert_eq!((job.state, job.progress.objects_reused), (JobState::Successful, 10));
        assert_eq!(stage.copies_max(), 1);

        let verify =
            VerifyRequest { backup_id: backup.id, level: VerifyLevel::Content, created_by: "x".to_owned() };
        let verify = stage.server.service.request_verify(verify).await.unwrap();
        assert_eq!(stage.server.ended(verify.id).await.state, JobState::Successful);
        let deleted = stage.server.service.delete_backup(stage.source.id, "x".to_owned()).await.unwrap();
        assert_eq!(deleted.backup.status, BackupStatus::Deleted);
        assert_eq!(stage.row(backup.id).await.status, BackupStatus::Available);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_with_what_to_do() {
    bounded(async {
        let stage = Stage::new().await;
        let refused =
            async |request: CopyRequest| stage.server.service.request_copy(request).await.unwrap_err();
        let same = CopyRequest { repository_id: stage.source.repository_id, ..stage.request() };
        match refused(same).await {
            ServiceError::InvalidInput(invalid) => assert_eq!(invalid.field, "repositoryId"),
            other => panic!("{other:?}"),
        }
        let other_project = ProjectId::from_uuid(Uuid::from_u128(99));
        let hidden = repository(&stage.server, other_project, "hidden").await;
        for unknown in [hidden, RepositoryId::from_uuid(Uuid::from_u128(12345))] {
            match refused(CopyRequest { repository_id: unknown, ..stage.request() }).await {
                ServiceError::NotFound { kind, id } => {
                    assert_eq!((kind, id), ("repository", unknown.to_string()));
                }
                other => panic!("{other:?}"),
            }
        }
        let unknown = BackupId::from_uuid(Uuid::from_u128(12345));
        let error = refused(CopyRequest { backup_id: unknown, ..stage.request() }).await;
        assert!(matches!(error, ServiceError::NotFound { kind: "backup", .. }), "{error:?}");
        let taken = CopyRequest { name: Some(stage.source.name.clone()), ..stage.request() };
        assert!(conflict(refused(taken).await).0.contains("choose another name"));
        for (request, field) in [
            (CopyRequest { retention_days: Some(31), ..stage.request() }, "retentionDays"),
            (CopyRequest { retention_days: Some(0), ..stage.request() }, "retentionDays"),
            (CopyRequest { name: Some("x".repeat(65)), ..stage.request() }, "name"),
            (CopyRequest { idempotency_key: Some(String::new()), ..stage.request() }, "idempotencyKey"),
        ] {
            match refused(request).await {
                ServiceError::InvalidInput(invalid) => assert_eq!(invalid.field, field),
                other => panic!("{other:?}"),
            }
        }
        stage.world.clock.advance(TimeDelta::minutes(1));
        stage.world.gates.hold_once("cut");
        let creating = stage.server.back_up(stage.cluster.id).await;
        let request = CopyRequest { backup_id: creating.backup.id, ..stage.request() };
        assert!(conflict(refused(request.clone()).await).0.contains("is still being made"));
        stage.server.service.cancel_job(creating.job.id).await.unwrap();
        stage.server.ended(creating.job.id).await;
        assert!(conflict(refused(request).await).0.contains("holds nothing to copy"));
        stage.server.service.delete_backup(stage.source.id, "x".to_owned()).await.unwrap();
        assert!(conflict(refused(stage.request()).await).0.contains("is deleted"));
        assert_eq!(stage.copied.sealed.lock().unwrap().len(), 0);
    })
    .await;
}

/// Every point of a copy, with the number of the call that is cut off, in the order in which they come.
const POINTS: [(&str, usize); 15] = [
    ("inserted_copy", 1),
    ("transition_job", 1),
    ("open_repository", 1),
    ("open_repository", 2),
    ("load_unfinished", 1),
    ("read_objects", 1),
    ("open_backup_copier", 1),
    ("save_unfinished", 1),
    ("saved_unfinished", 1),
    ("copy", 1),
    ("copied", 7),
    ("seal", 1),
    ("manifest_visible", 1),
    ("sealed", 1),
    ("complete_backup", 1),
];

#[tokio::test]
async fn a_copy_that_was_cut_off_anywhere_is_finished_by_the_next_server() {
    for (point, call) in POINTS {
        bounded(async {
            let stage = Stage::new().await;
            let gates = &stage.world.gates;
            let before = gates.calls(point);
            for _ in 1..call {
                gates.once(point, Act::Pass);
            }
            for _ in 0..4 {
                gates.once(point, Act::Hang);
            }
            let (service, request) = (stage.server.service.clone(), stage.request());
            tokio::spawn(async move { service.request_copy(request).await });
            gates.reached(point, before + call).await;
            let Stage { world, server, source, copied, .. } = stage;
            server.kill().await;
            world.gates.clear(point);

            let server = world.start().await;
            let job = world.catalog.all_jobs().into_iter().find(|job| job.job_type == JobType::Copy).unwrap();
            let job = server.ended(job.id).await;
            assert_eq!((job.state, job.failure.as_deref()), (JobState::Successful, None), "{point} {call}");
            let copy = world.catalog.backup(job.backup_id.unwrap()).await.unwrap().unwrap();
            assert_eq!(copy.status, BackupStatus::Available, "{point} {call}");
            assert_eq!(copy.facts.unwrap().object_count, 10, "{point} {call}");
            let times: Vec<usize> = copied.copies.lock().unwrap().values().copied().collect();
            assert_eq!(times, [1; 10], "{point} {call}: something was copied twice");
            assert_eq!(copied.sealed.lock().unwrap().len(), 1, "{point} {call}");
            assert_eq!(copied.unfinished.lock().unwrap().len(), 0, "{point} {call}");
            let source = world.catalog.backup(source.id).await.unwrap().unwrap();
            assert_eq!(source.status, BackupStatus::Available);
        })
        .await;
    }
}

#[tokio::test]
async fn the_backup_that_is_copied_stays_until_the_copy_ends() {
    bounded(async {
        let stage = Stage::new().await;
        stage.world.gates.always("copy", Act::Hang);
        let copy = stage.copy().await;
        stage.world.gates.reached("copy", 11).await;
        let refused = stage.server.service.delete_backup(stage.source.id, "x".to_owned()).await.unwrap_err();
        assert_eq!(conflict(refused).1, Some(copy.job.id));
        assert_eq!(stage.row(stage.source.id).await.status, BackupStatus::Available);

        stage.server.service.cancel_job(copy.job.id).await.unwrap();
        assert_eq!(stage.server.ended(copy.job.id).await.state, JobState::Canceled);
        assert_eq!(stage.row(copy.backup.id).await.status, BackupStatus::Failed);
        assert_eq!(stage.copied.sealed.lock().unwrap().len(), 0);
        stage.server.service.delete_backup(stage.source.id, "x".to_owned()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_canceled_copy_is_done_again_without_copying_twice() {
    bounded(async {
        let stage = Stage::new().await;
        for _ in 0..4 {
            stage.world.gates.once("copy", Act::Pass);
        }
        stage.world.gates.always("copy", Act::Hang);
        let request = CopyRequest {
            name: Some("offsite".to_owned()),
            description: Some("why".to_owned()),
            retention_days: Some(9),
            ..stage.request()
        };
        let copy = stage.server.service.request_copy(request).await.unwrap();
        stage.world.gates.reached("copied", 14).await;
        stage.server.service.cancel_job(copy.job.id).await.unwrap();
        assert_eq!(stage.server.ended(copy.job.id).await.state, JobState::Canceled);
        stage.world.gates.clear("copy");

        let again = stage.server.service.retry_job(copy.job.id, "again".to_owned()).await.unwrap();
        let again = stage.server.ended(again.id).await;
        assert_eq!((again.job_type, again.state), (JobType::Copy, JobState::Successful));
        assert!(4 <= again.progress.objects_reused, "{:?}", again.progress);
        assert_eq!(stage.copies_max(), 1);
        let made = stage.row(again.backup_id.unwrap()).await;
        assert_eq!((made.name.as_str(), made.description.as_str()), ("offsite", "why"));
        assert_eq!(made.expires_at, Some(made.created_at + TimeDelta::days(9)));
        assert_eq!(made.copied_from.unwrap().backup_id, stage.source.id);
    })
    .await;
}

#[tokio::test]
async fn damage_fails_the_job_names_the_object_and_leaves_nothing_visible() {
    bounded(async {
        let stage = Stage::new().await;
        let key = *stage.world.stores.repository.copies.lock().unwrap().keys().next().unwrap();
        stage.world.stores.repository.damage(|other| *other == key);
        let copy = stage.copy().await;
        let job = stage.server.ended(copy.job.id).await;
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains(&key.to_string()));
        assert_eq!(stage.row(copy.backup.id).await.status, BackupStatus::Failed);
        assert_eq!(stage.copied.sealed.lock().unwrap().len(), 0);

        stage.world.stores.repository.unreadable.lock().unwrap().insert(stage.source.id);
        let copy = stage.copy().await;
        let failure = stage.server.ended(copy.job.id).await.failure.unwrap();
        assert!(failure.contains(&stage.source.id.to_string()) && failure.contains("damaged"), "{failure}");
    })
    .await;
}

#[tokio::test]
async fn what_is_known_to_be_damaged_there_is_copied_again() {
    bounded(async {
        let stage = Stage::new().await;
        let first = stage.copy().await;
        assert_eq!(stage.server.ended(first.job.id).await.state, JobState::Successful);
        stage.copied.damage(|key| key.collection_id == 1);
        let verify = VerifyRequest {
            backup_id: first.backup.id,
            level: VerifyLevel::Content,
            created_by: "x".to_owned(),
        };
        let found = stage.server.service.request_verify(verify).await.unwrap();
        assert_eq!(stage.server.ended(found.id).await.state, JobState::Failed);

        let second = stage.copy().await;
        let job = stage.server.ended(second.job.id).await;
        assert_eq!((job.state, job.progress.objects_reused), (JobState::Successful, 4));
        for (key, count) in stage.copied.copies.lock().unwrap().iter() {
            assert_eq!(*count, if key.collection_id == 1 { 2 } else { 1 }, "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn two_requests_at_once_with_one_key_make_one_copy() {
    bounded(async {
        let stage = Stage::new().await;
        let request = CopyRequest { idempotency_key: Some("k".to_owned()), ..stage.request() };
        let ask = |request: CopyRequest| {
            let service = stage.server.service.clone();
            tokio::spawn(async move { service.request_copy(request).await.unwrap() })
        };
        let (one, two) = (ask(request.clone()), ask(request.clone()));
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        assert_eq!((one.backup.id, one.job.id), (two.backup.id, two.job.id));
        assert_eq!(stage.server.ended(one.job.id).await.state, JobState::Successful);
        let other = CopyRequest { retention_days: Some(3), ..request.clone() };
        let refused = stage.server.service.request_copy(other).await.unwrap_err();
        assert_eq!(conflict(refused).1, Some(one.job.id));
        // A repetition is answered even when the backup is gone by then.
        stage.server.service.delete_backup(stage.source.id, "x".to_owned()).await.unwrap();
        assert_eq!(stage.server.service.request_copy(request).await.unwrap().job.id, one.job.id);
        assert_eq!(stage.copied.sealed.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_copy_needs_neither_milvus_nor_a_cluster_in_service_and_holds_up_no_backup() {
    bounded(async {
        let stage = Stage::new().await;
        let hold = stage.world.gates.hold_once("read_objects");
        let slow = stage.copy().await;
        stage.world.gates.reached("read_objects", 1).await;
        stage.world.clock.advance(TimeDelta::minutes(1));
        let backup = stage.server.back_up(stage.cluster.id).await;
        assert_eq!(stage.server.ended(backup.job.id).await.state, JobState::Successful);
        hold.add_permits(1);
        assert_eq!(stage.server.ended(slow.job.id).await.state, JobState::Successful);

        stage.world.gates.always("connect", Act::Fail(PortErrorKind::Unavailable, "down"));
        stage.server.service.remove_cluster(stage.cluster.id).await.unwrap();
        let copy = stage.copy().await;
        assert_eq!(stage.server.ended(copy.job.id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn a_sweep_and_a_copy_of_a_cluster_never_run_together() {
    bounded(async {
        let stage = Stage::new().await;
        let hold = stage.world.gates.hold_once("save_unfinished");
        let saves = stage.world.gates.calls("save_unfinished");
        let copy = stage.copy().await;
        stage.world.gates.reached("save_unfinished", saves + 1).await;
        let sweep = stage.server.service.request_sweep(stage.cluster.id, "x".to_owned()).await.unwrap();
        // Another job of the cluster comes and goes meanwhile; the sweep does not begin.
        let verify = VerifyRequest {
            backup_id: stage.source.id,
            level: VerifyLevel::Existence,
            created_by: "x".to_owned(),
        };
        let verify = stage.server.service.request_verify(verify).await.unwrap();
        assert_eq!(stage.server.ended(verify.id).await.state, JobState::Successful);
        assert_eq!(stage.world.job(sweep.id).state, JobState::Pending);
        hold.add_permits(1);
        assert_eq!(stage.server.ended(copy.job.id).await.state, JobState::Successful);
        assert_eq!(stage.server.ended(sweep.id).await.state, JobState::Successful);
        assert_eq!(stage.row(copy.backup.id).await.status, BackupStatus::Available);
    })
    .await;
}
