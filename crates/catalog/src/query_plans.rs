//! How SQLite answers the statements that lists, starts and expiries rest on: from an index, in the order of the index.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use crate::database::{Database, Statement};
use crate::sqlite::SqliteDatabase;
use crate::{
    admission, audit, backups, checks, clusters, comparisons, completion, copies, idempotency, job_pruning,
    jobs, leases, lifecycle, name_search, names, postgres, requests, restore_completion, restores, schedules,
    sqlite, tenancy, usage,
};
use chrono::{DateTime, Utc};
use milvault_domain::audit::{AuditResult, AuditTarget};
use milvault_domain::backup::{BackupStatus, BackupType, CreationMethod};
use milvault_domain::checks::VerificationState;
use milvault_domain::ids::ServerId;
use milvault_domain::ids::{BackupId, ClusterId, HoldId, JobId, OrganizationId, ProjectId, RepositoryId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::lease::Fence;
use milvault_domain::ports::{
    AuditFilter, AuditPage, AuditPosition, BackupFilter, ClusterFilter, JobFilter, PageRequest,
    RepositoryFilter, SortKey,
};
use milvault_domain::restore::{RestoreStep, RestoredCollection};
use uuid::Uuid;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
const CLUSTER: ClusterId = ClusterId::from_uuid(Uuid::nil());
const PROJECT: ProjectId = ProjectId::from_uuid(Uuid::nil());
const OTHER_PROJECT: ProjectId = ProjectId::from_uuid(Uuid::max());

pub(crate) async fn plan(database: &SqliteDatabase, statement: Statement) -> String {
    let rows = database.read(statement.explained()).await.unwrap();
    let details: Vec<_> = rows.into_iter().map(|mut row| row.text("detail").unwrap()).collect();
    details.join("; ")
}

/// An index gives rows and order; no table is read from end to end.
pub(crate) async fn check(database: &SqliteDatabase, what: &str, statement: Statement) {
    let plan = plan(database, statement).await;
    assert!(plan.contains("USING INDEX") || plan.contains("USING COVERING INDEX"), "{what}: {plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{what}: {plan}");
}

/// The first page and a later one.
pub(crate) fn pages() -> [PageRequest; 2] {
    let after = Some(SortKey { created_at: NOW, id: Uuid::nil() });
    [PageRequest { limit: 50, after: None }, PageRequest { limit: 50, after }]
}

#[tokio::test]
async fn lists_of_backups_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let dialect = database.dialect();
    let all = || BackupFilter { project_ids: Some(vec![PROJECT]), ..BackupFilter::default() };
    let filters = [
        all(),
        BackupFilter { project_ids: Some(vec![PROJECT, OTHER_PROJECT]), ..all() },
        BackupFilter { cluster_id: Some(CLUSTER), ..all() },
        BackupFilter { status: Some(BackupStatus::Available), ..all() },
        BackupFilter { backup_type: Some(BackupType::Cluster), ..all() },
        BackupFilter { creation_method: Some(CreationMethod::Auto), ..all() },
        BackupFilter { created_from: Some(NOW), created_before: Some(NOW), ..all() },
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
    let dialect = database.dialect();
    let all = || JobFilter { project_ids: Some(vec![PROJECT]), ..JobFilter::default() };
    let failed = || Some(vec![JobState::Failed]);
    let filters = [
        all(),
        JobFilter { project_ids: Some(vec![PROJECT, OTHER_PROJECT]), ..all() },
        JobFilter { states: Some(vec![JobState::Pending, JobState::InProgress]), ..all() },
        JobFilter { cluster_id: Some(CLUSTER), ..all() },
        JobFilter { backup_id: Some(BackupId::from_uuid(Uuid::nil())), ..all() },
        JobFilter { states: failed(), ..all() },
        JobFilter { job_types: Some(vec![JobType::Verify]), ..all() },
        JobFilter { created_by: Some(String::from("owner")), ..all() },
        JobFilter { created_from: Some(NOW), created_before: Some(NOW), ..all() },
        JobFilter { project_ids: Some(vec![PROJECT]), cluster_id: Some(CLUSTER), states: failed(), ..all() },
        JobFilter { project_ids: Some(vec![PROJECT]), job_types: Some(vec![JobType::Backup]), ..all() },
    ];
    for filter in filters {
        for page in pages() {
            check(&database, &format!("{filter:?}"), jobs::list(dialect, &filter, page).unwrap().unwrap())
                .await;
        }
    }
}

#[tokio::test]
async fn jobs_are_found_by_names_in_the_order_of_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let named = || JobFilter {
        project_ids: Some(vec![PROJECT, OTHER_PROJECT]),
        name: Some(String::from("a")),
        ..JobFilter::default()
    };
    let filters = [
        named(),
        JobFilter { states: Some(vec![JobState::Failed]), ..named() },
        JobFilter { job_types: Some(vec![JobType::Verify, JobType::Drill]), ..named() },
        JobFilter { cluster_id: Some(CLUSTER), created_by: Some(String::from("owner")), ..named() },
        JobFilter { created_from: Some(NOW), created_before: Some(NOW), ..named() },
    ];
    for filter in filters {
        for page in pages() {
            let statement = jobs::list(database.dialect(), &filter, page).unwrap().unwrap();
            let plan = plan(&database, statement).await;
            let by = if filter.cluster_id.is_some() { "cluster" } else { "project" };
            let search =
                format!("SEARCH job_names USING COVERING INDEX job_names_by_{by} ({by}_id=? AND name=?");
            assert!(plan.contains(&search), "{plan}");
            // The rows of a page are put in order once more when they are fetched, and nothing else is.
            assert!(plan.matches("TEMP B-TREE").count() <= 1 && !plan.contains("SCAN job"), "{plan}");
        }
    }
    let of_backup = JobFilter { backup_id: Some(BackupId::from_uuid(Uuid::nil())), ..named() };
    for page in pages() {
        let statement = jobs::list(database.dialect(), &of_backup, page).unwrap().unwrap();
        check(&database, "jobs of a backup", statement).await;
    }
}

