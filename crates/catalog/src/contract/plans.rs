//! How both databases answer lists, lookups and timers when there are very many rows: along an index, whatever the
//! filter. PostgreSQL answers on the way and counts the rows that it looked at.

use super::Home;
use super::samples::{World, at, cluster, repository, sealer, uuid};
use crate::scale::{Question, ScaleCatalog, Shape};
use milvault_domain::audit::AuditResult;
use milvault_domain::backup::{BackupStatus, BackupType, CreationMethod};
use milvault_domain::identity::Project;
use milvault_domain::ids::{BackupId, ClusterId, JobId, OrganizationId, ProjectId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::ports::{
    AuditFilter, AuditPage, AuditPosition, BackupFilter, ClusterFilter, JobFilter, Page, PageRequest, SortKey,
};
use std::sync::Arc;

super::cases![every_list_and_timer_walks_along_an_index];

/// Enough for PostgreSQL to prefer an index because it is better.
const SHAPE: Shape = Shape { backups: 15_000, jobs: 20_000, audit_entries: 4_000 };
const PROJECTS: usize = 3;
const CLUSTERS: usize = 12;
/// Most rows that a page of 50 may look at: a page of each arm, where the database sorts them.
const LOOKED_AT_MAX: u64 = 1_500;
/// The same for a window of names: its entries in an index, once more in the table, and a page of each arm.
const NAMES_LOOKED_AT_MAX: u64 = 3_000;

async fn every_list_and_timer_walks_along_an_index(home: Arc<dyn Home>) {
    // The rows are made once: that takes longer than all the questions.
    let filled = Filled::new(&*home).await;
    lists_of_backups_walk_along_an_index(&filled).await;
    lists_of_jobs_walk_along_an_index(&filled).await;
    the_audit_log_is_read_along_an_index(&filled).await;
    lookups_and_timers_look_at_few_rows(&filled).await;
    names_are_looked_through_page_by_page(&*home, filled).await;
}

struct Filled {
    scale: ScaleCatalog,
    organization_id: OrganizationId,
    projects: Vec<ProjectId>,
    cluster_id: ClusterId,
}

impl Filled {
    async fn new(home: &dyn Home) -> Self {
        let world = World::open(home).await;
        let mut projects = vec![world.project_id];
        let mut clusters = vec![world.cluster.clone()];
        let mut repositories = vec![world.repository.clone()];
        for number in 1..PROJECTS {
            let id = ProjectId::from_uuid(uuid());
            let name = format!("project {number}");
            let project = Project { id, organization_id: world.organization_id, name, created_at: at(0) };
            world.catalog.insert_project(&project).await.unwrap();
            let repository = repository(id, "backups");
            world.catalog.insert_repository(&repository).await.unwrap();
            repositories.push(repository);
            projects.push(id);
        }
        for number in 1..CLUSTERS {
            let cluster = cluster(&repositories[number % PROJECTS], &format!("cluster {number}"));
            world.catalog.insert_cluster(&cluster).await.unwrap();
            clusters.push(cluster);
        }
        let (organization_id, cluster_id) = (world.organization_id, world.cluster.id);
        drop(world);
        let scale = home.scale().await.unwrap();
        scale.fill(SHAPE).await.unwrap();
        Self { scale, organization_id, projects, cluster_id }
    }

    /// No scan or sort of a large table, and no more rows than a page may need.
    async fn check(&self, question: Question, rows_max: u64) {
        for explained in self.scale.explain(&question).await.unwrap() {
            let told = || format!("{question:?}: {:#?}", explained.steps);
            assert!(explained.faults().is_empty(), "{:?} in {}", explained.faults(), told());
            assert!(explained.rows_looked_at.is_none_or(|rows| rows <= rows_max), "{}", told());
        }
    }

    /// Projects and cluster of a filter, as callers with one or several projects give them.
    fn scopes(&self) -> Vec<(Vec<ProjectId>, Option<ClusterId>)> {
        let one = vec![self.projects[0]];
        vec![
            (one.clone(), None),
            (self.projects.clone(), None),
            (one, Some(self.cluster_id)),
            (self.projects.clone(), Some(self.cluster_id)),
            // The cluster is in another project.
            (vec![self.projects[1]], Some(self.cluster_id)),
        ]
    }
}

/// The first page, and one from the middle of all.
fn pages() -> [PageRequest; 2] {
    let created_at = at(-40_000_000);
    let after = Some(SortKey { created_at, id: uuid() });
    [PageRequest { limit: 50, after: None }, PageRequest { limit: 50, after }]
}

fn with_none<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    std::iter::once(None).chain(values.iter().copied().map(Some)).collect()
}

