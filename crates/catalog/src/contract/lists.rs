//! Order and pages of lists.

use super::Home;
use super::samples::{FIRST_PAGE, World, at, automatic_backup, manual_backup, repository, uuid};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::RepositoryId;
use milvault_domain::job::JobState;
use milvault_domain::ports::{
    BackupFilter, ClusterFilter, JobFilter, Page, PageRequest, PortErrorKind, PortResult, RepositoryFilter,
    SortKey,
};
use std::sync::Arc;
use uuid::Uuid;

super::cases![
    pages_of_equal_times_miss_nothing,
    pages_stay_right_while_rows_are_added,
    clusters_and_repositories_have_pages,
    impossible_pages_are_refused,
    newest_backups_come_first,
    open_jobs_come_oldest_first,
];

/// Walks a list page by page and returns the ids in the order seen.
async fn walk<T, F>(limit: u32, fetch: impl Fn(PageRequest) -> F, key: impl Fn(&T) -> SortKey) -> Vec<Uuid>
where
    F: Future<Output = PortResult<Page<T>>>,
{
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = fetch(PageRequest { limit, after }).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        assert!(!page.has_more || page.items.len() == limit as usize);
        seen.extend(page.items.iter().map(|item| key(item).id));
        match page.items.last() {
            Some(last) if page.has_more => after = Some(key(last)),
            _ => return seen,
        }
    }
}

async fn pages_of_equal_times_miss_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let (mut backup_ids, mut job_ids) = (Vec::new(), Vec::new());
    for _ in 0..250 {
        let new = automatic_backup(&world.cluster);
        world.add(&new).await;
        backup_ids.push(new.backup.id.as_uuid());
        job_ids.push(new.job.id.as_uuid());
    }
    backup_ids.sort_by(|a, b| b.cmp(a));
    job_ids.sort_by(|a, b| b.cmp(a));
    let backups = BackupFilter { cluster_id: Some(world.cluster.id), ..BackupFilter::default() };
    let jobs = JobFilter { project_ids: Some(vec![world.project_id]), ..JobFilter::default() };
    for limit in [7, 50, 125, 200] {
        let seen = walk(
            limit,
            |page| world.catalog.backups(&backups, page),
            |backup| SortKey { created_at: backup.created_at, id: backup.id.as_uuid() },
        )
        .await;
        assert_eq!(seen, backup_ids, "pages of {limit}");
        let seen = walk(
            limit,
            |page| world.catalog.jobs(&jobs, page),
            |job| SortKey { created_at: job.created_at, id: job.id.as_uuid() },
        )
        .await;
        assert_eq!(seen, job_ids, "pages of {limit}");
    }
}

async fn pages_stay_right_while_rows_are_added(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut ids = Vec::new();
    for seconds in 0..4 {
        let mut new = automatic_backup(&world.cluster);
        new.backup.created_at = at(seconds);
        world.add(&new).await;
        ids.push(new.backup.id);
    }
    let filter = BackupFilter::default();
    let first = world.catalog.backups(&filter, PageRequest { limit: 2, after: None }).await.unwrap();
    let mut newer = automatic_backup(&world.cluster);
    newer.backup.created_at = at(100);
    world.add(&newer).await;
    let last = first.items.last().unwrap();
    let after = Some(SortKey { created_at: last.created_at, id: last.id.as_uuid() });
    let second = world.catalog.backups(&filter, PageRequest { limit: 2, after }).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&second.items).map(|backup| backup.id).collect();
    ids.reverse();
    assert_eq!(seen, ids);
    assert_eq!((first.has_more, second.has_more), (true, false));
}

async fn clusters_and_repositories_have_pages(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let (mut clusters, mut repositories) =
        (vec![world.cluster.id.as_uuid()], vec![world.repository.id.as_uuid()]);
    for number in 0..5 {
        clusters.push(world.add_cluster(&format!("cluster {number}")).await.id.as_uuid());
        let repository = repository(world.project_id, &format!("repository {number}"));
        world.catalog.insert_repository(&repository).await.unwrap();
        repositories.push(repository.id.as_uuid());
    }
    clusters.reverse();
    repositories.reverse();
    let seen = walk(
        2,
        |page| {
            world.catalog.clusters(&const { ClusterFilter { project_ids: None, name_contains: None } }, page)
        },
        |cluster| SortKey { created_at: cluster.created_at, id: cluster.id.as_uuid() },
    )
    .await;
    assert_eq!(seen, clusters);
    let seen = walk(
        2,
        |page| world.catalog.repositories(&const { RepositoryFilter { project_ids: None } }, page),
        |repository| SortKey { created_at: repository.created_at, id: repository.id.as_uuid() },
    )
    .await;
    assert_eq!(seen, repositories);
}

async fn impossible_pages_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for limit in [0, PageRequest::LIMIT_MAX + 1] {
        let page = PageRequest { limit, after: None };
        let error = world.catalog.jobs(&JobFilter::default(), page).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    }
    assert!(world.catalog.jobs(&JobFilter::default(), FIRST_PAGE).await.unwrap().items.is_empty());
}

async fn newest_backups_come_first(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let neighbour = world.add_cluster("neighbour").await;
    let mut ids = Vec::new();
    for seconds in [10, 30, 20] {
        let mut new = automatic_backup(&world.cluster);
        new.backup.created_at = at(seconds);
        world.add_available(&new).await;
        ids.push(new.backup.id);
    }
    let creating = manual_backup(&world.cluster);
    world.add(&creating).await;
    world.add_available(&manual_backup(&neighbour)).await;

    let newest = |repository_id, status, limit| {
        world.catalog.newest_backups(world.cluster.id, repository_id, status, limit)
    };
    let here = world.repository.id;
    assert_eq!(newest(here, BackupStatus::Available, 2).await.unwrap(), [ids[1], ids[2]]);
    assert_eq!(newest(here, BackupStatus::Available, 9).await.unwrap(), [ids[1], ids[2], ids[0]]);
    assert_eq!(newest(here, BackupStatus::Creating, 9).await.unwrap(), [creating.backup.id]);
    let elsewhere = RepositoryId::from_uuid(uuid());
    assert!(newest(elsewhere, BackupStatus::Available, 9).await.unwrap().is_empty());
}

async fn open_jobs_come_oldest_first(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    assert!(world.catalog.open_jobs().await.unwrap().is_empty());
    let mut jobs = Vec::new();
    for (seconds, ways) in [
        (30, vec![JobState::InProgress]),
        (10, vec![]),
        (20, vec![JobState::InProgress, JobState::Canceling]),
        (5, vec![JobState::Canceled]),
        (6, vec![JobState::InProgress, JobState::Failed]),
    ] {
        let mut new = automatic_backup(&world.cluster);
        new.job.created_at = at(seconds);
        world.add(&new).await;
        for state in ways {
            world.catalog.transition_job(new.job.id, state, None, at(40)).await.unwrap();
        }
        jobs.push(world.job(new.job.id).await);
    }
    let open = world.catalog.open_jobs().await.unwrap();
    assert_eq!(open, [jobs[1].clone(), jobs[2].clone(), jobs[0].clone()]);
}
