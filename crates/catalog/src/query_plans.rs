//! How SQLite answers the statements that lists, starts and expiries rest on: from an index, in the order of the index.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use crate::database::{Database, Statement};
use crate::sqlite::SqliteDatabase;
use crate::{backups, clusters, completion, jobs, postgres, sqlite, tenancy};
use chrono::{DateTime, Utc};
use milvault_domain::backup::{BackupStatus, BackupType, CreationMethod};
use milvault_domain::ids::{BackupId, ClusterId, JobId, ProjectId, RepositoryId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::ports::{
    BackupFilter, ClusterFilter, JobFilter, PageRequest, RepositoryFilter, SortKey,
};
use uuid::Uuid;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
const CLUSTER: ClusterId = ClusterId::from_uuid(Uuid::nil());
const PROJECT: ProjectId = ProjectId::from_uuid(Uuid::nil());

async fn plan(database: &SqliteDatabase, statement: Statement) -> String {
    let rows = database.read(statement.explained()).await.unwrap();
    let details: Vec<_> = rows.into_iter().map(|mut row| row.text("detail").unwrap()).collect();
    details.join("; ")
}

/// An index gives rows and order; no table is read from end to end.
async fn check(database: &SqliteDatabase, what: &str, statement: Statement) {
    let plan = plan(database, statement).await;
    assert!(plan.contains("USING INDEX") || plan.contains("USING COVERING INDEX"), "{what}: {plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{what}: {plan}");
}

/// The first page and a later one.
fn pages() -> [PageRequest; 2] {
    let after = Some(SortKey { created_at: NOW, id: Uuid::nil() });
    [PageRequest { limit: 50, after: None }, PageRequest { limit: 50, after }]
}

#[tokio::test]
async fn lists_of_backups_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let dialect = database.dialect();
    let all = BackupFilter::default;
    let filters = [
        all(),
        BackupFilter { project_ids: Some(vec![PROJECT]), ..all() },
        BackupFilter { cluster_id: Some(CLUSTER), ..all() },
        BackupFilter { status: Some(BackupStatus::Available), ..all() },
        BackupFilter { backup_type: Some(BackupType::Cluster), ..all() },
        BackupFilter { creation_method: Some(CreationMethod::Auto), ..all() },
        BackupFilter { created_from: Some(NOW), created_before: Some(NOW), ..all() },
        BackupFilter { name_contains: Some(String::from("a")), ..all() },
        BackupFilter { project_ids: Some(vec![PROJECT]), cluster_id: Some(CLUSTER), ..all() },
        BackupFilter { project_ids: Some(vec![PROJECT]), status: Some(BackupStatus::Deleted), ..all() },
        BackupFilter {
            project_ids: Some(vec![PROJECT]),
            creation_method: Some(CreationMethod::Manual),
            ..all()
        },
        BackupFilter {
            project_ids: Some(vec![PROJECT]),
            cluster_id: Some(CLUSTER),
            status: Some(BackupStatus::Available),
            ..all()
        },
    ];
    for filter in filters {
        for page in pages() {
            let statement = backups::list(dialect, &filter, page).unwrap().unwrap();
            check(&database, &format!("{filter:?}"), statement).await;
        }
    }
}

#[tokio::test]
async fn lists_of_jobs_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let all = JobFilter::default;
    let failed = || Some(vec![JobState::Failed]);
    let filters = [
        all(),
        JobFilter { project_ids: Some(vec![PROJECT]), ..all() },
        JobFilter { cluster_id: Some(CLUSTER), ..all() },
        JobFilter { backup_id: Some(BackupId::from_uuid(Uuid::nil())), ..all() },
        JobFilter { states: failed(), ..all() },
        JobFilter { job_type: Some(JobType::Verify), ..all() },
        JobFilter { created_from: Some(NOW), created_before: Some(NOW), ..all() },
        JobFilter { project_ids: Some(vec![PROJECT]), cluster_id: Some(CLUSTER), states: failed(), ..all() },
        JobFilter { project_ids: Some(vec![PROJECT]), job_type: Some(JobType::Backup), ..all() },
    ];
    for filter in filters {
        for page in pages() {
            check(&database, &format!("{filter:?}"), jobs::list(&filter, page).unwrap().unwrap()).await;
        }
    }
}

