//! Clusters and repositories.

use super::Home;
use super::samples::{
    FIRST_PAGE, World, at, automatic_backup, cluster, manual_backup, repository, s3_storage, uuid,
};
use milvault_domain::backup::BackupStatus;
use milvault_domain::cluster::MilvusAuth;
use milvault_domain::ids::{ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::JobState;
use milvault_domain::ports::{ClusterFilter, ClusterRemoval, InsertOutcome, PortErrorKind};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{AzureStorage, GcsStorage, StorageConfig};
use std::sync::Arc;

super::cases![
    every_kind_of_configuration_reads_back,
    names_are_taken_once_in_a_project,
    an_update_changes_what_a_person_may_change,
    what_a_record_refers_to_must_exist,
    figures_beyond_the_range_are_refused,
    a_cluster_with_open_jobs_stays,
    removal_keeps_manual_backups_and_expires_automatic_ones,
    a_removed_cluster_is_out_of_service,
    removal_and_requests_do_not_pass_each_other,
];

async fn every_kind_of_configuration_reads_back(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let secret = |text: &str| Secret::Value(SecretValue::new(text.to_owned()));
    let storages = [
        s3_storage("another secret"),
        StorageConfig::Gcs(GcsStorage {
            bucket: String::from("bucket"),
            prefix: String::new(),
            service_account_key: Some(Secret::File(String::from("gcs.json"))),
        }),
        StorageConfig::Azure(AzureStorage {
            account: String::from("account"),
            container: String::from("container"),
            prefix: String::new(),
            access_key: Some(Secret::Environment(String::from("MILVAULT_SECRET_AZURE"))),
            endpoint: None,
        }),
    ];
    let auths = [MilvusAuth::None, MilvusAuth::Token(secret("token")), MilvusAuth::Token(secret(""))];
    for (number, (storage, auth)) in storages.into_iter().zip(auths).enumerate() {
        let mut repository = repository(world.project_id, &format!("repository {number}"));
        repository.storage = storage.clone();
        repository.capabilities.server_side_copy = number == 1;
        world.catalog.insert_repository(&repository).await.unwrap();
        assert_eq!(world.catalog.repository(repository.id).await.unwrap(), Some(repository.clone()));

        let mut cluster = cluster(&repository, &format!("cluster {number}"));
        cluster.storage = storage;
        cluster.endpoint.auth = auth;
        cluster.endpoint.server_name = Some(String::from("milvus.example"));
        cluster.max_bytes_per_second = None;
        world.catalog.insert_cluster(&cluster).await.unwrap();
        assert_eq!(world.catalog.cluster(cluster.id).await.unwrap(), Some(cluster));
    }
    let unknown = RepositoryId::from_uuid(uuid());
    assert_eq!(world.catalog.repository(unknown).await.unwrap(), None);
    assert_eq!(world.catalog.cluster(ClusterId::from_uuid(uuid())).await.unwrap(), None);
}

async fn names_are_taken_once_in_a_project(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let same_name = cluster(&world.repository, &world.cluster.name);
    let error = world.catalog.insert_cluster(&same_name).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict);
    assert!(error.to_string().contains("`production`"), "{error}");

    let mut other = world.add_cluster("Production").await;
    other.name = world.cluster.name.clone();
    assert_eq!(world.catalog.update_cluster(&other).await.unwrap_err().kind(), PortErrorKind::Conflict);
    // Its own name is not taken from it.
    world.catalog.update_cluster(&world.cluster).await.unwrap();

    let error = world.catalog.insert_repository(&repository(world.project_id, "backups")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict);

    world.catalog.remove_cluster(world.cluster.id, at(10)).await.unwrap();
    world.catalog.insert_cluster(&same_name).await.unwrap();
}

async fn an_update_changes_what_a_person_may_change(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let other_repository = repository(world.project_id, "other");
    world.catalog.insert_repository(&other_repository).await.unwrap();
    let mut changed = cluster(&other_repository, "renamed");
    changed.id = world.cluster.id;
    changed.endpoint.auth = MilvusAuth::None;
    changed.storage = s3_storage("moved");
    changed.cu_size = 32;
    changed.max_bytes_per_second = None;
    changed.updated_at = at(9);
    let mut asked = changed.clone();
    asked.created_at = at(9);
    asked.project_id = ProjectId::from_uuid(uuid());
    world.catalog.update_cluster(&asked).await.unwrap();
    assert_eq!(world.catalog.cluster(world.cluster.id).await.unwrap(), Some(changed.clone()));

    changed.id = ClusterId::from_uuid(uuid());
    changed.name = String::from("nowhere");
    assert_eq!(world.catalog.update_cluster(&changed).await.unwrap_err().kind(), PortErrorKind::NotFound);
}

