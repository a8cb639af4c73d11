//! A whole cluster comes back in a new one: databases, rows, aliases, load state, users, roles and grants.

use super::{check_clean, check_no_staging, check_rows, contents};
use crate::support::{Api, Installation, index_and_load, plain_collection, plain_rows, run_directory, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, Privilege, Rows};
use milvault_tests::servers::{Milvus, MilvusOptions, Tools};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ROWS: u64 = 300;
const DIMENSION: usize = 16;
/// Databases besides `default`; the second holds nothing.
const DATABASES: [&str; 2] = ["shop", "nothing_yet"];
/// In `default`, loaded, with an alias.
const LOADED: &str = "books";
const ALIAS: &str = "library";
/// In `default`, not loaded.
const UNLOADED: &str = "attic";
/// In the first of the databases, with another partition, a property and an alias.
const ORDERS: &str = "orders";
const PARTITION: &str = "paid";
/// A thousand years, so that no row of the test ends by it.
const TIME_TO_LIVE: (&str, &str) = ("collection.ttl.seconds", "31536000000");
const ORDERS_ALIAS: &str = "deals";
/// Users with their roles: the first gets a password in the new cluster.
const READER: (&str, &str) = ("ada", "readers");
const WRITER: (&str, &str) = ("bob", "writers");
const OLD_PASSWORD: &str = "in the old cluster";
const NEW_PASSWORD: &str = "in the new cluster";
const PASSWORD_VARIABLE: &str = "MILVAULT_SECRET_ADA";
const GRANTS: [(&str, Privilege); 4] = [
    (READER.1, Privilege::collection("Query")),
    (READER.1, Privilege::global("DescribeCollection")),
    (WRITER.1, Privilege::collection("Insert")),
    (WRITER.1, Privilege::global("CreateCollection")),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_comes_back_in_a_new_one_with_users_roles_and_grants() -> Result<()> {
    let secret = (PASSWORD_VARIABLE, NEW_PASSWORD);
    let installation = Installation::start_with("restore_whole", &[secret]).await?;
    let api = &installation.api;
    let source = Guarded::start(&installation, "old").await?;
    let expected = fill(&source.root).await?;
    let started = api.create_backup(&source.cluster_id, json!({})).await?;
    let (backup, _) = api.await_available(&started).await?;
    assert_eq!(backup["type"], "CLUSTER", "{backup}");

    let target = Guarded::start(&installation, "new").await?;
    let password = json!({ "user": READER.0, "password": { "environment": PASSWORD_VARIABLE } });
    let input = json!({ "backupId": backup["id"], "targetClusterId": target.cluster_id, "newCluster": true,
        "compare": "ROWS", "accessControl": { "passwords": [password] } });
    check_plan(api, &input).await?;
    let job = api.restore_ok(input).await?;
    let warnings = job["restore"]["warnings"].to_string();
    for words in [WRITER.0, "no password was given", "Milvus does not tell"] {
        ensure!(warnings.contains(words), "{words} is missing in: {warnings}");
    }

    check_rows_and_surroundings(&target.root, &expected).await?;
    check_no_staging(&target.server, &job)?;
    check_what_users_may(&target).await?;
    // What a backup of the new cluster shows is what that of the old one shows.
    let started = api.create_backup(&target.cluster_id, json!({})).await?;
    let (again, _) = api.await_available(&started).await?;
    assert_eq!(contents(api, &again).await?, contents(api, &backup).await?);
    let (was, is) = (access_control(api, &backup).await?, access_control(api, &again).await?);
    assert_eq!(was["users"], json!([READER.0, WRITER.0, "root"]));
    assert_eq!(is["users"], json!([READER.0, "root"]));
    assert_eq!(members(&is, READER.1), &json!([READER.0]), "{is}");
    assert_eq!(members(&is, WRITER.1), &json!([]), "{is}");
    assert_eq!(is["grants"], was["grants"]);

    let log = std::fs::read_to_string(installation.milvault.log_file())?;
    ensure!(!log.contains(NEW_PASSWORD), "the password is in the log");
    installation.finish().await
}

/// A registered Milvus that asks who calls.
struct Guarded {
    server: Milvus,
    root: MilvusClient,
    cluster_id: String,
}

impl Guarded {
    async fn start(installation: &Installation, name: &str) -> Result<Self> {
        let api = &installation.api;
        let tools = Tools::install().await?;
        let directory = run_directory()?.join(format!("milvus-{name}-whole"));
        let server =
            Milvus::start(&tools, MilvusOptions { auth: true, ..MilvusOptions::local(directory) }).await?;
        let token = server.token().context("this one has a first user")?;
        let root = MilvusClient::connect_with_token(&server.uri(), token).await?;
        let (user, password) = token.split_once(':').context("a token has a user and a password")?;
        let user = json!({ "name": name, "user": user, "password": { "value": password } });
        let repository = installation.repository_dir().join(name);
        let repository_id = api.register_local_repository(name, &repository).await?;
        let storage = json!({ "local": { "path": server.storage_dir() } });
        let cluster_id = api.register_cluster(&server.uri(), &storage, &repository_id, user).await?;
        Ok(Self { server, root, cluster_id })
    }
}

/// Fills a cluster and returns the rows of its collections, by database and name.
async fn fill(root: &MilvusClient) -> Result<BTreeMap<(String, String), Rows>> {
    for name in [LOADED, UNLOADED] {
        plain_collection(root, name, ROWS, DIMENSION).await?;
        index_and_load(root, name).await?;
    }
    root.create_alias(LOADED, ALIAS).await?;
    for name in DATABASES {
        root.create_database(name).await?;
    }
    let shop = root.in_database(DATABASES[0]);
    plain_collection(&shop, ORDERS, ROWS, DIMENSION).await?;
    shop.create_partition(ORDERS, PARTITION).await?;
    shop.insert(ORDERS, PARTITION, &plain_rows(ROWS, ROWS, DIMENSION)).await?;
    shop.delete(ORDERS, "id in [1, 2, 3]").await?;
    shop.set_property(ORDERS, TIME_TO_LIVE.0, TIME_TO_LIVE.1).await?;
    shop.create_alias(ORDERS, ORDERS_ALIAS).await?;
    index_and_load(&shop, ORDERS).await?;
    let mut expected = BTreeMap::new();
    for database in [root, &shop] {
        for name in database.collection_names().await? {
            let rows = database.rows(&name).await?;
            expected.insert((database.database().to_owned(), name), rows);
        }
    }
    root.release(UNLOADED).await?;
    for (user, role) in [READER, WRITER] {
        root.create_user(user, OLD_PASSWORD).await?;
        root.create_role_of(user, role).await?;
    }
    for (role, privilege) in GRANTS {
        root.grant(role, privilege).await?;
    }
    Ok(expected)
}

/// The plan says who is made, and who is not for want of a password.
async fn check_plan(api: &Api, input: &Value) -> Result<()> {
    let document = "query($input: RestoreBackupInput!) { planRestore(input: $input) { feasible warnings
        accessControl { users usersWithoutPassword roles grantCount } } }";
    let answer = api.request(document, json!({ "input": input })).await?;
    let plan = &answer["planRestore"];
    assert_eq!(plan["feasible"], true, "{plan}");
    let access = json!({ "users": [READER.0], "usersWithoutPassword": [WRITER.0], "roles": [READER.1, WRITER.1],
        "grantCount": GRANTS.len() });
    assert_eq!(plan["accessControl"], access);
    let warnings = plan["warnings"].to_string();
    for words in ["Milvus does not give passwords out", WRITER.0] {
        ensure!(warnings.contains(words), "{words} is missing in: {warnings}");
    }
    Ok(())
}

