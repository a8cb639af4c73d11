//! Backups that were found in a repository which another catalog filled.

use crate::database::{Database, Statement, Transaction};
use crate::model::{bounded, id};
use crate::names;
use crate::seal::Sealer;
use crate::{backups, clusters, lifecycle, recovery};
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus};
use milvault_domain::cluster::Cluster;
use milvault_domain::error::NAME_CHARS_MAX;
use milvault_domain::ids::{ClusterId, ProjectId};
use milvault_domain::lifecycle::BackupHold;
use milvault_domain::ports::{FoundBackup, PortError, PortErrorKind, PortResult};
use std::collections::BTreeSet;

/// Backups that one transaction adds. What a backup shows can be megabytes, and others wait meanwhile.
const TRANSACTION_BACKUPS_MAX: usize = 16;
/// Refused clusters that an error names.
const NAMED_CLUSTERS_MAX: usize = 10;

/// A backup with what is written of it, made before its transaction begins.
struct Prepared {
    backup: Backup,
    facts: BackupFacts,
    contents_json: String,
    holds: Vec<BackupHold>,
    record_revision: u64,
}

/// Adds the backups that are not known, in several transactions: repeating the call after a failure adds the rest.
pub(crate) async fn insert_all(
    database: &dyn Database,
    sealer: &Sealer,
    found: &[FoundBackup],
) -> PortResult<u32> {
    for backup in found {
        facts(backup)?;
    }
    let mut added = 0;
    let mut refused = BTreeSet::new();
    for chunk in found.chunks(TRANSACTION_BACKUPS_MAX) {
        let prepared = chunk.iter().map(prepare).collect::<PortResult<Vec<_>>>()?;
        let mut transaction = database.begin().await?;
        for backup in prepared {
            if is_of_project(&mut *transaction, sealer, &backup.backup).await? {
                added += u32::from(insert(&mut *transaction, backup).await?);
            } else {
                refused.insert(backup.backup.cluster_id);
            }
        }
        transaction.commit().await?;
    }
    if refused.is_empty() { Ok(added) } else { Err(belong_elsewhere(&refused, added)) }
}

fn facts(found: &FoundBackup) -> PortResult<&BackupFacts> {
    found.backup.facts.as_ref().filter(|_| found.backup.status == BackupStatus::Available).ok_or_else(|| {
        PortError::new(
            PortErrorKind::InvalidInput,
            format!("found backup {} must be AVAILABLE, with its facts", found.backup.id),
        )
    })
}

/// Texts come from a manifest that nobody here checked, so they are cut to what they may be.
fn prepare(found: &FoundBackup) -> PortResult<Prepared> {
    let mut backup = found.backup.clone();
    let mut facts = facts(found)?.clone();
    facts.milvus_version = bounded(&facts.milvus_version, NAME_CHARS_MAX);
    backup.name = bounded(&backup.name, NAME_CHARS_MAX);
    backup.cluster_name = bounded(&backup.cluster_name, NAME_CHARS_MAX);
    Ok(Prepared {
        backup,
        facts,
        contents_json: backups::contents_json(&found.contents)?,
        holds: found.holds.clone(),
        record_revision: found.record_revision,
    })
}

/// Whether a backup's cluster belongs to the backup's project. A cluster that nobody knows gets a row that says so.
async fn is_of_project(
    transaction: &mut dyn Transaction,
    sealer: &Sealer,
    backup: &Backup,
) -> PortResult<bool> {
    if let Some(project_id) = project_of(transaction, backup.cluster_id).await? {
        return Ok(project_id == backup.project_id);
    }
    transaction.execute(clusters::insert_unknown(sealer, &Cluster::unregistered(backup))?).await?;
    // Another transaction may have been quicker.
    Ok(project_of(transaction, backup.cluster_id).await? == Some(backup.project_id))
}

async fn project_of(
    transaction: &mut dyn Transaction,
    cluster_id: ClusterId,
) -> PortResult<Option<ProjectId>> {
    let rows = transaction.query(clusters::select_project(cluster_id)).await?;
    rows.into_iter().next().map(|mut row| id(&row.text("project_id")?)).transpose()
}

/// Adds a backup unless its id is known. Returns whether it did.
async fn insert(transaction: &mut dyn Transaction, prepared: Prepared) -> PortResult<bool> {
    let Prepared { backup, facts, contents_json, holds, record_revision } = prepared;
    let completed_at = backup.completed_at.unwrap_or(backup.created_at);
    // Its name may have been given to another one meanwhile.
    let name = names::distinct(transaction, backup.cluster_id, backup.id, &backup.name).await?;
    let creating = Backup { status: BackupStatus::Creating, name, ..backup };
    if transaction.execute(insert_if_unknown(&creating)?).await? == 0 {
        return Ok(false);
    }
    transaction.execute(backups::make_available(creating.id, &facts, completed_at)?).await?;
    transaction.execute(backups::insert_contents(creating.id, contents_json)).await?;
    for hold in holds.iter().filter(|hold| hold.backup_id == creating.id) {
        transaction.execute(lifecycle::insert_found_hold(hold, creating.cluster_id)).await?;
    }
    transaction.execute(recovery::insert_found(creating.id, record_revision)?).await?;
    Ok(true)
}

fn insert_if_unknown(backup: &Backup) -> PortResult<Statement> {
    Ok(backups::insert(backup)?.push(" ON CONFLICT (id) DO NOTHING"))
}

fn belong_elsewhere(refused: &BTreeSet<ClusterId>, added: u32) -> PortError {
    let names: Vec<_> = refused.iter().take(NAMED_CLUSTERS_MAX).map(ToString::to_string).collect();
    let more = refused.len().saturating_sub(NAMED_CLUSTERS_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    PortError::new(
        PortErrorKind::Conflict,
        format!(
            "clusters of another project made some of the backups, which were left out: {}{more}; attach the repository in that project; {added} other backups were added",
            names.join(", ")
        ),
    )
}
