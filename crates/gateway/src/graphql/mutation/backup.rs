//! Making, checking and adopting backups.

use super::not_negative;
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::backup::{Backup, CollectionNameInput};
use crate::graphql::model::job::Job;
use crate::graphql::model::storage::StorageInput;
use crate::graphql::model::verify::VerifyLevel;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_actors::{AdoptBackupRequest, BackupRequest, VerifyRequest};
use milvault_domain::access::Action;
use milvault_domain::backup::{BackupScope, CreationMethod};

/// Mutations of backups.
#[derive(Default)]
pub(crate) struct BackupMutation;

/// A backup to be made.
#[derive(InputObject)]
pub(crate) struct CreateBackupInput {
    /// Of which cluster.
    cluster_id: ID,
    /// Of what part of it; absent for the whole cluster.
    scope: Option<BackupScopeInput>,
    /// Name, 1 to 64 characters; unique among the backups of the
    /// cluster that are being made or available; absent for `<cluster>_backup<number>`.
    name: Option<String>,
    /// Description, at most 1,024 characters.
    description: Option<String>,
    /// Days to keep it, 1 to 30; null or absent keeps it for ever.
    retention_days: Option<i32>,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key
    /// gives the same backup and job instead of another.
    idempotency_key: Option<String>,
}

/// What to back up: databases or collections. With neither, the whole cluster.
#[derive(InputObject)]
pub(crate) struct BackupScopeInput {
    /// All collections of these databases.
    databases: Option<Vec<String>>,
    /// These collections.
    collections: Option<Vec<CollectionNameInput>>,
}

/// A backup that was asked for, with the job that makes it.
#[derive(SimpleObject)]
pub(crate) struct CreateBackupPayload {
    /// The backup, in status `CREATING` when it is new.
    backup: Backup,
    /// The job that makes it.
    job: Job,
}

/// A check of a backup.
#[derive(InputObject)]
pub(crate) struct VerifyBackupInput {
    /// Which backup; it must be `AVAILABLE`.
    backup_id: ID,
    /// How thoroughly.
    level: VerifyLevel,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
}

/// A check that was asked for.
#[derive(SimpleObject)]
pub(crate) struct VerifyBackupPayload {
    /// The job that does it; its `verifyReport` says what was found.
    job: Job,
}

/// A backup that milvus-backup made, to be taken over.
#[derive(InputObject)]
pub(crate) struct AdoptBackupInput {
    /// The cluster that it is a backup of; it goes into that cluster's repository.
    cluster_id: ID,
    /// The place that holds milvus-backup's directories. It is only read.
    storage: StorageInput,
    /// Name of the backup's directory in it, as `foreignBackups` lists it.
    directory: String,
    /// Name, 1 to 64 characters; absent for the directory's.
    name: Option<String>,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
}

/// A backup that is being taken over, with the job that does it.
#[derive(SimpleObject)]
pub(crate) struct AdoptBackupPayload {
    /// The backup, in status `CREATING`.
    backup: Backup,
    /// The job that copies it.
    job: Job,
}

impl CreateBackupInput {
    fn check(self, created_by: String) -> Result<BackupRequest, GatewayError> {
        let scope = self.scope.map_or(Ok(BackupScope::Cluster), BackupScopeInput::check)?;
        Ok(BackupRequest {
            cluster_id: parse_id("clusterId", &self.cluster_id)?,
            scope,
            name: self.name,
            description: self.description,
            retention_days: not_negative("retentionDays", self.retention_days)?,
            idempotency_key: self.idempotency_key,
            creation_method: CreationMethod::Manual,
            created_by,
        })
    }
}

impl BackupScopeInput {
    fn check(self) -> Result<BackupScope, GatewayError> {
        match (self.databases, self.collections) {
            (None, None) => Ok(BackupScope::Cluster),
            (Some(databases), None) => Ok(BackupScope::Databases(databases).normalized()?),
            (None, Some(collections)) => {
                let names = collections.into_iter().map(Into::into).collect();
                Ok(BackupScope::Collections(names).normalized()?)
            }
            (Some(_), Some(_)) => {
                Err(GatewayError::bad_field("scope", "give either `databases` or `collections`, not both"))
            }
        }
    }
}

#[Object]
impl BackupMutation {
    /// Makes a backup. Both rows are written when this answers; the work goes on, watch it with `jobUpdated`. While a
    /// manual backup of the cluster is pending or in progress, another is refused with `CONFLICT` and that job's id
    /// in `extensions.jobId`.
    async fn create_backup(
        &self,
        context: &Context<'_>,
        input: CreateBackupInput,
    ) -> Result<CreateBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let request = input.check(caller.principal.name.clone())?;
        access::cluster(context, Action::ManageBackups, request.cluster_id).await?;
        let made = backend.service.request_backup(request).await?;
        context.note_target(made.backup.id);
        context.note("jobId", made.job.id);
        Ok(CreateBackupPayload { backup: made.backup.into(), job: Job::now(made.job, backend) })
    }

    /// Checks that a backup is what it must be.
    async fn verify_backup(
        &self,
        context: &Context<'_>,
        input: VerifyBackupInput,
    ) -> Result<VerifyBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let request = VerifyRequest {
            backup_id: parse_id("backupId", &input.backup_id)?,
            level: input.level.into(),
            created_by: caller.principal.name.clone(),
        };
        access::backup(context, Action::ManageBackups, request.backup_id).await?;
        let job = backend.service.keyed(input.idempotency_key).request_verify(request).await?;
        context.note("jobId", job.id);
        Ok(VerifyBackupPayload { job: Job::now(job, backend) })
    }

    /// Takes over a backup that milvus-backup made: a job copies its binlogs into the cluster's repository, and what it
    /// shows becomes a backup like any other. Needs the right to manage clusters, because it makes the server read the
    /// place that is named.
    async fn adopt_backup(
        &self,
        context: &Context<'_>,
        input: AdoptBackupInput,
    ) -> Result<AdoptBackupPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let cluster_id = parse_id("clusterId", &input.cluster_id)?;
        access::cluster(context, Action::ManageClusters, cluster_id).await?;
        let request = AdoptBackupRequest {
            cluster_id,
            storage: input.storage.check()?,
            directory: input.directory,
            name: input.name,
            created_by: caller.principal.name.clone(),
        };
        context.permit_place(&request.storage)?;
        let made = backend.service.keyed(input.idempotency_key).adopt_backup(request).await?;
        context.note_target(made.backup.id);
        context.note("jobId", made.job.id);
        Ok(AdoptBackupPayload { backup: made.backup.into(), job: Job::now(made.job, backend) })
    }
}