#[tokio::test]
async fn jobs_in_one_of_several_states_are_searched_and_then_sorted() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let states = Some(vec![JobState::Pending, JobState::InProgress]);
    let filter = JobFilter { states, ..JobFilter::default() };
    for statement in [jobs::list(&filter, pages()[0]).unwrap().unwrap(), jobs::select_open()] {
        let plan = plan(&database, statement).await;
        assert!(plan.contains("SEARCH jobs USING INDEX jobs_by_state"), "{plan}");
    }
}

#[tokio::test]
async fn other_lists_and_searches_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let dialect = database.dialect();
    for page in pages() {
        for project_ids in [None, Some(vec![PROJECT])] {
            let filter = ClusterFilter { project_ids: project_ids.clone(), ..ClusterFilter::default() };
            let statement = clusters::list(dialect, &filter, page).unwrap().unwrap();
            check(&database, "clusters", statement).await;
            let filter = RepositoryFilter { project_ids };
            let statement = clusters::list_repositories(&filter, page).unwrap().unwrap();
            check(&database, "repositories", statement).await;
        }
    }
    let repository_id = RepositoryId::from_uuid(Uuid::nil());
    let newest = backups::newest(CLUSTER, repository_id, BackupStatus::Available, 5);
    check(&database, "newest", newest).await;
    check(&database, "expired", backups::select_expired(dialect, NOW, 5)).await;
    check(&database, "open jobs of a cluster", clusters::select_open_jobs(CLUSTER)).await;
    check(&database, "open manual backup", backups::select_open_manual(CLUSTER)).await;
    let job_id = JobId::from_uuid(Uuid::nil());
    check(&database, "events", jobs::select_events(job_id)).await;
    check(&database, "report", completion::select_report(job_id)).await;
    check(&database, "contents", backups::select_contents(BackupId::from_uuid(Uuid::nil()))).await;
    check(&database, "key", tenancy::select_key(&[0; 32])).await;
}

#[tokio::test]
async fn the_index_alone_keeps_the_rule_of_one_manual_backup() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(Statement::new("PRAGMA defer_foreign_keys = ON")).await.unwrap();
    let insert = |id: &'static str, state: &'static str, ended_at: Option<i64>| {
        Statement::insert(
            "jobs",
            [
                ("id", id.into()),
                ("project_id", "prj".into()),
                ("cluster_id", "clu".into()),
                ("job_type", "BACKUP".into()),
                ("state", state.into()),
                ("description", "".into()),
                ("created_by", "".into()),
                ("created_at_us", 0.into()),
                ("ended_at_us", ended_at.into()),
                ("backup_id", "bkp".into()),
                ("creation_method", "MANUAL".into()),
                ("attempt", 0.into()),
                ("progress", "{}".into()),
            ],
        )
    };
    transaction.execute(insert("job_1", "SUCCESSFUL", Some(1))).await.unwrap();
    transaction.execute(insert("job_2", "CANCELING", None)).await.unwrap();
    for state in ["PENDING", "IN_PROGRESS", "CANCELING"] {
        let error = transaction.execute(insert("job_3", state, None)).await.unwrap_err();
        assert_eq!(error.kind(), milvault_domain::ports::PortErrorKind::Conflict, "{state}: {error:?}");
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |migrator: &'static sqlx::migrate::Migrator| {
        migrator.iter().map(|migration| (migration.version, &migration.description)).collect::<Vec<_>>()
    };
    let sqlite = names(&sqlite::MIGRATOR);
    assert_eq!(sqlite, names(&postgres::MIGRATOR));
    let versions: Vec<_> = sqlite.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, (1..).take(versions.len()).collect::<Vec<i64>>());
}
