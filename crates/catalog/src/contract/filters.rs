//! Filters of lists.

use super::Home;
use super::samples::{FIRST_PAGE, World, at, automatic_backup, manual_backup, repository, uuid};
use milvault_domain::backup::{BackupScope, BackupStatus, BackupType, CollectionName, CreationMethod};
use milvault_domain::ids::{BackupId, ClusterId, JobId, ProjectId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::lifecycle::BackupChange;
use milvault_domain::ports::{
    BackupFilter, ClusterFilter, JobFilter, PageRequest, PortErrorKind, RepositoryFilter, SortKey,
};
use std::sync::Arc;

super::cases![
    backups_are_filtered_by_each_field,
    deleted_backups_are_listed_only_when_asked_for,
    jobs_are_filtered_by_each_field,
    clusters_and_repositories_are_filtered,
    names_are_searched_as_they_are_written,
    jobs_are_found_by_names_and_words_of_them,
    jobs_with_a_name_have_pages,
    jobs_of_an_older_catalog_have_names,
    too_long_filters_are_refused,
];

async fn backup_ids(world: &World, filter: BackupFilter) -> Vec<BackupId> {
    let page = world.catalog.backups(&filter, FIRST_PAGE).await.unwrap();
    assert!(!page.has_more);
    page.items.into_iter().map(|backup| backup.id).collect()
}

async fn backups_are_filtered_by_each_field(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let neighbour = world.add_cluster("neighbour").await;
    let mut first = manual_backup(&world.cluster);
    first.backup.created_at = at(1);
    let mut second = automatic_backup(&world.cluster);
    second.backup.created_at = at(2);
    second.backup.name = String::from("Nightly");
    second.backup.scope = BackupScope::Databases(vec![String::from("default")]);
    let mut third = automatic_backup(&neighbour);
    third.backup.created_at = at(3);
    third.backup.scope = BackupScope::Collections(vec![CollectionName {
        database: String::from("default"),
        collection: String::from("books"),
    }]);
    world.add_available(&first).await;
    world.add(&second).await;
    world.add(&third).await;
    world.catalog.transition_job(third.job.id, JobState::Canceled, None, at(4)).await.unwrap();
    let [a, b, c] = [first.backup.id, second.backup.id, third.backup.id];

    let all = BackupFilter::default;
    let unknown = ProjectId::from_uuid(uuid());
    for (filter, expected) in [
        (all(), vec![c, b, a]),
        (BackupFilter { project_ids: Some(vec![world.project_id]), ..all() }, vec![c, b, a]),
        (BackupFilter { project_ids: Some(vec![unknown, world.project_id]), ..all() }, vec![c, b, a]),
        (BackupFilter { project_ids: Some(vec![unknown]), ..all() }, vec![]),
        (BackupFilter { project_ids: Some(vec![]), ..all() }, vec![]),
        (BackupFilter { cluster_id: Some(world.cluster.id), ..all() }, vec![b, a]),
        (BackupFilter { cluster_id: Some(ClusterId::from_uuid(uuid())), ..all() }, vec![]),
        (BackupFilter { status: Some(BackupStatus::Available), ..all() }, vec![a]),
        (BackupFilter { status: Some(BackupStatus::Creating), ..all() }, vec![b]),
        (BackupFilter { status: Some(BackupStatus::Failed), ..all() }, vec![c]),
        (BackupFilter { status: Some(BackupStatus::Deleted), ..all() }, vec![]),
        (BackupFilter { backup_type: Some(BackupType::Cluster), ..all() }, vec![a]),
        (BackupFilter { backup_type: Some(BackupType::Database), ..all() }, vec![b]),
        (BackupFilter { backup_type: Some(BackupType::Collection), ..all() }, vec![c]),
        (BackupFilter { creation_method: Some(CreationMethod::Manual), ..all() }, vec![a]),
        (BackupFilter { creation_method: Some(CreationMethod::Auto), ..all() }, vec![c, b]),
        (BackupFilter { created_from: Some(at(2)), ..all() }, vec![c, b]),
        (BackupFilter { created_before: Some(at(2)), ..all() }, vec![a]),
        (BackupFilter { created_from: Some(at(2)), created_before: Some(at(3)), ..all() }, vec![b]),
        (BackupFilter { name_contains: Some(String::from("NIGHT")), ..all() }, vec![b]),
        (
            BackupFilter {
                cluster_id: Some(world.cluster.id),
                creation_method: Some(CreationMethod::Auto),
                backup_type: Some(BackupType::Database),
                ..all()
            },
            vec![b],
        ),
    ] {
        assert_eq!(backup_ids(&world, filter.clone()).await, expected, "{filter:?}");
    }
}

async fn deleted_backups_are_listed_only_when_asked_for(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut new = automatic_backup(&world.cluster);
    new.backup.expires_at = Some(at(10));
    world.add_available(&new).await;
    assert_eq!(world.catalog.expire_backups(at(10), 10).await.unwrap(), [new.backup.id]);
    assert!(backup_ids(&world, BackupFilter::default()).await.is_empty());
    let deleted = BackupFilter { status: Some(BackupStatus::Deleted), ..BackupFilter::default() };
    assert_eq!(backup_ids(&world, deleted).await, [new.backup.id]);
}

async fn jobs_are_filtered_by_each_field(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let neighbour = world.add_cluster("neighbour").await;
    let mut first = manual_backup(&world.cluster);
    first.job.created_at = at(1);
    let mut second = automatic_backup(&neighbour);
    second.job.created_at = at(2);
    world.add_available(&first).await;
    world.add(&second).await;
    let mut third = super::samples::verify_job(&world.cluster, first.backup.id);
    third.created_at = at(3);
    world.catalog.insert_job(&third).await.unwrap();
    world.start(third.id).await;
    let [a, b, c]: [JobId; 3] = [first.job.id, second.job.id, third.id];

    let all = JobFilter::default;
    let unknown = ProjectId::from_uuid(uuid());
    for (filter, expected) in [
        (all(), vec![c, b, a]),
        (JobFilter { project_ids: Some(vec![world.project_id]), ..all() }, vec![c, b, a]),
        (JobFilter { project_ids: Some(vec![unknown]), ..all() }, vec![]),
        (JobFilter { project_ids: Some(vec![]), ..all() }, vec![]),
        (JobFilter { cluster_id: Some(world.cluster.id), ..all() }, vec![c, a]),
        (JobFilter { backup_id: Some(first.backup.id), ..all() }, vec![c, a]),
        (JobFilter { backup_id: Some(BackupId::from_uuid(uuid())), ..all() }, vec![]),
        (JobFilter { states: Some(vec![JobState::InProgress]), ..all() }, vec![c]),
        (JobFilter { states: Some(vec![JobState::Pending, JobState::Successful]), ..all() }, vec![b, a]),
        (JobFilter { states: Some(vec![]), ..all() }, vec![]),
        (JobFilter { job_types: Some(vec![JobType::Backup]), ..all() }, vec![b, a]),
        (JobFilter { job_types: Some(vec![JobType::Verify]), ..all() }, vec![c]),
        (JobFilter { created_from: Some(at(2)), ..all() }, vec![c, b]),
        (JobFilter { created_before: Some(at(2)), ..all() }, vec![a]),
        (JobFilter { created_from: Some(at(2)), created_before: Some(at(3)), ..all() }, vec![b]),
    ] {
        let page = world.catalog.jobs(&filter, FIRST_PAGE).await.unwrap();
        let seen: Vec<_> = page.items.into_iter().map(|job| job.id).collect();
        assert_eq!(seen, expected, "{filter:?}");
    }
}

async fn clusters_and_repositories_are_filtered(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let staging = world.add_cluster("Staging").await;
    let unknown = Some(vec![ProjectId::from_uuid(uuid())]);
    let known = Some(vec![world.project_id]);
    let clusters = async |project_ids, name: Option<&str>| {
        let filter = ClusterFilter { project_ids, name_contains: name.map(str::to_owned) };
        let page = world.catalog.clusters(&filter, FIRST_PAGE).await.unwrap();
        page.items.into_iter().map(|cluster| cluster.id).collect::<Vec<_>>()
    };
    assert_eq!(clusters(None, None).await, [staging.id, world.cluster.id]);
    assert_eq!(clusters(known.clone(), Some("sTAg")).await, [staging.id]);
    assert_eq!(clusters(None, Some("")).await, [staging.id, world.cluster.id]);
    assert!(clusters(unknown.clone(), None).await.is_empty());

    let second = repository(world.project_id, "second");
    world.catalog.insert_repository(&second).await.unwrap();
    for (project_ids, expected) in [
        (None, vec![second.clone(), world.repository.clone()]),
        (known, vec![second, world.repository.clone()]),
        (unknown, vec![]),
    ] {
        let page = world.catalog.repositories(&RepositoryFilter { project_ids }, FIRST_PAGE).await.unwrap();
        assert_eq!(page.items, expected);
    }
}

async fn names_are_searched_as_they_are_written(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut ids = Vec::new();
    for (seconds, name) in
        (0..).zip(["100% of it", "1000 of it", "snake_case", "snakeXcase", "ÄPFEL", "back\\slash"])
    {
        let mut new = automatic_backup(&world.cluster);
        new.backup.name = name.to_owned();
        new.backup.created_at = at(seconds);
        world.add(&new).await;
        ids.push(new.backup.id);
    }
    for (text, expected) in [
        ("100%", vec![ids[0]]),
        ("%", vec![ids[0]]),
        ("_", vec![ids[2]]),
        ("SNAKE", vec![ids[3], ids[2]]),
        ("äpf", vec![ids[4]]),
        ("\\", vec![ids[5]]),
        ("' OR 1 = 1 --", vec![]),
    ] {
        let filter = BackupFilter { name_contains: Some(text.to_owned()), ..BackupFilter::default() };
        assert_eq!(backup_ids(&world, filter).await, expected, "{text}");
    }
}

impl World {
    async fn named(&self, name: &str, filter: JobFilter) -> Vec<JobId> {
        let project_ids = filter.project_ids.or_else(|| Some(vec![self.project_id]));
        let filter = JobFilter { project_ids, name: Some(name.to_owned()), ..filter };
        let page = self.catalog.jobs(&filter, FIRST_PAGE).await.unwrap();
        page.items.into_iter().map(|job| job.id).collect()
    }
}

async fn jobs_are_found_by_names_and_words_of_them(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let neighbour = world.add_cluster("Staging \"EU\"/2").await;
    let mut first = manual_backup(&world.cluster);
    (first.backup.name, first.job.created_at) = (String::from("production_backup1"), at(1));
    let mut second = automatic_backup(&neighbour);
    (second.backup.name, second.job.created_at) = (String::from("Ä\\pfel -- 1\u{1F4DA}"), at(2));
    world.add_available(&first).await;
    world.add(&second).await;
    let mut third = super::samples::verify_job(&world.cluster, first.backup.id);
    third.created_at = at(3);
    world.catalog.insert_job(&third).await.unwrap();
    let [a, b, c]: [JobId; 3] = [first.job.id, second.job.id, third.id];

    let all = JobFilter::default;
    for (name, expected) in [
        ("production", vec![c, a]),
        (" PRODUCTION ", vec![c, a]),
        ("production_backup1", vec![c, a]),
        ("Backup1", vec![c, a]),
        ("staging \"eu\"/2", vec![b]),
        ("\"EU\"", vec![b]),
        ("ä\\PFEL", vec![b]),
        ("1\u{1F4DA}", vec![b]),
        ("2", vec![b]),
        // No word, and no whole name.
        ("prod", vec![]),
        ("backup", vec![]),
        ("staging \"eu\"", vec![]),
        ("--", vec![]),
        ("", vec![]),
        ("%", vec![]),
    ] {
        assert_eq!(world.named(name, all()).await, expected, "{name}");
    }
    let other = Some(vec![ProjectId::from_uuid(uuid())]);
    for (filter, expected) in [
        (JobFilter { project_ids: other, ..all() }, vec![]),
        (JobFilter { cluster_id: Some(world.cluster.id), ..all() }, vec![c, a]),
        (JobFilter { cluster_id: Some(neighbour.id), ..all() }, vec![]),
        (JobFilter { backup_id: Some(first.backup.id), ..all() }, vec![c, a]),
        (JobFilter { backup_id: Some(second.backup.id), ..all() }, vec![]),
        (JobFilter { states: Some(vec![JobState::Pending]), ..all() }, vec![c]),
        (JobFilter { states: Some(vec![]), ..all() }, vec![]),
        (JobFilter { job_types: Some(vec![JobType::Backup, JobType::Drill]), ..all() }, vec![a]),
        (JobFilter { created_by: Some(third.created_by.clone()), ..all() }, vec![c, a]),
        (JobFilter { created_by: Some(String::from("nobody")), ..all() }, vec![]),
        (JobFilter { created_from: Some(at(2)), ..all() }, vec![c]),
        (JobFilter { created_before: Some(at(3)), ..all() }, vec![a]),
    ] {
        assert_eq!(world.named("production", filter.clone()).await, expected, "{filter:?}");
    }

    // A job keeps the names that are in its description.
    let change = BackupChange { name: Some(String::from("Kept for ever")), ..BackupChange::default() };
    world.catalog.update_backup(first.backup.id, &change).await.unwrap();
    assert_eq!(world.named("backup1", all()).await, [c, a]);
    assert!(world.named("kept", all()).await.is_empty());
}

async fn jobs_with_a_name_have_pages(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let other = world.add_cluster("other").await;
    let new = automatic_backup(&world.cluster);
    world.add(&new).await;
    // Several of each time, and those of another name between them.
    let mut jobs = vec![(new.job.created_at, new.job.id)];
    for number in 0..20 {
        let cluster = if number % 2 == 0 { &world.cluster } else { &other };
        let mut new = automatic_backup(cluster);
        new.job.created_at = at(number / 8);
        world.add(&new).await;
        if number % 2 == 0 {
            jobs.push((new.job.created_at, new.job.id));
        }
    }
    jobs.sort_unstable_by(|a, b| b.cmp(a));
    let project_ids = Some(vec![world.project_id, ProjectId::from_uuid(uuid())]);
    let filter = JobFilter { project_ids, name: Some(String::from("production")), ..JobFilter::default() };
    for limit in [1, 3, 11] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = world.catalog.jobs(&filter, PageRequest { limit, after }).await.unwrap();
            let last = page.items.last().unwrap();
            after = Some(SortKey { created_at: last.created_at, id: last.id.as_uuid() });
            seen.extend(page.items.iter().map(|job| (job.created_at, job.id)));
            if !page.has_more {
                break;
            }
        }
        assert_eq!(seen, jobs, "pages of {limit}");
    }
}

/// What the migration does for the jobs that it finds.
async fn jobs_of_an_older_catalog_have_names(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    home.run_statement("DELETE FROM job_names").await.unwrap();
    assert!(world.named("production", JobFilter::default()).await.is_empty());
    home.run_statement(
        "INSERT INTO job_names (id, name, project_id, cluster_id, created_at_us) \
         SELECT id, name, project_id, cluster_id, created_at_us FROM names_of_jobs WHERE TRUE ON CONFLICT DO NOTHING",
    )
    .await
    .unwrap();
    for name in ["production", "upgrade"] {
        assert_eq!(world.named(name, JobFilter::default()).await, [new.job.id], "{name}");
    }
}

async fn too_long_filters_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let project_ids = |count| Some(vec![world.project_id; count]);
    let filter = JobFilter { project_ids: project_ids(1_001), ..JobFilter::default() };
    let error = world.catalog.jobs(&filter, FIRST_PAGE).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput);
    let filter = JobFilter { project_ids: project_ids(1_000), ..JobFilter::default() };
    world.catalog.jobs(&filter, FIRST_PAGE).await.unwrap();
}
