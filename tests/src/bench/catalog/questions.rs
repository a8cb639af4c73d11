//! What is asked: every list with its filters, at its beginning, in its middle and at its end; look-ups; and what timers
//! and subscriptions read.

use super::{REFERENCE, World};
use chrono::{DateTime, Utc};
use milvault_catalog::scale::Question;
use milvault_domain::audit::AuditResult;
use milvault_domain::backup::{BackupStatus, BackupType, CreationMethod};
use milvault_domain::ids::{BackupId, JobId, ProjectId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::ports::{
    AuditFilter, AuditPage, AuditPosition, BackupFilter, Catalog, ClusterFilter, JobFilter, PageRequest,
    PortResult, SortKey,
};
use uuid::Uuid;

/// Entries of a page, as the API gives them by default.
const PAGE: u32 = 50;

/// A question with a name for people.
pub(super) struct Asked {
    pub(super) name: &'static str,
    pub(super) question: Question,
}

/// Asks a question and returns how many rows came.
pub(super) async fn ask(catalog: &dyn Catalog, question: &Question) -> PortResult<usize> {
    Ok(match question {
        Question::Backups(filter, page) => catalog.backups(filter, *page).await?.items.len(),
        Question::Jobs(filter, page) => catalog.jobs(filter, *page).await?.items.len(),
        Question::Clusters(filter, page) => catalog.clusters(filter, *page).await?.items.len(),
        Question::Audit(filter, page) => catalog.audit_entries(filter, *page).await?.items.len(),
        Question::Backup(backup_id) => catalog.backup(*backup_id).await?.iter().len(),
        Question::Job(job_id) => catalog.job(*job_id).await?.iter().len(),
        Question::JobEvents(job_id) => catalog.job_events(*job_id).await?.len(),
        Question::OpenJobs => catalog.open_jobs().await?.len(),
        // Marks what it finds, so it is asked for nothing that is over.
        Question::ExpiredBackups(now, limit) => catalog.expire_backups(*now, *limit).await?.len(),
        Question::EarlyExpiries(now, limit) => catalog.early_expiries(*now, *now, *limit).await?.len(),
        Question::OverdueClusters(now) => catalog.overdue_clusters(*now).await?.len(),
        Question::RetainedBackups(cluster_id) => {
            catalog.retained(*cluster_id, DateTime::<Utc>::UNIX_EPOCH).await?.backups.len()
        }
        Question::DueSchedules(now, limit) => catalog.due_schedules(*now, *limit).await?.len(),
    })
}

/// All questions; the first is what the others are compared with.
pub(super) fn questions(world: &World) -> Vec<Asked> {
    let backup_id = BackupId::from_uuid(number_id(world.shape.backups / 2 + 4));
    let job_id = JobId::from_uuid(number_id(world.shape.jobs / 2));
    let mut all = vec![
        Asked { name: REFERENCE, question: Question::Job(job_id) },
        Asked { name: "backup by id", question: Question::Backup(backup_id) },
        Asked { name: "history of a job", question: Question::JobEvents(job_id) },
    ];
    backups(world, &mut all);
    jobs(world, backup_id, &mut all);
    audit(world, &mut all);
    let epoch = DateTime::<Utc>::UNIX_EPOCH;
    let clusters = ClusterFilter { project_ids: Some(world.projects.clone()), ..ClusterFilter::default() };
    for (name, question) in [
        ("clusters, all projects", Question::Clusters(clusters, first_page())),
        ("start of a server or a subscription: open jobs", Question::OpenJobs),
        ("timer: backups whose time is over", Question::ExpiredBackups(epoch, 100)),
        ("timer: backups that expired too early", Question::EarlyExpiries(DateTime::<Utc>::MAX_UTC, 50)),
        ("timer: clusters with overdue backups", Question::OverdueClusters(epoch)),
        ("timer: backups of a cluster to keep", Question::RetainedBackups(world.cluster_id)),
        ("timer: due schedules", Question::DueSchedules(epoch, 200)),
    ] {
        all.push(Asked { name, question });
    }
    all
}

fn backups(world: &World, all: &mut Vec<Asked>) {
    let one = || BackupFilter { project_ids: Some(vec![world.projects[0]]), ..BackupFilter::default() };
    let several = || BackupFilter { project_ids: Some(world.projects.clone()), ..BackupFilter::default() };
    let named = |name: &str| Some(name.to_owned());
    let middle = page_after(world.shape.backups / 2, 300_000_000);
    let last = page_after(world.shape.backups.min(80), 300_000_000);
    for (name, filter, page) in [
        ("backups: one project, first page", one(), first_page()),
        ("backups: one project, middle page", one(), middle),
        ("backups: one project, last page", one(), last),
        ("backups: all projects, first page", several(), first_page()),
        ("backups: all projects, middle page", several(), middle),
        ("backups: all projects, last page", several(), last),
        (
            "backups: of a cluster",
            BackupFilter { cluster_id: Some(world.cluster_id), ..several() },
            first_page(),
        ),
        ("backups: failed", BackupFilter { status: Some(BackupStatus::Failed), ..several() }, first_page()),
        (
            "backups: deleted, middle page",
            BackupFilter { status: Some(BackupStatus::Deleted), ..several() },
            middle,
        ),
        (
            "backups: being made (none)",
            BackupFilter { status: Some(BackupStatus::Creating), ..several() },
            first_page(),
        ),
        (
            "backups: of databases",
            BackupFilter { backup_type: Some(BackupType::Database), ..several() },
            first_page(),
        ),
        (
            "backups: manual",
            BackupFilter { creation_method: Some(CreationMethod::Manual), ..several() },
            first_page(),
        ),
        (
            "backups: automatic, of collections (none)",
            BackupFilter {
                creation_method: Some(CreationMethod::Auto),
                backup_type: Some(BackupType::Collection),
                ..several()
            },
            first_page(),
        ),
        (
            "backups: in a month",
            BackupFilter {
                created_from: Some(time(20_000, 300_000_000)),
                created_before: Some(time(30_000, 300_000_000)),
                ..several()
            },
            first_page(),
        ),
        (
            "backups: name, many found",
            BackupFilter { name_contains: named("backup-1"), ..several() },
            first_page(),
        ),
        (
            "backups: name, one found",
            BackupFilter { name_contains: named("backup-4242"), ..one() },
            first_page(),
        ),
        (
            "backups: name, none found",
            BackupFilter { name_contains: named("nothing like it"), ..several() },
            first_page(),
        ),
    ] {
        all.push(Asked { name, question: Question::Backups(filter, page) });
    }
}

fn jobs(world: &World, backup_id: BackupId, all: &mut Vec<Asked>) {
    let of = |project_ids: &[ProjectId]| JobFilter {
        project_ids: Some(project_ids.to_vec()),
        ..JobFilter::default()
    };
    let (one, several) = (|| of(&world.projects[..1]), || of(&world.projects));
    let text = |text: &str| Some(text.to_owned());
    let open = || Some(vec![JobState::Pending, JobState::InProgress, JobState::Canceling]);
    let middle = page_after(world.shape.jobs / 2, 30_000_000);
    let last = page_after(world.shape.jobs.min(80), 30_000_000);
    for (name, filter, page) in [
        ("jobs: one project, first page", one(), first_page()),
        ("jobs: one project, middle page", one(), middle),
        ("jobs: one project, last page", one(), last),
        ("jobs: all projects, first page", several(), first_page()),
        ("jobs: all projects, middle page", several(), middle),
        ("jobs: all projects, last page", several(), last),
        ("jobs: of a cluster", JobFilter { cluster_id: Some(world.cluster_id), ..several() }, first_page()),
        ("jobs: of a backup", JobFilter { backup_id: Some(backup_id), ..several() }, first_page()),
        (
            "jobs: failed, middle page",
            JobFilter { states: Some(vec![JobState::Failed]), ..several() },
            middle,
        ),
        ("jobs: drills", JobFilter { job_types: Some(vec![JobType::Drill]), ..several() }, first_page()),
        (
            "jobs: restores (none)",
            JobFilter { job_types: Some(vec![JobType::Restore]), ..several() },
            first_page(),
        ),
        (
            "jobs: failed drills",
            JobFilter {
                job_types: Some(vec![JobType::Drill]),
                states: Some(vec![JobState::Failed]),
                ..several()
            },
            first_page(),
        ),
        (
            "jobs: by a person",
            JobFilter { created_by: Some(String::from("owner")), ..several() },
            first_page(),
        ),
        (
            "jobs: in a month",
            JobFilter {
                created_from: Some(time(200_000, 30_000_000)),
                created_before: Some(time(300_000, 30_000_000)),
                ..several()
            },
            first_page(),
        ),
        (
            "jobs: a word of every backup's name",
            JobFilter { name: text("backup"), ..several() },
            first_page(),
        ),
        ("jobs: the same, middle page", JobFilter { name: text("backup"), ..several() }, middle),
        ("jobs: a cluster's name", JobFilter { name: text("cluster0"), ..several() }, first_page()),
        ("jobs: a backup's name", JobFilter { name: text("backup-4242"), ..several() }, first_page()),
        ("jobs: a name that none has", JobFilter { name: text("nothing"), ..several() }, first_page()),
        (
            "jobs: a cluster's name, failed",
            JobFilter { name: text("cluster0"), states: Some(vec![JobState::Failed]), ..several() },
            first_page(),
        ),
        ("jobs: open, one project", JobFilter { states: open(), ..one() }, first_page()),
        ("jobs: open, all projects", JobFilter { states: open(), ..several() }, first_page()),
        (
            "jobs: open, of a cluster",
            JobFilter { states: open(), cluster_id: Some(world.cluster_id), ..one() },
            first_page(),
        ),
    ] {
        all.push(Asked { name, question: Question::Jobs(filter, page) });
    }
}

fn audit(world: &World, all: &mut Vec<Asked>) {
    let everything = || AuditFilter::of(world.organization_id);
    let one = || AuditFilter { project_ids: Some(vec![world.projects[0]]), ..everything() };
    let several = || AuditFilter { project_ids: Some(world.projects.clone()), ..everything() };
    let page = AuditPage { limit: PAGE, after: None, newest_first: true };
    let sequence = world.shape.audit_entries / 2;
    let middle =
        AuditPage { after: Some(AuditPosition { at: time(sequence, 30_000_000), sequence }), ..page };
    for (name, filter, page) in [
        ("audit: all, first page", everything(), page),
        ("audit: all, middle page", everything(), middle),
        ("audit: one project", one(), page),
        ("audit: all projects by name, middle page", several(), middle),
        ("audit: refused", AuditFilter { result: Some(AuditResult::Refused), ..everything() }, page),
        ("audit: refused, one project", AuditFilter { result: Some(AuditResult::Refused), ..one() }, page),
        (
            "audit: an action, one project",
            AuditFilter { action: Some(String::from("deleteBackup")), ..one() },
            page,
        ),
        (
            "audit: an action, refused",
            AuditFilter {
                action: Some(String::from("updateBackup")),
                result: Some(AuditResult::Refused),
                ..everything()
            },
            page,
        ),
        (
            "audit: an action by a key (none), one project",
            AuditFilter {
                actor_id: Some(String::from("key_7")),
                action: Some(String::from("createBackup")),
                ..one()
            },
            page,
        ),
        ("audit: a key", AuditFilter { actor_id: Some(String::from("key_7")), ..everything() }, page),
        ("audit: a target", AuditFilter { target_id: Some(String::from("bkp_77")), ..everything() }, page),
    ] {
        all.push(Asked { name, question: Question::Audit(filter, page) });
    }
}

fn first_page() -> PageRequest {
    PageRequest { limit: PAGE, after: None }
}

/// The page that begins after the row with this number; rows lie so many microseconds apart.
fn page_after(number: u64, step_us: u64) -> PageRequest {
    let after = Some(SortKey { created_at: time(number, step_us), id: number_id(number) });
    PageRequest { limit: PAGE, after }
}

fn number_id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn time(number: u64, step_us: u64) -> DateTime<Utc> {
    let microseconds = 1_700_000_000_000_000 + number.saturating_mul(step_us);
    i64::try_from(microseconds).ok().and_then(DateTime::from_timestamp_micros).unwrap_or_default()
}
