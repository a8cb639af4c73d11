//! Keeps the records beside manifests, and those of policies, up to date, so that a repository alone can replace a lost catalog.
//!
//! The catalog counts the changes of each backup and each policy; a record carries the count. Writing one twice, late, or from two
//! servers at once is harmless: the highest count is never older than the catalog was when it was counted.

use crate::core::Core;
use crate::sweep::open;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::ports::{BackupRepository, DuePolicy, DueRecord, PortError, PortResult};
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

/// Writes the record of a policy that has just changed. Failures are logged: [`write_due`] tries again.
pub(crate) async fn write_policy_now(core: &Core, cluster_id: ClusterId) {
    let write = async {
        match core.deps.catalog.due_policy(cluster_id).await? {
            Some(due) => {
                let repository = open(core, due.repository_id).await?;
                write_policy(core, repository.as_ref(), &due).await
            }
            None => Ok(()),
        }
    };
    match tokio::time::timeout(WRITE_TIME_MAX, write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%cluster_id, %error, "a policy is written to the repository later"),
        Err(_) => {
            tracing::warn!(%cluster_id, "a policy is written to the repository later: it is slow");
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
    let mut opened = Opened::default();
    // Policies first: they are few, and keep rules depend on them.
    let mut after = None;
    loop {
        let batch = core.deps.catalog.due_policies(after, BATCH_MAX).await?;
        for due in &batch {
            let Some(repository) = opened.get(core, due.repository_id).await else { continue };
            if let Err(error) = write_policy(core, repository.as_ref(), due).await {
                opened.leave_alone(due.repository_id, &error);
            }
        }
        after = batch.last().map(|due| due.record.cluster_id);
        if batch.len() < BATCH_MAX as usize {
            break;
        }
    }
    let mut after = None;
    loop {
        let batch = core.deps.catalog.due_records(after, BATCH_MAX).await?;
        for due in &batch {
            let Some(repository) = opened.get(core, due.repository_id).await else { continue };
            if let Err(error) = write(core, repository.as_ref(), due).await {
                opened.leave_alone(due.repository_id, &error);
            }
        }
        after = batch.last().map(|due| due.backup_id);
        if batch.len() < BATCH_MAX as usize {
            return Ok(());
        }
    }
}

/// The repositories of one look at all records; `None` for those that failed.
#[derive(Default)]
struct Opened(HashMap<RepositoryId, Option<Arc<dyn BackupRepository>>>);

impl Opened {
    async fn get(&mut self, core: &Core, id: RepositoryId) -> Option<Arc<dyn BackupRepository>> {
        match self.0.entry(id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let repository = open(core, id).await.inspect_err(|error| postponed(id, error)).ok();
                unknown.insert(repository).clone()
            }
        }
    }

    fn leave_alone(&mut self, id: RepositoryId, error: &PortError) {
        postponed(id, error);
        self.0.insert(id, None);
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

async fn write_policy(core: &Core, repository: &dyn BackupRepository, due: &DuePolicy) -> PortResult<()> {
    repository.write_policy(&due.record).await?;
    core.deps.catalog.note_policy(due.record.cluster_id, due.record.revision).await
}
