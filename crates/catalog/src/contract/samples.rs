//! Records that the cases use.

use super::Home;
use crate::Sealer;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::access::{ApiKey, Role, RoleGrant};
use milvault_domain::backup::{Backup, BackupFacts, BackupScope, BackupStatus, CreationMethod};
use milvault_domain::cluster::{Cluster, MilvusAuth, MilvusEndpoint};
use milvault_domain::ids::{ApiKeyId, BackupId, ClusterId, JobId, OrganizationId, ProjectId, RepositoryId};
use milvault_domain::job::{Job, JobState, JobType, VerifyLevel};
use milvault_domain::milvus::{
    Capabilities, CollectionCut, Cut, DatabaseCut, FieldDescription, FieldFlags, LoadState, SegmentCut,
    ServerInfo, TimestampUnit,
};
use milvault_domain::ports::{Catalog, InsertOutcome, NewBackup, PageRequest, Tenancy};
use milvault_domain::progress::Progress;
use milvault_domain::repository::{Repository, StoreCapabilities};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{LocalStorage, S3Addressing, S3Credentials, S3Storage, StorageConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A page that holds everything the cases make.
pub(super) const FIRST_PAGE: PageRequest = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };

/// The key of all cases but one.
pub(super) fn sealer() -> Sealer {
    Sealer::from_key_bytes([7; 32])
}

/// Ids in the order they were asked for.
pub(super) fn uuid() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(
        0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(NEXT.fetch_add(1, Ordering::Relaxed)),
    )
}

/// A time, with microseconds that a store must not lose.
pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_760_000_000_123_456).unwrap() + TimeDelta::seconds(seconds)
}

/// An open catalog with a project, a repository and a cluster.
pub(super) struct World {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) organization_id: OrganizationId,
    pub(super) project_id: ProjectId,
    pub(super) repository: Repository,
    pub(super) cluster: Cluster,
}

impl World {
    pub(super) async fn open(home: &dyn Home) -> Self {
        let catalog = home.open(sealer()).await.unwrap();
        let tenancy = tenancy();
        catalog.ensure_tenancy(&tenancy, &api_key(&tenancy)).await.unwrap();
        let repository = repository(tenancy.project_id, "backups");
        catalog.insert_repository(&repository).await.unwrap();
        let cluster = cluster(&repository, "production");
        catalog.insert_cluster(&cluster).await.unwrap();
        let Tenancy { organization_id, project_id, .. } = tenancy;
        Self { catalog, organization_id, project_id, repository, cluster }
    }

    /// Another cluster on the same repository.
    pub(super) async fn add_cluster(&self, name: &str) -> Cluster {
        let cluster = cluster(&self.repository, name);
        self.catalog.insert_cluster(&cluster).await.unwrap();
        cluster
    }

    /// Adds a backup that must be accepted, with its job.
    pub(super) async fn add(&self, new: &NewBackup) {
        assert_eq!(self.catalog.insert_backup(new).await.unwrap(), InsertOutcome::Created);
    }

    /// Adds a backup and completes it.
    pub(super) async fn add_available(&self, new: &NewBackup) {
        self.add(new).await;
        self.start(new.job.id).await;
        let progress = Progress::default();
        self.catalog
            .complete_backup(new.job.id, new.backup.id, &facts(), &cut(), progress, at(5))
            .await
            .unwrap();
    }

    /// Adds a job that checks a backup.
    pub(super) async fn add_verify(&self, backup_id: BackupId) -> Job {
        let job = verify_job(&self.cluster, backup_id);
        self.catalog.insert_job(&job).await.unwrap();
        job
    }

    pub(super) async fn start(&self, job_id: JobId) -> Job {
        self.catalog.transition_job(job_id, JobState::InProgress, None, at(1)).await.unwrap()
    }

    pub(super) async fn job(&self, job_id: JobId) -> Job {
        self.catalog.job(job_id).await.unwrap().unwrap()
    }

    pub(super) async fn backup(&self, backup_id: BackupId) -> Backup {
        self.catalog.backup(backup_id).await.unwrap().unwrap()
    }
}

pub(super) fn tenancy() -> Tenancy {
    Tenancy {
        organization_id: OrganizationId::from_uuid(uuid()),
        organization_name: String::from("Acme"),
        project_id: ProjectId::from_uuid(uuid()),
        project_name: String::from("Default"),
    }
}

pub(super) fn api_key(tenancy: &Tenancy) -> ApiKey {
    let id = ApiKeyId::from_uuid(uuid());
    let mut secret_hash = [0; 32];
    secret_hash[..16].copy_from_slice(id.as_uuid().as_bytes());
    ApiKey {
        id,
        organization_id: tenancy.organization_id,
        name: String::from("owner"),
        secret_hash,
        user: None,
        grants: vec![RoleGrant { role: Role::OrganizationOwner, project_id: None }],
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
    }
}

pub(super) fn repository(project_id: ProjectId, name: &str) -> Repository {
    Repository {
        id: RepositoryId::from_uuid(uuid()),
        project_id,
        name: name.to_owned(),
        storage: s3_storage("repository-secret-plaintext"),
        capabilities: StoreCapabilities { conditional_put: true, ..StoreCapabilities::default() },
        created_at: at(0),
    }
}