#[tokio::test]
async fn names_are_searched_in_an_index_and_open_jobs_have_their_own() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let filter = BackupFilter {
        project_ids: Some(vec![PROJECT]),
        name_contains: Some(String::from("a")),
        ..BackupFilter::default()
    };
    for page in pages() {
        let statements = name_search::first_window(&database, &filter, "a", page).await.unwrap();
        assert_eq!(statements.len(), 2);
        for statement in statements {
            let plan_of_search = plan(&database, statement).await;
            let by = "INDEX backups_live_by_project (project_id=?";
            assert!(plan_of_search.contains(by), "{plan_of_search}");
            // The rows of a page are put in order once more when they are fetched, and nothing else is.
            assert!(plan_of_search.matches("TEMP B-TREE").count() <= 1, "{plan_of_search}");
        }
    }
    let plan_of_open = plan(&database, jobs::select_open()).await;
    assert!(
        plan_of_open.contains("USING INDEX jobs_open") && !plan_of_open.contains("B-TREE"),
        "{plan_of_open}"
    );
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
    check(&database, "expired", lifecycle::select_expired(dialect, NOW, 5)).await;
    check(&database, "open jobs of a cluster", clusters::select_open_jobs(CLUSTER)).await;
    check(&database, "waiting jobs of a cluster", admission::select_waiting(CLUSTER)).await;
    check(&database, "open manual backup", backups::select_open_manual(CLUSTER)).await;
    let job_id = JobId::from_uuid(Uuid::nil());
    check(&database, "events", jobs::select_events(job_id)).await;
    check(&database, "report", completion::select_report(job_id)).await;
    check(&database, "contents", backups::select_contents(BackupId::from_uuid(Uuid::nil()))).await;
    check(&database, "key", tenancy::select_key(&[0; 32])).await;
}

