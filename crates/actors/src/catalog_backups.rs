//! The daily backup of the catalog itself, into a repository. Of all servers that share the catalog one makes it: the
//! one whose claim on the day is in the catalog first.

use crate::core::Core;
use crate::error::ServiceError;
use crate::sweep::open;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::ids::RepositoryId;
use milvault_domain::ports::{
    BackupRepository, CatalogBackup, CatalogBackupClaim, PageRequest, PortError, PortErrorKind, PortResult,
    RepositoryFilter,
};
use milvault_domain::recovery::NamedOrganization;
use milvault_domain::repository::Repository;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After this a backup that did not succeed may be tried again, by whatever server.
const TAKEN_OVER_AFTER: TimeDelta = TimeDelta::hours(1);
/// Longest time for one backup; shorter than what it may be taken over after.
const TIME_MAX: Duration = Duration::from_mins(50);
/// After this without a backup something is wrong that will not pass by itself.
const OVERDUE_AFTER: TimeDelta = TimeDelta::days(2);
/// Characters of a file's name that are its day.
const DAY_CHARS: usize = 8;
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
        tokio::select! {
            () = stop.cancelled() => return,
            made = back_up_when_due(&core) => made.unwrap_or_else(|error| failed(&error)),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = look_whether_overdue(&core) => {}
        }
    }
}

/// Counter by `outcome` (`MADE`, `FAILED`): backups of the catalog.
const CATALOG_BACKUPS: &str = "milvault_catalog_backups_total";
/// Gauge: 1 while the catalog was not backed up for [`OVERDUE_AFTER`], else 0.
const OVERDUE: &str = "milvault_catalog_backup_overdue";

fn failed(error: &PortError) {
    metrics::counter!(CATALOG_BACKUPS, "outcome" => "FAILED").increment(1);
    tracing::error!(%error, "the catalog was not backed up; tried again in an hour");
}

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
    let claim = new_claim(core, &organization, &repository, Some(day));
    if catalog.claim_catalog_backup(&claim).await? {
        make(core, &repository, &claim).await?;
    }
    Ok(())
}

/// Begins a backup of the catalog that somebody asks for, whether or not the daily ones are made; it goes on when this
/// returns. While one is at work, that is the answer.
///
/// # Errors
/// `NotFound` for the repository; `Conflict` while there is none.
pub(crate) async fn begin(
    core: &Arc<Core>,
    repository_id: Option<RepositoryId>,
) -> Result<CatalogBackup, ServiceError> {
    let catalog = &core.deps.catalog;
    let repository = match repository_id {
        Some(id) => catalog
            .repository(id)
            .await?
            .ok_or_else(|| ServiceError::NotFound { kind: "repository", id: id.to_string() })?,
        None => chosen(core, core.settings.catalog_backup.repository.as_deref())
            .await?
            .ok_or_else(|| conflict("there is no repository yet that a backup could go to"))?,
    };
    let organization = catalog.organization().await?.ok_or_else(|| conflict("the catalog is empty"))?;
    let claim = new_claim(core, &organization, &repository, None);
    if !catalog.claim_catalog_backup(&claim).await? {
        let latest = catalog.catalog_backups(LOOKED_AT).await?;
        let at_work = latest.into_iter().find(|made| made.ended_at.is_none());
        return at_work
            .ok_or_else(|| conflict("another backup of the catalog has just ended; look at it first"));
    }
    let begun = CatalogBackup {
        name: claim.name.clone(),
        repository_id: repository.id,
        day: None,
        started_at: claim.now,
        ended_at: None,
        size_bytes: None,
        failure: None,
    };
    let worker = Arc::clone(core);
    core.io.spawn(async move {
        if let Err(error) = make(&worker, &repository, &claim).await {
            metrics::counter!(CATALOG_BACKUPS, "outcome" => "FAILED").increment(1);
            tracing::error!(%error, "the catalog was not backed up as somebody asked");
        }
        look_whether_overdue(&worker).await;
    });
    Ok(begun)
}

fn conflict(message: &str) -> ServiceError {
    ServiceError::Conflict { message: message.to_owned(), job_id: None }
}

/// Whether a backup that was not ended can still be. Whoever began an older one is gone.
#[must_use]
pub fn catalog_backup_is_at_work(backup: &CatalogBackup, now: DateTime<Utc>) -> bool {
    backup.ended_at.is_none() && now - backup.started_at < TAKEN_OVER_AFTER
}