async fn lists_of_backups_walk_along_an_index(filled: &Filled) {
    let statuses = [BackupStatus::Creating, BackupStatus::Available, BackupStatus::Deleted];
    let types = [BackupType::Cluster, BackupType::Collection];
    let methods = [CreationMethod::Manual, CreationMethod::Auto];
    for (project_ids, cluster_id) in filled.scopes() {
        for status in with_none(&statuses) {
            for backup_type in with_none(&types) {
                for creation_method in with_none(&methods) {
                    let filter = BackupFilter {
                        project_ids: Some(project_ids.clone()),
                        cluster_id,
                        status,
                        backup_type,
                        creation_method,
                        ..BackupFilter::default()
                    };
                    let [_, middle] = pages();
                    filled.check(Question::Backups(filter, middle), LOOKED_AT_MAX).await;
                }
            }
        }
        let (created_from, created_before) = (Some(at(-50_000_000)), Some(at(-30_000_000)));
        for status in [None, Some(BackupStatus::Available)] {
            let project_ids = Some(project_ids.clone());
            let within = BackupFilter {
                project_ids,
                cluster_id,
                status,
                created_from,
                created_before,
                ..BackupFilter::default()
            };
            filled.check(Question::Backups(within, pages()[0]), LOOKED_AT_MAX).await;
        }
        // Names are looked through in an index, a window at a time.
        for name in ["backup-1", "no such name"] {
            let filter = BackupFilter {
                project_ids: Some(project_ids.clone()),
                cluster_id,
                name_contains: Some(name.to_owned()),
                ..BackupFilter::default()
            };
            for page in pages() {
                filled.check(Question::Backups(filter.clone(), page), NAMES_LOOKED_AT_MAX).await;
            }
        }
    }
}

async fn lists_of_jobs_walk_along_an_index(filled: &Filled) {
    let states = [
        None,
        Some(vec![JobState::Failed]),
        Some(vec![JobState::Canceling]),
        Some(vec![JobState::Pending, JobState::InProgress, JobState::Canceling]),
    ];
    let types = [
        None,
        Some(vec![JobType::Backup]),
        Some(vec![JobType::Restore]),
        Some(vec![JobType::Drill, JobType::Verify, JobType::Restore]),
    ];
    for (project_ids, cluster_id) in filled.scopes() {
        for states in &states {
            for job_types in &types {
                let filter = JobFilter {
                    project_ids: Some(project_ids.clone()),
                    cluster_id,
                    states: states.clone(),
                    job_types: job_types.clone(),
                    ..JobFilter::default()
                };
                let [_, middle] = pages();
                filled.check(Question::Jobs(filter, middle), LOOKED_AT_MAX).await;
            }
        }
        let of_scope =
            || JobFilter { project_ids: Some(project_ids.clone()), cluster_id, ..JobFilter::default() };
        let (created_from, created_before) = (Some(at(-50_000_000)), Some(at(-30_000_000)));
        let within = JobFilter { created_from, created_before, ..of_scope() };
        filled.check(Question::Jobs(within, pages()[0]), LOOKED_AT_MAX).await;
        let backup_id = BackupId::from_uuid(uuid::Uuid::from_u128(300));
        let of_backup = JobFilter { backup_id: Some(backup_id), ..of_scope() };
        filled.check(Question::Jobs(of_backup, pages()[0]), LOOKED_AT_MAX).await;
        for name in ["owner", "schedule", "nobody"] {
            let by_name = JobFilter { created_by: Some(name.to_owned()), ..of_scope() };
            filled.check(Question::Jobs(by_name, pages()[0]), LOOKED_AT_MAX).await;
        }
        for name in ["backup", "backup-300", "production", "nothing like it"] {
            let named = || JobFilter { name: Some(name.to_owned()), ..of_scope() };
            for page in pages() {
                filled.check(Question::Jobs(named(), page), LOOKED_AT_MAX).await;
            }
            let of_backup = JobFilter { backup_id: Some(backup_id), ..named() };
            filled.check(Question::Jobs(of_backup, pages()[0]), LOOKED_AT_MAX).await;
            // What else is asked is compared with the jobs that have the name.
            let ended = JobFilter { states: Some(vec![JobState::Successful]), ..named() };
            filled.check(Question::Jobs(ended, pages()[0]), LOOKED_AT_MAX).await;
        }
    }
}