#[tokio::test]
async fn what_belongs_to_a_restore_is_found_by_its_job() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let job_id = JobId::from_uuid(Uuid::nil());
    let collection = RestoredCollection::default();
    for (what, statement) in [
        ("request", requests::select(job_id)),
        ("restore", restores::select(job_id)),
        ("plan", restores::select_plan(job_id)),
        ("failed", restores::select_collections_at(job_id, &[RestoreStep::Failed, RestoreStep::Waiting])),
        ("collection", restores::update_collection(job_id, 1, &collection).unwrap()),
        ("completion", restore_completion::select_completion(job_id)),
        ("comparison", comparisons::select(job_id)),
        ("key", idempotency::select(CLUSTER, "key")),
        ("project", clusters::select_project(CLUSTER)),
    ] {
        check(&database, what, statement.clone()).await;
        let plan = plan(&database, statement).await;
        assert!(!plan.contains("SCAN "), "{what}: {plan}");
    }
}

#[tokio::test]
async fn schedules_that_are_due_are_found_in_the_order_of_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    for (what, statement) in [
        ("schedule", schedules::select(CLUSTER)),
        ("policy", schedules::select_policy(CLUSTER)),
        ("end", schedules::end(CLUSTER)),
        ("start", schedules::select_start(CLUSTER, NOW)),
        ("forgotten start", schedules::delete_start(CLUSTER, NOW)),
        ("starts far ahead", schedules::forget_starts(CLUSTER, NOW)),
        ("old starts", schedules::delete_old_starts(CLUSTER, NOW)),
        ("open automatic backup", schedules::select_open_automatic(CLUSTER)),
        ("automatic backup at work", schedules::select_automatic_at_work(CLUSTER)),
    ]
    .into_iter()
    .chain(schedules::select_due(NOW, 200).map(|statement| ("due", statement)))
    {
        check(&database, what, statement.clone()).await;
        let plan = plan(&database, statement).await;
        assert!(!plan.contains("SCAN "), "{what}: {plan}");
    }
}

