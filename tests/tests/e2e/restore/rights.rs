//! The user that Milvault has at the target may not do what a restore needs.

use super::{check_clean, check_no_staging, check_rows};
use crate::support::{Installation, index_and_load, plain_collection, plain_rows, run_directory, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, Privilege};
use milvault_tests::servers::{Milvus, MilvusOptions, Tools};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const DATABASE: &str = "rights";
const COLLECTION: &str = "rows";
const ROWS: u64 = 1_000;
const DIMENSION: usize = 16;
const USER: &str = "restorer";
const PASSWORD: &str = "correct horse battery";
const ROLE: &str = "restorers";
const DROP_COLLECTION: Privilege = Privilege::global("DropCollection");
const RENAME: Privilege = Privilege::global("RenameCollection");
/// To connect at all, to remove what could not be finished, and what is only asked for seconds after the import. The
/// test lets a restore fail for want of the others.
const GRANTED_FIRST: [Privilege; 8] = [
    Privilege::global("ListDatabases"),
    DROP_COLLECTION,
    Privilege::global("DropDatabase"),
    Privilege::global("ListAliases"),
    Privilege::collection("Flush"),
    Privilege::collection("GetFlushState"),
    Privilege::collection("GetStatistics"),
    Privilege::collection("Load"),
];
/// What a restore may need besides, with what it is about.
const KNOWN: [Privilege; 16] = [
    Privilege::global("CreateDatabase"),
    Privilege::global("CreateCollection"),
    Privilege::global("CreateAlias"),
    Privilege::global("DescribeAlias"),
    Privilege::global("DropAlias"),
    RENAME,
    Privilege::global("DescribeCollection"),
    Privilege::global("ShowCollections"),
    Privilege::collection("CreatePartition"),
    Privilege::collection("ShowPartitions"),
    Privilege::collection("Import"),
    Privilege::collection("CreateIndex"),
    Privilege::collection("IndexDetail"),
    Privilege::collection("HasPartition"),
    Privilege::collection("GetLoadState"),
    Privilege::collection("Release"),
];
/// Restores until all is granted. Milvus 2.3.5 may judge a call by the rights of some seconds before.
const RESTORES_MAX: usize = 20;
/// Longest wait until a right that was given or taken away is so.
const RIGHTS_TIME_MAX: Duration = Duration::from_secs(20);
const RIGHTS_POLL: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn who_grants_what_a_failed_restore_asks_for_gets_there() -> Result<()> {
    let installation = Installation::start("restore_rights").await?;
    let api = &installation.api;
    let (source_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let source = milvus.create_database(DATABASE).await?;
    plain_collection(&source, COLLECTION, ROWS, DIMENSION).await?;
    source.create_partition(COLLECTION, "more").await?;
    source.insert(COLLECTION, "more", &plain_rows(ROWS, ROWS, DIMENSION)).await?;
    source.create_alias(COLLECTION, "rows_alias").await?;
    index_and_load(&source, COLLECTION).await?;
    let expected = source.rows(COLLECTION).await?;
    let (backup, _) = api.back_up(&source_id, &[DATABASE]).await?;
    let backup_id = text(&backup["id"]);

    let target = Target::start(&installation).await?;
    for privilege in GRANTED_FIRST {
        target.root.grant(ROLE, privilege).await?;
    }
    let input = json!({ "backupId": backup_id, "targetClusterId": target.cluster_id });
    let mut job = api.restore(input.clone()).await?;
    let mut granted = BTreeSet::new();
    for _ in 0..RESTORES_MAX {
        if job["state"] == "SUCCESSFUL" {
            break;
        }
        let privilege = target.privilege_asked_for(&job)?;
        check_no_staging(&target.server, &job)?;
        assert_eq!(target.root.database_names().await?, ["default"], "after {job}");
        if granted.insert(privilege.name) {
            target.root.grant(ROLE, privilege).await?;
        }
        let resume = json!({ "jobId": job["id"] });
        let job_id = api.start_job("resumeRestore", "ResumeRestoreInput", resume).await?;
        job = api.await_restore(&job_id).await?;
    }
    assert_eq!(job["state"], "SUCCESSFUL", "with {granted:?}: {job}");
    for name in ["CreateDatabase", "CreateCollection", "CreatePartition", "Import", "RenameCollection"] {
        ensure!(granted.contains(name), "{name} was never asked for, but {granted:?}");
    }
    let restored = target.root.in_database(DATABASE);
    check_rows(&restored, COLLECTION, &expected).await?;
    check_rows(&restored, "rows_alias", &expected).await?;
    check_clean(&restored).await?;
    check_no_staging(&target.server, &job)?;
    leftovers_that_may_not_be_dropped(&installation, &target, input).await?;
    let log = std::fs::read_to_string(installation.milvault.log_file())?;
    ensure!(!log.contains(PASSWORD), "the password is in the log");
    installation.finish().await?;
    let mut server = target.server;
    server.stop().await
}

/// What may not be dropped either stays, and the failure says so; whoever resumes with the right gets rid of it.
async fn leftovers_that_may_not_be_dropped(
    installation: &Installation,
    target: &Target,
    mut input: Value,
) -> Result<()> {
    let api = &installation.api;
    let restored = target.root.in_database(DATABASE);
    // The last one to be taken away is the one that is waited for.
    for privilege in [RENAME, DROP_COLLECTION] {
        target.root.revoke(ROLE, privilege).await?;
    }
    target.may_drop(false).await?;
    input["suffix"] = json!("_again");
    let mut job = api.restore(input).await?;
    assert_eq!(target.privilege_asked_for(&job)?, RENAME, "{job}");
    let failure = text(&job["failure"]);
    for words in ["DropCollection", "left", "resum"] {
        ensure!(failure.contains(words), "{words} is missing in: {failure}");
    }
    let names = restored.collection_names().await?;
    ensure!(names.iter().any(|name| name.contains("milvault_")), "nothing is left: {names:?}");
    for privilege in [RENAME, DROP_COLLECTION] {
        target.root.grant(ROLE, privilege).await?;
    }
    target.may_drop(true).await?;
    for _ in 0..RESTORES_MAX {
        if job["state"] == "SUCCESSFUL" {
            break;
        }
        let resume = json!({ "jobId": job["id"] });
        let job_id = api.start_job("resumeRestore", "ResumeRestoreInput", resume).await?;
        job = api.await_restore(&job_id).await?;
    }
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    check_clean(&restored).await?;
    check_no_staging(&target.server, &job)?;
    let expected = restored.rows(COLLECTION).await?;
    check_rows(&restored, &format!("{COLLECTION}_again"), &expected).await
}

/// A Milvus that asks who calls, with a user for Milvault.
struct Target {
    server: Milvus,
    root: MilvusClient,
    cluster_id: String,
}

impl Target {
    async fn start(installation: &Installation) -> Result<Self> {
        let tools = Tools::install().await?;
        let directory = run_directory()?.join("milvus-with-rights");
        let server =
            Milvus::start(&tools, MilvusOptions { auth: true, ..MilvusOptions::local(directory) }).await?;
        let token = server.token().context("this one has a first user")?;
        let root = MilvusClient::connect_with_token(&server.uri(), token).await?;
        root.create_user(USER, PASSWORD).await?;
        root.create_role_of(USER, ROLE).await?;
        let storage = json!({ "local": { "path": server.storage_dir() } });
        let repositories = installation.api.request("{ repositories { nodes { id } } }", json!({})).await?;
        let repository_id = text(&repositories["repositories"]["nodes"][0]["id"]);
        let user = json!({ "name": "guarded", "user": USER, "password": { "value": PASSWORD } });
        let cluster_id =
            installation.api.register_cluster(&server.uri(), &storage, repository_id, user).await?;
        Ok(Self { server, root, cluster_id })
    }

    /// Waits until Milvault's user may drop collections, or may not.
    async fn may_drop(&self, expected: bool) -> Result<()> {
        let restorer =
            MilvusClient::connect_with_token(&self.server.uri(), &format!("{USER}:{PASSWORD}")).await?;
        let known = async {
            while restorer.drop_collection("of_nobody").await.is_ok() != expected {
                tokio::time::sleep(RIGHTS_POLL).await;
            }
        };
        tokio::time::timeout(RIGHTS_TIME_MAX, known).await.context("the rights do not change")
    }

    /// The right whose lack a failed restore names first.
    fn privilege_asked_for(&self, job: &Value) -> Result<Privilege> {
        assert_eq!(job["state"], "FAILED", "{job}");
        let failure = text(&job["failure"]);
        ensure!(!failure.contains(PASSWORD), "the password is in: {failure}");
        ensure!(failure.contains("give this Milvus user a role that allows it"), "no advice in: {failure}");
        let (_, named) =
            failure.split_once("Privilege").with_context(|| format!("no right in: {failure}"))?;
        let named: String = named.chars().take_while(char::is_ascii_alphabetic).collect();
        let found = KNOWN.into_iter().find(|privilege| privilege.name == named);
        found
            .with_context(|| format!("nobody knows {named}, which {} asks for: {failure}", self.server.uri()))
    }
}