async fn the_audit_log_is_read_along_an_index(filled: &Filled) {
    let all = || AuditFilter::of(filled.organization_id);
    let scopes = [None, Some(vec![filled.projects[0]]), Some(filled.projects.clone())];
    for project_ids in scopes {
        let of_scope = || AuditFilter { project_ids: project_ids.clone(), ..all() };
        let two = |actor: Option<&str>, action: Option<&str>, result| AuditFilter {
            actor_id: actor.map(str::to_owned),
            action: action.map(str::to_owned),
            result,
            ..of_scope()
        };
        for filter in [
            of_scope(),
            AuditFilter { actor_id: Some(String::from("key_3")), ..of_scope() },
            AuditFilter { actor_id: Some(String::from("key_nobody")), ..of_scope() },
            AuditFilter { action: Some(String::from("deleteBackup")), ..of_scope() },
            AuditFilter { target_id: Some(String::from("bkp_7")), ..of_scope() },
            AuditFilter { result: Some(AuditResult::Refused), ..of_scope() },
            two(Some("key_7"), None, Some(AuditResult::Refused)),
            two(Some("key_8"), None, Some(AuditResult::Refused)),
            two(Some("key_0"), Some("createBackup"), None),
            two(Some("key_1"), Some("createBackup"), None),
            two(None, Some("updateBackup"), Some(AuditResult::Refused)),
            two(None, Some("createBackup"), Some(AuditResult::Refused)),
            two(Some("key_7"), Some("updateBackup"), Some(AuditResult::Refused)),
            two(Some("key_7"), Some("updateBackup"), Some(AuditResult::Failed)),
            AuditFilter { from: Some(at(-50_000_000)), to: Some(at(-40_000_000)), ..of_scope() },
        ] {
            let middle = Some(AuditPosition { at: at(-59_700_000), sequence: 2_000 });
            for after in [None, middle] {
                for newest_first in [true, false] {
                    let page = AuditPage { limit: 50, after, newest_first };
                    filled.check(Question::Audit(filter.clone(), page), LOOKED_AT_MAX).await;
                }
            }
        }
    }
}

async fn lookups_and_timers_look_at_few_rows(filled: &Filled) {
    let backup_id = BackupId::from_uuid(uuid::Uuid::from_u128(300));
    let job_id = JobId::from_uuid(uuid::Uuid::from_u128(300));
    let projects = Some(filled.projects.clone());
    let clusters = ClusterFilter { project_ids: projects, ..ClusterFilter::default() };
    for question in [
        Question::Backup(backup_id),
        Question::Job(job_id),
        Question::JobEvents(job_id),
        Question::OpenJobs,
        Question::Clusters(clusters, pages()[0]),
        Question::DueSchedules(at(0), 100),
        Question::OverdueClusters(at(0)),
    ] {
        filled.check(question, LOOKED_AT_MAX).await;
    }
    // By a clock that is right again nothing has ended yet to come.
    filled.check(Question::EarlyExpiries(at(0), 50), LOOKED_AT_MAX).await;
    // Nothing is over yet; and one cluster's backups are read for its keep rules.
    filled.check(Question::ExpiredBackups(at(-100_000_000), 100), LOOKED_AT_MAX).await;
    let retained = Question::RetainedBackups(filled.cluster_id);
    filled.check(retained, 2 * SHAPE.backups / u64::try_from(CLUSTERS).unwrap()).await;
}

/// A page ends when it has looked through enough names, and the next one goes on from there.
async fn names_are_looked_through_page_by_page(home: &dyn Home, filled: Filled) {
    let Filled { scale, projects, .. } = filled;
    drop(scale);
    let catalog = home.open(sealer()).await.unwrap();
    let of_projects = || BackupFilter { project_ids: Some(projects.clone()), ..BackupFilter::default() };
    let named = |text: &str| BackupFilter { name_contains: Some(text.to_owned()), ..of_projects() };
    let pages = async |filter: BackupFilter| {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = catalog.backups(&filter, PageRequest { limit: 200, after }).await.unwrap();
            let last =
                page.items.last().map(|last| SortKey { created_at: last.created_at, id: last.id.as_uuid() });
            after = page.stopped_at.or(last);
            let has_more = page.has_more;
            pages.push(page);
            if !has_more {
                return pages;
            }
        }
    };
    let all = pages(of_projects()).await;
    let lives: usize = all.iter().map(|page| page.items.len()).sum();
    let looked_through_max = BackupFilter::NAMES_LOOKED_THROUGH_MAX as usize;
    assert!((looked_through_max + 1..2 * looked_through_max).contains(&lives), "{lives}");
    assert!(all.iter().all(|page| page.stopped_at.is_none()));

    // Some in the first pages, and the last ones farther back than one page looks.
    let expected: Vec<_> = all
        .iter()
        .flat_map(|page| &page.items)
        .filter(|backup| backup.name.contains("backup-7"))
        .map(|backup| backup.id)
        .collect();
    let found = pages(named("BACKUP-7")).await;
    assert!(found.iter().all(|page| page.items.len() == 200 || page.stopped_at.is_some() || !page.has_more));
    let found: Vec<_> = found.iter().flat_map(|page| &page.items).map(|backup| backup.id).collect();
    assert_eq!(found, expected);

    let none: Vec<_> = pages(named("no such name"))
        .await
        .into_iter()
        .map(|page| (page.items.len(), page.has_more, page.stopped_at.is_some()))
        .collect();
    assert_eq!(none, [(0, true, true), (0, false, false)]);
    // A span of time with few of them is looked through at once.
    let bounded = BackupFilter { created_before: Some(at(-59_000_000)), ..named("no such name") };
    assert_eq!(pages(bounded).await, [Page::empty()]);
}