fn new_claim(
    core: &Core,
    organization: &NamedOrganization,
    repository: &Repository,
    day: Option<i64>,
) -> CatalogBackupClaim {
    let now = core.deps.clock.now();
    let digits = core.deps.ids.new_uuid().simple().to_string();
    let (time, digits) = (now.format("%Y%m%dT%H%M%SZ"), &digits[digits.len() - 8..]);
    let name = format!("{}/{time}-{digits}", organization.id);
    let stale_before = now.checked_sub_signed(TAKEN_OVER_AFTER).unwrap_or(now);
    CatalogBackupClaim { name, repository_id: repository.id, day, now, stale_before }
}

/// Makes what is claimed, and removes what is not kept.
async fn make(core: &Core, repository: &Repository, claim: &CatalogBackupClaim) -> PortResult<()> {
    let name = &claim.name;
    let made = tokio::time::timeout(TIME_MAX, write(core, repository, name, claim.now)).await;
    let made = made.unwrap_or_else(|_| Err(PortError::new(PortErrorKind::Unavailable, "it took too long")));
    let outcome = made.as_ref().map(|(size, _)| *size).map_err(ToString::to_string);
    core.deps.catalog.end_catalog_backup(name, outcome, core.deps.clock.now()).await?;
    let (size_bytes, opened) = made?;
    metrics::counter!(CATALOG_BACKUPS, "outcome" => "MADE").increment(1);
    tracing::info!(repository_id = %repository.id, size_bytes, "the catalog is backed up");
    prune(opened.as_ref(), name, core.settings.catalog_backup.keep).await
}

/// Notes whether the catalog was not backed up for long.
async fn look_whether_overdue(core: &Core) {
    let now = core.deps.clock.now();
    let since = if core.settings.catalog_backup.enabled {
        match core.deps.catalog.catalog_backed_up_at().await {
            Ok(since) => since,
            // Whether the catalog answers is looked at elsewhere.
            Err(_) => return,
        }
    } else {
        None
    };
    let overdue = since.is_some_and(|since| OVERDUE_AFTER < now - since);
    if overdue && !core.catalog_backup_overdue.swap(overdue, Ordering::Relaxed) {
        tracing::error!(?since, "the catalog was not backed up for more than two days");
    }
    core.catalog_backup_overdue.store(overdue, Ordering::Relaxed);
    metrics::gauge!(OVERDUE).set(if overdue { 1.0 } else { 0.0 });
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

/// Removes what is not kept of this organization's backups.
async fn prune(repository: &dyn BackupRepository, newest: &str, keep: usize) -> PortResult<()> {
    let directory = newest.split_once('/').map_or(newest, |(directory, _)| directory);
    let mut names = repository.catalog_backups().await?;
    names.retain(|name| name.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')));
    for name in surplus(names, keep.max(1)) {
        repository.remove_catalog_backup(&name).await?;
    }
    Ok(())
}

/// Of the latest days one backup each is kept, and of all the latest: those that somebody asks for drive out no day.
/// Names begin with the time behind the directory.
fn surplus(mut names: Vec<String>, keep: usize) -> Vec<String> {
    names.sort_unstable_by(|a, b| b.cmp(a));
    let day =
        |name: &str| name.split_once('/').map(|(_, file)| file.chars().take(DAY_CHARS).collect::<String>());
    let mut days = BTreeSet::new();
    let mut surplus = Vec::new();
    for (position, name) in names.into_iter().enumerate() {
        let is_last_of_day = days.len() < keep && days.insert(day(&name));
        if keep <= position && !is_last_of_day {
            surplus.push(name);
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_on_demand_drive_out_no_day() {
        let name = |day: u32, hour: u32| format!("org/202611{day:02}T{hour:02}0000Z-00000000");
        let daily: Vec<_> = (1..=5).map(|day| name(day, 3)).collect();
        assert_eq!(surplus(daily.clone(), 5), Vec::<String>::new());
        assert_eq!(surplus(daily.clone(), 3), [name(2, 3), name(1, 3)]);
        let asked: Vec<_> = (4..14).map(|hour| name(5, hour)).collect();
        let gone = surplus([daily, asked].concat(), 3);
        // The three latest of all, and one of each of the three latest days.
        let stay = [name(5, 13), name(5, 12), name(5, 11), name(4, 3), name(3, 3)];
        assert_eq!(gone.len(), 10);
        assert!(stay.iter().all(|kept| !gone.contains(kept)), "{gone:?}");
    }

    #[test]
    fn a_day_begins_at_its_hour() {
        let at = |seconds| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds);
        assert_eq!(day_of(at(3 * 3_600 - 1), 3), -1);
        assert_eq!(day_of(at(3 * 3_600), 3), 0);
        assert_eq!(day_of(at(27 * 3_600 - 1), 3), 0);
        assert_eq!(day_of(at(86_400), 0), 1);
    }
}
