//! What makes a lost catalog replaceable: the changes that repositories have to know, and clusters without an address.

use crate::catalog::SqlCatalog;
use crate::catalog_file::{FileReader, FileWriter};
use crate::database::{Record, Statement, Transaction};
use crate::error::corrupt;
use crate::export::{self, Import};
use crate::model::{FAILURE_CHARS_MAX, bounded, count, figure, folded, id, optional_microseconds};
use crate::{backups, catalog_backups, clusters, jobs, lifecycle, names, policy_records};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::backup::BackupStatus;
use milvault_domain::cluster::Cluster;
use milvault_domain::error::{DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX};
use milvault_domain::ids::{BackupId, ClusterId, ProjectId};
use milvault_domain::job::JobState;
use milvault_domain::ports::{
    ByteSink, ByteSource, CatalogBackup, CatalogBackupClaim, DueRecord, LifecycleCatalog, PortResult,
    RecoveryCatalog,
};
use milvault_domain::recovery::{BackupRecord, NamedOrganization, NamedProject};

/// How long it is known which backups of the catalog were made.
const HISTORY_KEPT: TimeDelta = TimeDelta::days(400);
/// Digits of a cluster's id that tell it from another one of its name.
const ID_DIGITS: usize = 8;

#[async_trait]
impl RecoveryCatalog for SqlCatalog {
    async fn due_records(&self, after: Option<BackupId>, limit: u32) -> PortResult<Vec<DueRecord>> {
        let mut rows = self.database.read(select_due(after, limit)).await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &mut rows {
            due.push(self.read_due(row).await?);
        }
        Ok(due)
    }

    async fn due_record(&self, backup_id: BackupId) -> PortResult<Option<DueRecord>> {
        match self.database.read(select_due_of(backup_id)).await?.first_mut() {
            Some(row) => Ok(Some(self.read_due(row).await?)),
            None => Ok(None),
        }
    }

    async fn note_record(&self, backup_id: BackupId, revision: u64) -> PortResult<()> {
        let revision = figure("revision", revision)?;
        let statement = Statement::update("backup_records", [("written", revision.into())])
            .push("backup_id = ")
            .bind(backup_id.to_string())
            .push(" AND written < ")
            .bind(revision);
        self.write(statement).await?;
        Ok(())
    }

    async fn organization(&self) -> PortResult<Option<NamedOrganization>> {
        let statement =
            Statement::new("SELECT id, name FROM organizations ORDER BY created_at_us, id LIMIT 1");
        self.find(statement, |row| {
            Ok(NamedOrganization { id: id(&row.text("id")?)?, name: row.text("name")? })
        })
        .await
    }

    async fn insert_unregistered_cluster(&self, cluster: &Cluster) -> PortResult<bool> {
        let mut transaction = self.begin().await?;
        let mut named = cluster.clone();
        named.name = bounded(&cluster.name, NAME_CHARS_MAX);
        if !transaction.query(select_named(cluster.project_id, &named.name)).await?.is_empty() {
            named.name = distinguished(cluster);
        }
        let statement = clusters::insert(&self.sealer, &named)?.push(" ON CONFLICT (id) DO NOTHING");
        let added = transaction.execute(statement).await? == 1;
        transaction.commit().await?;
        Ok(added)
    }

    async fn take_record(&self, record: &BackupRecord) -> PortResult<bool> {
        let mut transaction = self.begin().await?;
        let taken = take(&mut *transaction, record).await?;
        transaction.commit().await?;
        Ok(taken)
    }

    async fn export(&self, taken_at: DateTime<Utc>, sink: &mut dyn ByteSink) -> PortResult<u64> {
        let mut file = FileWriter::begin(sink, &self.sealer).await?;
        export::export(self.database.as_ref(), taken_at, &mut file).await?;
        file.end().await
    }

    async fn claim_catalog_backup(&self, claim: &CatalogBackupClaim) -> PortResult<bool> {
        let mut transaction = self.begin().await?;
        let claimed = catalog_backups::claim(&mut *transaction, claim).await?;
        transaction.commit().await?;
        Ok(claimed)
    }