#[tokio::test]
async fn what_checks_ask_is_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let backup_id = BackupId::from_uuid(Uuid::nil());
    let job_id = JobId::from_uuid(Uuid::nil());
    let repository_id = RepositoryId::from_uuid(Uuid::nil());
    for (what, statement) in [
        ("verify policy", checks::select_verify(repository_id)),
        ("verify policy of a job", checks::select_verify_of_job(job_id)),
        ("drill policy", checks::select_drill(CLUSTER)),
        ("end of drills", checks::end_drills(CLUSTER)),
        ("last drill", checks::select_last_drill(backup_id)),
        ("damage", checks::select_damage(repository_id)),
        ("verification", checks::select_verification(backup_id)),
        ("leftovers", checks::select_leftovers(job_id)),
        ("due leftovers", checks::select_due_leftovers(NOW, 5)),
    ]
    .into_iter()
    .chain(checks::select_due_verifies(NOW, 5).map(|statement| ("due verifies", statement)))
    .chain(checks::select_due_drills(NOW, 5).map(|statement| ("due drills", statement)))
    {
        check(&database, what, statement.clone()).await;
        let plan = plan(&database, statement).await;
        assert!(!plan.contains("SCAN ") && !plan.contains("TEMP B-TREE"), "{what}: {plan}");
    }
    for projects in [None, Some(vec![ProjectId::from_uuid(Uuid::nil())])] {
        let filter = BackupFilter {
            project_ids: projects,
            verification: Some(VerificationState::Damaged),
            ..BackupFilter::default()
        };
        let page = PageRequest { limit: 50, after: None };
        let statement = backups::list(database.dialect(), &filter, page).unwrap().unwrap();
        check(&database, "damaged backups", statement.clone()).await;
        let plan = plan(&database, statement).await;
        assert!(plan.contains("verification"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn what_retention_and_sweeps_ask_is_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let backup_id = BackupId::from_uuid(Uuid::nil());
    let repository_id = RepositoryId::from_uuid(Uuid::nil());
    for (what, statement) in [
        ("name", names::select_living(CLUSTER, "name")),
        ("expired", lifecycle::select_expired(database.dialect(), NOW, 10)),
        ("mark", lifecycle::make_deleted(backup_id, NOW)),
        ("retained", lifecycle::select_retained(CLUSTER)),
        ("need", lifecycle::select_open_need(backup_id)),
        ("deletion", lifecycle::select_deletion(backup_id)),
        ("hold", lifecycle::select_hold(HoldId::from_uuid(Uuid::nil()))),
        ("holds", lifecycle::select_holds(backup_id)),
        ("binding", lifecycle::select_binding(backup_id, NOW)),
        ("binding of a cluster", lifecycle::select_binding_in(CLUSTER, NOW)),
        ("standings", lifecycle::select_sweep_standings(repository_id)),
        ("repositories", lifecycle::select_swept_repositories(CLUSTER)),
        ("open sweep", lifecycle::select_open_sweep(CLUSTER)),
    ] {
        check(&database, what, statement.clone()).await;
        let plan = plan(&database, statement).await;
        assert!(!plan.contains("SCAN "), "{what}: {plan}");
    }
    let plan_of_retained = plan(&database, lifecycle::select_retained(CLUSTER)).await;
    assert!(plan_of_retained.contains("COVERING INDEX backups_retained"), "{plan_of_retained}");
    let plan_of_early = plan(&database, lifecycle::select_expired_early(NOW, NOW, 50)).await;
    assert!(plan_of_early.contains("backups_ended"), "{plan_of_early}");
    assert!(!plan_of_early.contains("SCAN jobs"), "{plan_of_early}");
    // These look at every cluster once, and at its backups and jobs by an index.
    for statement in [lifecycle::select_overdue_clusters(NOW), lifecycle::select_due_sweeps(NOW, NOW, NOW)] {
        let plan = plan(&database, statement).await;
        assert!(!plan.contains("SCAN backups") && !plan.contains("SCAN jobs"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn the_audit_log_and_old_jobs_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let all = || AuditFilter::of(OrganizationId::from_uuid(Uuid::nil()));
    let text = || Some(String::from("x"));
    let filters = [
        all(),
        AuditFilter { project_ids: Some(vec![PROJECT]), ..all() },
        AuditFilter { actor_id: text(), ..all() },
        AuditFilter { action: text(), ..all() },
        AuditFilter { target_id: text(), ..all() },
        AuditFilter { from: Some(NOW), to: Some(NOW), ..all() },
        AuditFilter { project_ids: Some(vec![PROJECT]), from: Some(NOW), to: Some(NOW), ..all() },
    ];
    // Each column of the filter is one that the index leads with.
    let mut terms = Vec::new();
    for project_ids in [None, Some(vec![PROJECT, OTHER_PROJECT])] {
        for actor_id in [None, text()] {
            for action in [None, text()] {
                for result in [None, Some(AuditResult::Refused)] {
                    let mut wanted = Vec::new();
                    wanted.extend(project_ids.as_ref().map(|_| "project_id=?"));
                    wanted.extend(actor_id.as_ref().map(|_| "actor_id=?"));
                    wanted.extend(action.as_ref().map(|_| "action=?"));
                    let filter = AuditFilter {
                        project_ids: project_ids.clone(),
                        actor_id: actor_id.clone(),
                        action: action.clone(),
                        result,
                        ..all()
                    };
                    terms.push((filter, wanted));
                }
            }
        }
    }
    for (filter, wanted) in terms {
        let page = AuditPage { limit: 50, after: None, newest_first: true };
        let statement = audit::list(database.dialect(), &filter, page).unwrap().unwrap();
        let plan = plan(&database, statement.clone()).await;
        assert!(wanted.iter().all(|term| plan.contains(term)), "{filter:?}: {plan}");
        check(&database, &format!("{filter:?}"), statement).await;
    }
    let after = Some(AuditPosition { at: NOW, sequence: 1 });
    for filter in filters {
        for newest_first in [true, false] {
            for after in [None, after] {
                let page = AuditPage { limit: 50, after, newest_first };
                let statement = audit::list(database.dialect(), &filter, page).unwrap().unwrap();
                let plan = plan(&database, statement.clone()).await;
                assert!(plan.contains("SEARCH audit_log"), "{filter:?}: {plan}");
                check(&database, &format!("{filter:?}"), statement).await;
            }
        }
    }
    for kind in ["project", "cluster", "repository", "backup", "job", "hold"] {
        let target = AuditTarget { kind: kind.to_owned(), id: String::new() };
        check(&database, kind, audit::select_project(&target).unwrap()).await;
    }
    // The last entry is the last row of the table itself.
    let plan = plan(&database, audit::select_last()).await;
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    check(&database, "old jobs", job_pruning::select(NOW, 5)).await;
    check(&database, "usage", usage::select(&[PROJECT, OTHER_PROJECT])).await;
}

#[tokio::test]
async fn the_index_alone_keeps_the_rule_of_one_manual_backup() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(Statement::new("PRAGMA defer_foreign_keys = ON")).await.unwrap();
    let insert = |id: &'static str, job_type: &'static str, state: &'static str, ended_at: Option<i64>| {
        let method = (job_type == "BACKUP").then(|| String::from("MANUAL"));
        Statement::insert(
            "jobs",
            [
                ("id", id.into()),
                ("project_id", "prj".into()),
                ("cluster_id", "clu".into()),
                ("job_type", job_type.into()),
                ("state", state.into()),
                ("description", "".into()),
                ("created_by", "".into()),
                ("created_at_us", 0.into()),
                ("ended_at_us", ended_at.into()),
                ("backup_id", "bkp".into()),
                ("creation_method", method.into()),
                ("attempt", 0.into()),
                ("progress", "{}".into()),
            ],
        )
    };
    transaction.execute(insert("job_1", "BACKUP", "SUCCESSFUL", Some(1))).await.unwrap();
    transaction.execute(insert("job_2", "BACKUP", "CANCELING", None)).await.unwrap();
    for state in ["PENDING", "IN_PROGRESS", "CANCELING"] {
        let error = transaction.execute(insert("job_3", "BACKUP", state, None)).await.unwrap_err();
        assert_eq!(error.kind(), milvault_domain::ports::PortErrorKind::Conflict, "{state}: {error:?}");
    }
    // Backups that are taken over are not concerned.
    for id in ["job_4", "job_5"] {
        transaction.execute(insert(id, "ADOPT", "PENDING", None)).await.unwrap();
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

#[tokio::test]
async fn copies_and_those_that_are_due_are_found_in_the_order_of_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let backup_id = BackupId::from_uuid(Uuid::nil());
    for (what, statement) in [
        ("copies of a backup", copies::select_of(backup_id)),
        ("open copy of a backup", copies::select_open_copy(backup_id)),
        ("due copies", copies::select_due(5)),
    ] {
        check(&database, what, statement).await;
    }
}

#[tokio::test]
async fn leases_and_what_others_did_are_found_by_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let dialect = database.dialect();
    let server_id = ServerId::from_uuid(Uuid::nil());
    let fence = Fence { cluster_id: CLUSTER, server_id, generation: 1 };
    for (what, statement) in [
        ("held leases", leases::select_held(dialect)),
        ("the lease on a cluster", leases::select_held_on(dialect, CLUSTER)),
        ("a fence", leases::select_fence(dialect, &fence).unwrap()),
        ("the latest ends", leases::select_ended_since(NOW, 500)),
        ("a recent sweep", leases::select_sweep_since(CLUSTER, NOW, NOW)),
    ] {
        check(&database, what, statement).await;
    }
}

#[tokio::test]
async fn what_a_lost_catalog_needs_is_answered_from_an_index() {
    use crate::{catalog_backups, policy_records, recovery};
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let backup_id = BackupId::from_uuid(Uuid::nil());
    for after in [None, Some(backup_id)] {
        check(&database, "due records", recovery::select_due(after, 100)).await;
    }
    check(&database, "a due record", recovery::select_due_of(backup_id)).await;
    for after in [None, Some(CLUSTER)] {
        check(&database, "due policies", policy_records::select_due(after, 100)).await;
    }
    check(&database, "a due policy", policy_records::select_due_of(CLUSTER)).await;
    check(&database, "a cluster", policy_records::select_cluster(CLUSTER)).await;
    let repository_id = RepositoryId::from_uuid(Uuid::nil());
    check(&database, "a repository", policy_records::select_repository_of(repository_id, PROJECT)).await;
    check(&database, "a name", recovery::select_named(PROJECT, "x")).await;
    for (what, statement) in [
        ("backups of the catalog", catalog_backups::select(5)),
        ("those at work", catalog_backups::select_at_work(0)),
        ("the latest", catalog_backups::select_made()),
        ("the first", catalog_backups::select_first()),
    ] {
        check(&database, what, statement).await;
    }
}
