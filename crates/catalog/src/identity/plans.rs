//! How SQLite answers what is asked about people and keys: from an index, whatever the number of others.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use super::{keys, owners, projects, roles, users};
use crate::database::Statement;
use crate::query_plans::{check, pages, plan};
use crate::sqlite::SqliteDatabase;
use crate::tenancy;
use chrono::DateTime;
use milvault_domain::ids::{ApiKeyId, CustomRoleId, OrganizationId, ProjectId, UserId};
use milvault_domain::ports::{KeyFilter, UserFilter};
use uuid::Uuid;

const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::nil());
const USER: UserId = UserId::from_uuid(Uuid::nil());
const KEY: ApiKeyId = ApiKeyId::from_uuid(Uuid::nil());

#[tokio::test]
async fn single_records_and_short_lists_are_found_by_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let [service_owner, personal_owner] = owners::select_owners(ORGANIZATION, DateTime::UNIX_EPOCH);
    for (what, statement) in [
        ("key and rights", tenancy::select_key(&[0; 32])),
        ("projects", projects::list(ORGANIZATION)),
        ("custom roles", roles::list(ORGANIZATION)),
        ("owner's service key", service_owner),
        ("owner's personal key", personal_owner),
        ("custom role", roles::delete(CustomRoleId::from_uuid(Uuid::nil()))),
        ("use", keys::note_use(KEY, DateTime::UNIX_EPOCH)),
    ] {
        check(&database, what, statement).await;
    }
    for (what, statement) in [
        ("user", users::select(USER)),
        ("user by address", users::select_by_email(ORGANIZATION, "a@b")),
        ("key", keys::select(KEY)),
    ] {
        check_page(&database, what, statement).await;
    }
}

#[tokio::test]
async fn lists_of_people_and_keys_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    for page in pages() {
        for project_id in [None, Some(ProjectId::from_uuid(Uuid::nil()))] {
            let filter = UserFilter { organization_id: ORGANIZATION, project_id };
            check_page(&database, "users", users::list(&filter, page).unwrap().unwrap()).await;
        }
        for user_id in [None, Some(USER)] {
            let filter = KeyFilter { organization_id: ORGANIZATION, user_id };
            check_page(&database, "keys", keys::list(&filter, page).unwrap().unwrap()).await;
        }
    }
}

/// Only the entries of the page itself, with their roles, may be read through and sorted: tables are searched.
async fn check_page(database: &SqliteDatabase, what: &str, statement: Statement) {
    let plan = plan(database, statement).await;
    let found = ["users", "api_keys"].map(|table| plan.contains(&format!("SEARCH {table} USING INDEX")));
    assert!(found.contains(&true), "{what}: {plan}");
    let page_read = usize::from(plan.contains("CO-ROUTINE"));
    assert_eq!(plan.matches("SCAN ").count(), page_read, "{what}: {plan}");
}