    async fn end_catalog_backup(
        &self,
        name: &str,
        outcome: Result<u64, String>,
        now: DateTime<Utc>,
    ) -> PortResult<()> {
        let (size, failure) = match outcome {
            Ok(size) => (Some(figure("size", size)?), None),
            Err(failure) => (None, Some(bounded(&failure, FAILURE_CHARS_MAX))),
        };
        let columns = [
            ("ended_at_us", now.timestamp_micros().into()),
            ("size_bytes", size.into()),
            ("failure", failure.into()),
        ];
        let statement = Statement::update("catalog_backups", columns).push("name = ").bind(name);
        let forget = Statement::new("DELETE FROM catalog_backups WHERE started_at_us < ")
            .bind((now - HISTORY_KEPT).timestamp_micros());
        let mut transaction = self.begin().await?;
        transaction.execute(statement).await?;
        transaction.execute(forget).await?;
        transaction.commit().await
    }

    async fn catalog_backups(&self, limit: u32) -> PortResult<Vec<CatalogBackup>> {
        let mut rows = self.database.read(catalog_backups::select(limit)).await?;
        rows.iter_mut().map(catalog_backups::read).collect()
    }

    async fn catalog_backed_up_at(&self) -> PortResult<Option<DateTime<Utc>>> {
        for statement in [catalog_backups::select_made(), catalog_backups::select_first()] {
            if let Some(found) = self.find(statement, catalog_backups::read).await? {
                return Ok(Some(found.started_at));
            }
        }
        Ok(None)
    }

    async fn import(&self, source: &mut dyn ByteSource, now: DateTime<Utc>) -> PortResult<u64> {
        let mut file = FileReader::begin(source, &self.sealer).await?;
        let mut import = Import::begin(self).await?;
        while let Some(text) = file.next().await? {
            for line in text.lines() {
                import.line(line).await?;
            }
        }
        fail_open_jobs(import.transaction(), now).await?;
        // A backup of an earlier version does not say which policies their repositories know.
        import.transaction().execute(policy_records::insert_missing()).await?;
        import.end().await
    }
}

/// Open jobs that make no backup were about things as they were then. Nobody knows how far they came.
async fn fail_open_jobs(transaction: &mut dyn Transaction, now: DateTime<Utc>) -> PortResult<()> {
    const LOST: &str = "the catalog was restored from its backup while this job was open; ask for it again";
    let open = "SELECT * FROM jobs WHERE job_type NOT IN ('BACKUP', 'ADOPT', 'COPY') AND state IN ('PENDING', 'IN_PROGRESS', 'CANCELING') ORDER BY id";
    let mut rows = transaction.query(Statement::new(open)).await?;
    for row in &mut rows {
        let mut job = jobs::read(row)?;
        jobs::change(transaction, &mut job, JobState::Failed, Some(LOST), now).await?;
    }
    Ok(())
}

/// The condition on the count decides, so a record is taken once.
async fn take(transaction: &mut dyn Transaction, record: &BackupRecord) -> PortResult<bool> {
    let revision = figure("revision", record.revision)?;
    let backup_id = record.backup_id.to_string();
    let columns = [("revision", revision.into()), ("written", revision.into())];
    let counted = Statement::update("backup_records", columns)
        .push("backup_id = ")
        .bind(backup_id.as_str())
        .push(" AND revision < ")
        .bind(revision)
        .push(" AND EXISTS (SELECT 1 FROM backups WHERE backups.id = backup_records.backup_id AND backups.status = 'AVAILABLE')");
    if transaction.execute(counted).await? == 0 {
        return Ok(false);
    }
    let name = bounded(&record.name, NAME_CHARS_MAX);
    let name = names::distinct(transaction, record.cluster_id, record.backup_id, &name).await?;
    let columns = [
        ("name", name.as_str().into()),
        ("name_folded", folded(&name).into()),
        ("description", bounded(&record.description, DESCRIPTION_CHARS_MAX).into()),
        ("expires_at_us", optional_microseconds(record.expires_at).into()),
    ];
    transaction.execute(Statement::update("backups", columns).push("id = ").bind(backup_id)).await?;
    for hold in &record.holds {
        transaction.execute(lifecycle::insert_found_hold(hold, record.cluster_id)).await?;
        if let Some(release) = &hold.released {
            transaction.execute(lifecycle::take_off(hold.id, release)).await?;
        }
    }
    Ok(true)
}

