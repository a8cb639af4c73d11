//! The rules that the catalog guarantees, on the real one.

use crate::support::fakes::gates::Act;
use crate::support::{World, bounded, project, request};
use milvault_actors::{BackupRequest, ServiceError};
use milvault_catalog::{Sealer, open};
use milvault_domain::access::ApiKey;
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{ApiKeyId, OrganizationId};
use milvault_domain::job::JobState;
use milvault_domain::ports::{Catalog, Clock, JobFilter, PageRequest, Tenancy};
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

/// Opens the catalog of the directory, as a starting server does.
pub(crate) async fn open_in(directory: &TempDir, world: &World) -> Arc<dyn Catalog> {
    let url = format!("sqlite://{}", directory.path().join("catalog.db").display());
    let catalog = open(&url, Sealer::from_key_bytes([7; 32])).await.unwrap();
    let organization_id = OrganizationId::from_uuid(Uuid::from_u128(2));
    let tenancy = Tenancy {
        organization_id,
        organization_name: "organization".to_owned(),
        project_id: project(),
        project_name: "project".to_owned(),
    };
    let key = ApiKey {
        id: ApiKeyId::from_uuid(Uuid::from_u128(3)),
        organization_id,
        name: "owner".to_owned(),
        secret_hash: [0; 32],
        user: None,
        grants: vec![],
        created_at: world.clock.now(),
        expires_at: None,
        revoked_at: None,
    };
    catalog.ensure_tenancy(&tenancy, &key).await.unwrap();
    catalog
}

async fn job_count(catalog: &Arc<dyn Catalog>) -> usize {
    let page = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
    catalog.jobs(&JobFilter::default(), page).await.unwrap().items.len()
}

#[tokio::test]
async fn of_many_simultaneous_requests_one_wins() {
    bounded(async {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("cut");
        let requests = (0..50).map(|_| server.service.request_backup(request(cluster.id)));
        let answers = futures::future::join_all(requests).await;
        let accepted: Vec<_> = answers.iter().flatten().map(|pair| pair.job.id).collect();
        assert_eq!(accepted.len(), 1);
        for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(
                matches!(refused, ServiceError::Conflict { job_id, .. } if *job_id == Some(accepted[0])),
                "{refused:?}"
            );
        }
        hold.add_permits(1);
        let job = server.ended(accepted[0]).await;
        assert_eq!(job.state, JobState::Successful, "{:?}", job.failure);
        assert_eq!(job_count(&catalog).await, 1);
        let backup = catalog.backup(job.backup_id.unwrap()).await.unwrap().unwrap();
        assert_eq!((backup.status, backup.facts.unwrap().object_count), (BackupStatus::Available, 10));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_is_recognized_by_its_key_however_many_come_at_once() {
    bounded(async {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        let cluster = server.register().await;
        let keyed = BackupRequest { idempotency_key: Some("k".to_owned()), ..request(cluster.id) };
        let answers =
            futures::future::join_all((0..30).map(|_| server.service.request_backup(keyed.clone()))).await;
        let ids: std::collections::HashSet<_> =
            answers.into_iter().map(|answer| answer.unwrap().job.id).collect();
        assert_eq!((ids.len(), job_count(&catalog).await), (1, 1));
        for job_id in ids {
            assert_eq!(server.ended(job_id).await.state, JobState::Successful);
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_is_canceled_parked_and_continued() {
    bounded(async {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        let cluster = server.register().await;

        world.gates.once("copy", Act::Hang);
        let canceled = server.back_up(cluster.id).await;
        world.gates.reached("copy", 1).await;
        server.service.cancel_job(canceled.job.id).await.unwrap();
        assert_eq!(server.ended(canceled.job.id).await.state, JobState::Canceled);
        let backup = catalog.backup(canceled.backup.id).await.unwrap().unwrap();
        assert_eq!(backup.status, BackupStatus::Failed);

        world.gates.once("seal", Act::Hang);
        let parked = server.back_up(cluster.id).await.job.id;
        world.gates.reached("seal", 1).await;
        server.shutdown().await;
        assert_eq!(catalog.job(parked).await.unwrap().unwrap().state, JobState::Pending);

        let server = world.start().await;
        match server.service.remove_cluster(cluster.id).await {
            // Unless the job was quicker.
            Ok(()) => assert!(catalog.open_jobs().await.unwrap().is_empty()),
            Err(ServiceError::Conflict { job_id, .. }) => assert_eq!(job_id, Some(parked)),
            Err(other) => panic!("{other:?}"),
        }
        let job = server.ended(parked).await;
        assert_eq!((job.state, job.attempt), (JobState::Successful, 2), "{:?}", job.failure);
        assert_eq!((world.copied_objects(), world.copies_max()), (10, 1));
    })
    .await;
}

#[tokio::test]
async fn a_removed_cluster_is_not_backed_up() {
    bounded(async {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        world.real_catalog = Some(open_in(&directory, &world).await);
        let server = world.start().await;
        let cluster = server.register().await;
        server.service.remove_cluster(cluster.id).await.unwrap();
        for again in [
            server.service.remove_cluster(cluster.id).await.unwrap_err(),
            server.service.request_backup(request(cluster.id)).await.unwrap_err(),
        ] {
            assert!(matches!(again, ServiceError::NotFound { kind: "cluster", .. }), "{again:?}");
        }
    })
    .await;
}