async fn what_a_record_refers_to_must_exist(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut orphan = cluster(&world.repository, "orphan");
    orphan.repository_id = RepositoryId::from_uuid(uuid());
    assert_eq!(world.catalog.insert_cluster(&orphan).await.unwrap_err().kind(), PortErrorKind::NotFound);
    let stray = repository(ProjectId::from_uuid(uuid()), "stray");
    assert_eq!(world.catalog.insert_repository(&stray).await.unwrap_err().kind(), PortErrorKind::NotFound);
    let unregistered = cluster(&world.repository, "unregistered");
    let error = world.catalog.insert_backup(&manual_backup(&unregistered)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound);
}

async fn figures_beyond_the_range_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut fast = cluster(&world.repository, "fast");
    fast.max_bytes_per_second = Some(u64::MAX);
    assert_eq!(world.catalog.insert_cluster(&fast).await.unwrap_err().kind(), PortErrorKind::InvalidInput);
}

async fn a_cluster_with_open_jobs_stays(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = automatic_backup(&world.cluster);
    world.add(&new).await;
    let verify = world.add_verify(new.backup.id).await;
    let remove = || world.catalog.remove_cluster(world.cluster.id, at(10));
    assert_eq!(remove().await.unwrap(), ClusterRemoval::HasOpenJobs(vec![new.job.id, verify.id]));
    world.catalog.transition_job(new.job.id, JobState::Canceled, None, at(2)).await.unwrap();
    world.start(verify.id).await;
    world.catalog.transition_job(verify.id, JobState::Canceling, None, at(2)).await.unwrap();
    assert_eq!(remove().await.unwrap(), ClusterRemoval::HasOpenJobs(vec![verify.id]));
    assert!(world.catalog.cluster(world.cluster.id).await.unwrap().is_some());
    world.catalog.transition_job(verify.id, JobState::Canceled, None, at(2)).await.unwrap();
    assert_eq!(remove().await.unwrap(), ClusterRemoval::Removed);
}

async fn removal_keeps_manual_backups_and_expires_automatic_ones(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let neighbour = world.add_cluster("neighbour").await;
    let manual = manual_backup(&world.cluster);
    let mut dated = automatic_backup(&world.cluster);
    dated.backup.expires_at = Some(at(1_000_000));
    let undated = automatic_backup(&world.cluster);
    let foreign = automatic_backup(&neighbour);
    for new in [&manual, &dated, &undated, &foreign] {
        world.add_available(new).await;
    }
    world.catalog.remove_cluster(world.cluster.id, at(10)).await.unwrap();
    assert_eq!(world.backup(manual.backup.id).await.expires_at, None);
    assert_eq!(world.backup(dated.backup.id).await.expires_at, Some(at(10)));
    assert_eq!(world.backup(foreign.backup.id).await.expires_at, None);

    let mut expired = world.catalog.expire_backups(at(10), 100).await.unwrap();
    expired.sort();
    assert_eq!(expired, [dated.backup.id, undated.backup.id]);
    assert_eq!(world.backup(manual.backup.id).await.status, BackupStatus::Available);
}

async fn a_removed_cluster_is_out_of_service(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let kept = manual_backup(&world.cluster);
    world.add_available(&kept).await;
    world.catalog.remove_cluster(world.cluster.id, at(10)).await.unwrap();

    assert_eq!(world.catalog.cluster(world.cluster.id).await.unwrap(), None);
    let page = world.catalog.clusters(&ClusterFilter::default(), FIRST_PAGE).await.unwrap();
    assert!(page.items.is_empty());
    let not_found = PortErrorKind::NotFound;
    assert_eq!(world.catalog.update_cluster(&world.cluster).await.unwrap_err().kind(), not_found);
    assert_eq!(world.catalog.remove_cluster(world.cluster.id, at(11)).await.unwrap_err().kind(), not_found);
    let new = manual_backup(&world.cluster);
    assert_eq!(world.catalog.insert_backup(&new).await.unwrap_err().kind(), not_found);
    assert_eq!(world.catalog.backup(new.backup.id).await.unwrap(), None);
    // What it left can still be checked.
    world.add_verify(kept.backup.id).await;
}

async fn removal_and_requests_do_not_pass_each_other(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for round in 0..12 {
        let cluster = world.add_cluster(&format!("round {round}")).await;
        let new = manual_backup(&cluster);
        let (removal, request) =
            tokio::join!(world.catalog.remove_cluster(cluster.id, at(10)), world.catalog.insert_backup(&new));
        match (removal.unwrap(), request) {
            (ClusterRemoval::Removed, Err(error)) => assert_eq!(error.kind(), PortErrorKind::NotFound),
            (ClusterRemoval::HasOpenJobs(jobs), Ok(InsertOutcome::Created)) => assert_eq!(jobs, [new.job.id]),
            outcome => panic!("a removed cluster has an open job: {outcome:?}"),
        }
    }
}