pub(super) fn s3_storage(secret: &str) -> StorageConfig {
    StorageConfig::S3(S3Storage {
        bucket: String::from("bucket"),
        prefix: String::from("files"),
        endpoint: Some(String::from("http://127.0.0.1:9000")),
        region: None,
        addressing: S3Addressing::VirtualHost,
        credentials: S3Credentials::Static {
            access_key_id: String::from("access"),
            secret_access_key: Secret::Value(SecretValue::new(secret.to_owned())),
            session_token: None,
        },
        ca_pem: None,
    })
}

pub(super) fn cluster(repository: &Repository, name: &str) -> Cluster {
    Cluster {
        id: ClusterId::from_uuid(uuid()),
        project_id: repository.project_id,
        name: name.to_owned(),
        endpoint: MilvusEndpoint {
            uri: String::from("http://127.0.0.1:19530"),
            auth: MilvusAuth::Password {
                user: String::from("root"),
                password: Secret::Value(SecretValue::new(String::from("milvus-secret-plaintext"))),
            },
            ca_pem: None,
            server_name: None,
        },
        storage: StorageConfig::Local(LocalStorage {
            path: String::from("/var/lib/milvus/storage-path-plaintext"),
        }),
        repository_id: repository.id,
        cu_size: 4,
        max_bytes_per_second: Some(1_000_000),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A manual backup of the whole cluster, asked for at second 0.
pub(super) fn manual_backup(cluster: &Cluster) -> NewBackup {
    let backup_id = BackupId::from_uuid(uuid());
    NewBackup {
        backup: Backup {
            id: backup_id,
            project_id: cluster.project_id,
            cluster_id: cluster.id,
            cluster_name: cluster.name.clone(),
            repository_id: cluster.repository_id,
            name: format!("before the upgrade {backup_id}"),
            description: String::from("two\nlines"),
            scope: BackupScope::Cluster,
            creation_method: CreationMethod::Manual,
            status: BackupStatus::Creating,
            created_by: String::from("owner"),
            created_at: at(0),
            completed_at: None,
            expires_at: None,
            facts: None,
            copied_from: None,
        },
        job: Job { job_type: JobType::Backup, verify_level: None, ..verify_job(cluster, backup_id) },
        request: None,
        idempotency: None,
        asked_again: false,
    }
}

/// The same, made by a schedule: any number of them may be open.
pub(super) fn automatic_backup(cluster: &Cluster) -> NewBackup {
    let mut new = manual_backup(cluster);
    new.backup.creation_method = CreationMethod::Auto;
    new
}

pub(super) fn verify_job(cluster: &Cluster, backup_id: BackupId) -> Job {
    Job {
        id: JobId::from_uuid(uuid()),
        project_id: cluster.project_id,
        cluster_id: cluster.id,
        job_type: JobType::Verify,
        state: JobState::Pending,
        phase: None,
        description: String::from("a job"),
        created_by: String::from("owner"),
        created_at: at(0),
        started_at: None,
        ended_at: None,
        failure: None,
        backup_id: Some(backup_id),
        verify_level: Some(VerifyLevel::Content),
        attempt: 0,
        parks: 0,
        progress: Progress::default(),
    }
}

pub(super) fn facts() -> BackupFacts {
    BackupFacts {
        cut_at: at(2),
        milvus_version: String::from("v2.3.5"),
        logical_bytes: 5_000_000_000,
        newly_stored_bytes: 4_000_000_000,
        object_count: 70_000,
        reused_object_count: 10_000,
        row_count: 300_000,
        collection_count: 1,
    }
}

pub(super) fn cut() -> Cut {
    Cut {
        cut_at_ms: at(2).timestamp_millis(),
        server: ServerInfo {
            version: String::from("v2.3.5"),
            capabilities: Capabilities {
                verified: true,
                databases: true,
                gc_pause: false,
                l0_segments: false,
                import_end_timestamp: TimestampUnit::Milliseconds,
            },
        },
        databases: vec![DatabaseCut {
            name: String::from("default"),
            properties: vec![],
            collections: vec![CollectionCut {
                collection_id: 446,
                name: String::from("books \0 'quoted' \u{1F4DA}"),
                description: String::new(),
                shard_count: 1,
                consistency_level: 2,
                schema_proto: vec![1, 2, 3],
                fields: vec![FieldDescription {
                    field_id: 100,
                    name: String::from("id"),
                    description: String::new(),
                    data_type: String::from("Int64"),
                    element_type: String::new(),
                    type_params: vec![],
                    flags: FieldFlags { primary_key: true, ..FieldFlags::default() },
                }],
                dynamic_field: true,
                properties: vec![],
                partitions: vec![],
                indexes: vec![],
                aliases: vec![],
                load_state: LoadState::Loaded,
                replica_count: 1,
                segments: vec![SegmentCut { segment_id: 447, partition_id: 1, row_count: 300_000 }],
            }],
        }],
        access_control: None,
    }
}

/// Progress with figures that tell the calls apart.
pub(super) fn progress(bytes_done: u64) -> Progress {
    Progress { bytes_total: 1_000, bytes_done, objects_total: 10, ..Progress::default() }
}

/// Lets other tasks run so many times: how far a call comes before it is dropped.
pub(super) async fn yield_times(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}
