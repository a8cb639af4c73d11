//! The daily backup of the catalog itself, into a repository. Of all servers that share the catalog one makes it: the
//! one whose claim on the day is in the catalog first.

use crate::core::Core;
use crate::sweep::open;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::ports::{
    BackupRepository, CatalogBackupClaim, PageRequest, PortError, PortErrorKind, PortResult, RepositoryFilter,
};
use milvault_domain::repository::Repository;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After this a backup that did not succeed may be tried again, by whatever server.
const TAKEN_OVER_AFTER: TimeDelta = TimeDelta::hours(1);
/// Longest time for one backup; shorter than what it may be taken over after.
const TIME_MAX: Duration = Duration::from_mins(50);
/// The latest backups in which that of the day is looked for.
const LOOKED_AT: u32 = 5;

/// How backups of the catalog are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogBackupSettings {
    /// Whether they are.
    pub enabled: bool,
    /// Name or id of the repository; `None` is the one that was registered first.
    pub repository: Option<String>,
    /// Hour of the day (UTC) that the day's backup is made after.
    pub hour: u32,
    /// How many are kept.
    pub keep: usize,
}

impl Default for CatalogBackupSettings {
    fn default() -> Self {
        Self { enabled: true, repository: None, hour: 3, keep: 14 }
    }
}

/// Looks now and then whether the day's backup is due. Failures are logged, recorded, and tried again in an hour.
pub(crate) async fn watch(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(core.settings.reconcile_interval) => {}
        }
        let made = tokio::select! {
            () = stop.cancelled() => return,
            made = back_up_when_due(&core) => made,
        };
        if let Err(error) = made {
            metrics::counter!(CATALOG_BACKUPS, "outcome" => "FAILED").increment(1);
            tracing::error!(%error, "the catalog was not backed up; tried again in an hour");
        }
    }
}

/// Counter by `outcome` (`MADE`, `FAILED`): backups of the catalog.
const CATALOG_BACKUPS: &str = "milvault_catalog_backups_total";

async fn back_up_when_due(core: &Core) -> PortResult<()> {
    let settings = &core.settings.catalog_backup;
    if !settings.enabled {
        return Ok(());
    }
    let catalog = &core.deps.catalog;
    let now = core.deps.clock.now();
    let day = day_of(now, settings.hour);
    let latest = catalog.catalog_backups(LOOKED_AT).await?;
    let of_today = |at| day_of(at, settings.hour) == day;
    if latest.iter().any(|made| made.size_bytes.is_some() && of_today(made.started_at)) {
        return Ok(());
    }
    let (Some(organization), Some(repository)) =
        (catalog.organization().await?, chosen(core, settings.repository.as_deref()).await?)
    else {
        return Ok(());
    };
    let directory = organization.id.to_string();
    let digits = core.deps.ids.new_uuid().simple().to_string();
    let name = format!("{directory}/{}-{}", now.format("%Y%m%dT%H%M%SZ"), &digits[digits.len() - 8..]);
    let stale_before = now.checked_sub_signed(TAKEN_OVER_AFTER).unwrap_or(now);
    let claim =
        CatalogBackupClaim { name: name.clone(), repository_id: repository.id, day, now, stale_before };
    if !catalog.claim_catalog_backup(&claim).await? {
        return Ok(());
    }
    let made = tokio::time::timeout(TIME_MAX, write(core, &repository, &name, now)).await;
    let made = made.unwrap_or_else(|_| Err(PortError::new(PortErrorKind::Unavailable, "it took too long")));
    let outcome = made.as_ref().map(|(size, _)| *size).map_err(ToString::to_string);
    catalog.end_catalog_backup(&name, outcome, core.deps.clock.now()).await?;
    let (size_bytes, opened) = made?;
    metrics::counter!(CATALOG_BACKUPS, "outcome" => "MADE").increment(1);
    tracing::info!(repository_id = %repository.id, size_bytes, "the catalog is backed up");
    prune(opened.as_ref(), &directory, settings.keep).await
}

/// Days since 1970-01-01, each beginning at this hour.
fn day_of(at: DateTime<Utc>, hour: u32) -> i64 {
    (at.timestamp() - i64::from(hour) * 3_600).div_euclid(86_400)
}

/// The repository that backups of the catalog go to; `None` while there is none.
async fn chosen(core: &Core, named: Option<&str>) -> PortResult<Option<Repository>> {
    let page = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
    let all = core.deps.catalog.repositories(&RepositoryFilter::default(), page).await?.items;
    let Some(named) = named else {
        return Ok(all.into_iter().min_by_key(|known| (known.created_at, known.id)));
    };
    let found = all.into_iter().find(|known| known.name == named || known.id.to_string() == named);
    let missing = || {
        let message = format!("there is no repository \"{named}\"; see catalog.backup_repository");
        PortError::new(PortErrorKind::NotFound, message)
    };
    found.map(Some).ok_or_else(missing)
}

async fn write(
    core: &Core,
    repository: &Repository,
    name: &str,
    now: DateTime<Utc>,
) -> PortResult<(u64, Arc<dyn BackupRepository>)> {
    let opened = open(core, repository.id).await?;
    let mut file = opened.create_catalog_backup(name).await?;
    let size_bytes = core.deps.catalog.export(now, file.as_mut()).await?;
    file.finish().await?;
    Ok((size_bytes, opened))
}

/// Removes all but the newest backups of this organization's catalog. Their names begin with the time.
async fn prune(repository: &dyn BackupRepository, directory: &str, keep: usize) -> PortResult<()> {
    let mut names = repository.catalog_backups().await?;
    names.retain(|name| name.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')));
    names.sort_unstable();
    let surplus = names.len().saturating_sub(keep.max(1));
    for name in &names[..surplus] {
        repository.remove_catalog_backup(name).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_its_hour() {
        let at = |seconds| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds);
        assert_eq!(day_of(at(3 * 3_600 - 1), 3), -1);
        assert_eq!(day_of(at(3 * 3_600), 3), 0);
        assert_eq!(day_of(at(27 * 3_600 - 1), 3), 0);
        assert_eq!(day_of(at(86_400), 0), 1);
    }
}
