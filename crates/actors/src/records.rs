//! Keeps the records beside manifests up to date, so that a repository alone can replace a lost catalog.
//!
//! The catalog counts the changes of each backup; a record carries the count. Writing one twice, late, or from two
//! servers at once is harmless: the highest count is never older than the catalog was when it was counted.

use crate::core::Core;
use crate::sweep::open;
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::ports::{BackupRepository, DueRecord, PortError, PortResult};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

/// Longest time that somebody who changes a backup waits for its record. It is written later then.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time of one look at all records that are due.
const RUN_TIME_MAX: Duration = Duration::from_mins(2);
/// Records that are read from the catalog at once.
const BATCH_MAX: u32 = 100;

/// Writes the record of a backup that has just changed. Failures are logged: [`write_due`] tries again.
pub(crate) async fn write_now(core: &Core, backup_id: BackupId) {
    let write = async {
        match core.deps.catalog.due_record(backup_id).await? {
            Some(due) => {
                let repository = open(core, due.repository_id).await?;
                write(core, repository.as_ref(), &due).await
            }
            None => Ok(()),
        }
    };
    match tokio::time::timeout(WRITE_TIME_MAX, write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%backup_id, %error, "a record in the repository is written later"),
        Err(_) => {
            tracing::warn!(%backup_id, "a record in the repository is written later: the repository is slow");
        }
    }
}

/// Writes all records that are due. A repository that fails is left alone until the next look.
pub(crate) async fn write_due(core: &Core) {
    match tokio::time::timeout(RUN_TIME_MAX, write_all(core)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot look which records are due; tried again later"),
        Err(_) => tracing::warn!("writing records takes long; the rest follows later"),
    }
}

async fn write_all(core: &Core) -> PortResult<()> {
    let mut opened: HashMap<RepositoryId, Option<Arc<dyn BackupRepository>>> = HashMap::new();
    let mut after = None;
    loop {
        let batch = core.deps.catalog.due_records(after, BATCH_MAX).await?;
        for due in &batch {
            let id = due.repository_id;
            let repository = match opened.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let repository = open(core, id).await.inspect_err(|error| postponed(id, error)).ok();
                    unknown.insert(repository)
                }
            };
            let Some(repository) = repository else { continue };
            if let Err(error) = write(core, repository.as_ref(), due).await {
                postponed(id, &error);
                opened.insert(id, None);
            }
        }
        let full = BATCH_MAX as usize <= batch.len();
        after = batch.last().map(|due| due.backup_id);
        if !full {
            return Ok(());
        }
    }
}

fn postponed(repository_id: RepositoryId, error: &PortError) {
    tracing::warn!(%repository_id, %error, "records cannot be written; tried again later");
}

async fn write(core: &Core, repository: &dyn BackupRepository, due: &DueRecord) -> PortResult<()> {
    if let Some(record) = &due.record {
        repository.write_record(record).await?;
    }
    core.deps.catalog.note_record(due.backup_id, due.revision).await
}