async fn check_rows_and_surroundings(
    root: &MilvusClient,
    expected: &BTreeMap<(String, String), Rows>,
) -> Result<()> {
    let mut databases = root.database_names().await?;
    databases.sort_unstable();
    assert_eq!(databases, ["default", DATABASES[1], DATABASES[0]]);
    assert_eq!(root.collection_names().await?, [UNLOADED, LOADED]);
    ensure!(!root.is_loaded(UNLOADED).await?, "{UNLOADED} is loaded");
    root.load(UNLOADED).await?;
    for ((database, collection), rows) in expected {
        check_rows(&root.in_database(database), collection, rows).await?;
    }
    root.release(UNLOADED).await?;
    check_rows(root, ALIAS, &expected[&(String::from("default"), LOADED.to_owned())]).await?;
    let shop = root.in_database(DATABASES[0]);
    let described = shop.describe(ORDERS_ALIAS).await?;
    let property = described.properties.iter().find(|property| property.key == TIME_TO_LIVE.0);
    assert_eq!(property.map(|property| property.value.as_str()), Some(TIME_TO_LIVE.1));
    let in_partition = shop.rows_in(ORDERS, &[PARTITION]).await?;
    assert_eq!(in_partition.len() as u64, ROWS);
    check_clean(&shop).await
}

/// Milvus lets the restored user do what the role may, and nothing else; nobody else came, and no old password.
async fn check_what_users_may(target: &Guarded) -> Result<()> {
    let uri = target.server.uri();
    let log_in = async |user: &str, password: &str| {
        MilvusClient::connect_with_token(&uri, &format!("{user}:{password}")).await
    };
    let reader = log_in(READER.0, NEW_PASSWORD).await?;
    assert_eq!(reader.count(LOADED, "").await?, ROWS);
    let refused = reader.delete(LOADED, "id in [1]").await.err().context("a reader deletes")?;
    ensure!(format!("{refused:#}").contains("PrivilegeDelete"), "{refused:#}");
    for (user, password) in [(READER.0, OLD_PASSWORD), (WRITER.0, OLD_PASSWORD), (WRITER.0, NEW_PASSWORD)] {
        let other = log_in(user, password).await?;
        ensure!(other.database_names().await.is_err(), "{user} comes in with the password {password}");
    }
    Ok(())
}

async fn access_control(api: &Api, backup: &Value) -> Result<Value> {
    let document = "query($id: ID!) { backup(id: $id) { accessControl { users roles { name users }
        grants { role objectType objectName database privilege grantor } } } }";
    let answer = api.request(document, json!({ "id": backup["id"] })).await?;
    Ok(answer["backup"]["accessControl"].clone())
}

fn members<'a>(access: &'a Value, role: &str) -> &'a Value {
    let found =
        access["roles"].as_array().and_then(|all| all.iter().find(|entry| text(&entry["name"]) == role));
    found.map_or(&Value::Null, |entry| &entry["users"])
}