impl SqlCatalog {
    /// The revision is read before the holds are, so a record is never older than its revision says.
    async fn read_due(&self, row: &mut Record) -> PortResult<DueRecord> {
        let revision = count(row.integer("revision")?)?;
        let organization = NamedOrganization {
            id: id(&row.text("organization_id")?)?,
            name: row.text("organization_name")?,
        };
        let project_name = row.text("project_name")?;
        let backup = backups::read(row)?;
        let mut due =
            DueRecord { repository_id: backup.repository_id, record: None, backup_id: backup.id, revision };
        if backup.status != BackupStatus::Available {
            return Ok(due);
        }
        let lacks = || corrupt(format_args!("backup {} is AVAILABLE and lacks facts", backup.id));
        let facts = backup.facts.as_ref().ok_or_else(lacks)?;
        due.record = Some(BackupRecord {
            backup_id: backup.id,
            cluster_id: backup.cluster_id,
            revision,
            organization,
            project: NamedProject { id: backup.project_id, name: project_name },
            completed_at: backup.completed_at.ok_or_else(lacks)?,
            newly_stored_bytes: facts.newly_stored_bytes,
            reused_object_count: facts.reused_object_count,
            created_at: backup.created_at,
            expires_at: backup.expires_at,
            holds: self.holds(backup.id).await?,
            name: backup.name,
            description: backup.description,
        });
        Ok(due)
    }
}

/// A name that no other cluster has: the end of the id is behind it.
fn distinguished(cluster: &Cluster) -> String {
    let printed = cluster.id.to_string();
    let digits = &printed[printed.len() - ID_DIGITS..];
    format!("{}-{digits}", bounded(&cluster.name, NAME_CHARS_MAX - ID_DIGITS - 1))
}

const SELECT: &str = "SELECT backups.*, backup_records.revision, organizations.id AS organization_id, \
                      organizations.name AS organization_name, projects.name AS project_name \
                      FROM backup_records JOIN backups ON backups.id = backup_records.backup_id \
                      JOIN projects ON projects.id = backups.project_id \
                      JOIN organizations ON organizations.id = projects.organization_id \
                      WHERE backup_records.written < backup_records.revision";

pub(crate) fn select_due(after: Option<BackupId>, limit: u32) -> Statement {
    let statement = Statement::new(SELECT);
    let statement = match after {
        Some(after) => statement.push(" AND backup_records.backup_id > ").bind(after.to_string()),
        None => statement,
    };
    statement.push(" ORDER BY backup_records.backup_id LIMIT ").bind(i64::from(limit))
}

pub(crate) fn select_due_of(backup_id: BackupId) -> Statement {
    Statement::new(SELECT).push(" AND backup_records.backup_id = ").bind(backup_id.to_string())
}

/// The cluster in service that has a name.
pub(crate) fn select_named(project_id: ProjectId, name: &str) -> Statement {
    Statement::new("SELECT id FROM clusters WHERE project_id = ")
        .bind(project_id.to_string())
        .push(" AND name = ")
        .bind(name)
        .push(" AND removed_at_us IS NULL")
}

/// Says that a backup changed in a way that its record tells. In the transaction of the change.
pub(crate) fn changed(backup_id: BackupId) -> Statement {
    Statement::insert(
        "backup_records",
        [("backup_id", backup_id.to_string().into()), ("revision", 1.into()), ("written", 0.into())],
    )
    .push(" ON CONFLICT (backup_id) DO UPDATE SET revision = backup_records.revision + 1")
}

/// Says so of every available automatic backup of a cluster.
pub(crate) fn automatic_changed(cluster_id: ClusterId) -> Statement {
    Statement::new("INSERT INTO backup_records (backup_id, revision, written) SELECT id, 1, 0 FROM backups WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND status = 'AVAILABLE' AND creation_method = 'AUTO' ON CONFLICT (backup_id) DO UPDATE SET revision = backup_records.revision + 1")
}

/// The row of a backup that was found together with a record of this revision, or without any. Nothing is due: what
/// was just read need not be written.
pub(crate) fn insert_found(backup_id: BackupId, revision: u64) -> PortResult<Statement> {
    let revision = figure("revision", revision.max(1))?;
    Ok(Statement::insert(
        "backup_records",
        [
            ("backup_id", backup_id.to_string().into()),
            ("revision", revision.into()),
            ("written", revision.into()),
        ],
    )
    .push(" ON CONFLICT (backup_id) DO NOTHING"))
}
