//! Scheduled verifies and drills on real servers: a damaged byte is found, shown and healed, and a drill proves a backup.

use crate::support::{Api, Installation, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use milvault_domain::object::StoredObject;
use milvault_tests::demo::byte_check::{place, read_objects};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const DATABASE: &str = "checks";
const ROWS: u64 = 3_000;
const DIMENSION: usize = 64;

const SET_VERIFY: &str = "mutation($input: SetVerifyPolicyInput!) { setVerifyPolicy(input: $input) {
    verifyPolicy { enabled everyDays level daysBehind nextRunAt } job { id } } }";
const SET_DRILL: &str = "mutation($input: SetDrillPolicyInput!) { setDrillPolicy(input: $input) {
    drillPolicy { enabled nextRunAt oneInTurn } job { id } } }";
const SHOWN: &str = "query($id: ID!) { backup(id: $id) { repositoryId
    verification { state coveredPercent damagedCount level lastVerifiedAt findings { file key reason } }
    lastDrill { id state compareReport { collections { source { collection } rowsComparedWhole } } leftovers { attempts } } } }";

async fn shown(api: &Api, backup_id: &str) -> Result<Value> {
    Ok(api.request(SHOWN, json!({ "id": backup_id })).await?["backup"].take())
}

/// Begins a share of everything by switching the policy off and on, and waits for its end.
async fn next_share(api: &Api, repository_id: &str) -> Result<Value> {
    let off = json!({ "repositoryId": repository_id, "enabled": false, "everyDays": 1 });
    let answer = api.request(SET_VERIFY, json!({ "input": off })).await?;
    assert_eq!(answer["setVerifyPolicy"]["verifyPolicy"]["nextRunAt"], Value::Null, "{answer}");
    let on = json!({ "repositoryId": repository_id, "enabled": true });
    let answer = api.request(SET_VERIFY, json!({ "input": on })).await?;
    let job_id = answer["setVerifyPolicy"]["job"]["id"].as_str().context("no share was begun")?.to_owned();
    api.await_end(&job_id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_byte_is_found_and_shown_and_the_next_backup_heals_it() -> Result<()> {
    let installation = Installation::start("checks").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", ROWS, DIMENSION).await?;
    let (first, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let first = text(&first["id"]);
    let before = shown(api, first).await?;
    assert_eq!(before["verification"]["state"], "NEVER", "{before}");
    let repository_id = text(&before["repositoryId"]);

    let clean = next_share(api, repository_id).await?;
    assert_eq!((&clean["state"], &clean["backupId"]), (&json!("SUCCESSFUL"), &Value::Null), "{clean}");
    let verified = shown(api, first).await?["verification"].take();
    assert_eq!(
        (&verified["state"], &verified["coveredPercent"]),
        (&json!("VERIFIED"), &json!(100)),
        "{verified}"
    );

    let damaged = flip_a_bit(&installation.repository_dir(), first)?;
    let found = next_share(api, repository_id).await?;
    assert_eq!(found["state"], "FAILED", "{found}");
    ensure!(text(&found["failure"]).contains(&damaged.source.key.to_string()), "{found}");
    let verification = shown(api, first).await?["verification"].take();
    assert_eq!((&verification["state"], &verification["damagedCount"]), (&json!("DAMAGED"), &json!(1)));
    assert_eq!(verification["findings"][0]["key"], damaged.source.key.to_string(), "{verification}");
    let listed = "{ backups(filter: { verification: DAMAGED }) { nodes { id } } }";
    let listed = api.request(listed, json!({})).await?;
    assert_eq!(listed["backups"]["nodes"], json!([{ "id": first }]), "{listed}");

    let (second, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let second = text(&second["id"]);
    let copied = &job["progress"];
    ensure!(copied["objectsReused"].as_u64() < copied["objectsTotal"].as_u64(), "nothing was copied: {job}");
    ensure!(copied["objectsReused"].as_u64() > Some(0), "sound objects were copied again: {job}");
    api.verify_ok(second).await?;
    let healed = shown(api, second).await?["verification"].take();
    assert_eq!(healed["state"], "VERIFIED", "{healed}");
    let still = next_share(api, repository_id).await?;
    assert_eq!(still["state"], "FAILED", "the first backup still needs the damaged file: {still}");
    assert_eq!(shown(api, second).await?["verification"]["state"], "VERIFIED");
    assert_eq!(shown(api, first).await?["verification"]["state"], "DAMAGED");

    a_drill_proves_the_newest_backup(api, &cluster_id, second).await?;
    let databases = milvus.database_names().await?;
    ensure!(!databases.iter().any(|name| name.contains("drill")), "a drill left {databases:?}");
    installation.finish().await
}

async fn a_drill_proves_the_newest_backup(api: &Api, cluster_id: &str, backup_id: &str) -> Result<()> {
    let input = json!({ "clusterId": cluster_id, "enabled": true, "targetClusterId": cluster_id,
        "weekdays": [7], "startTime": "03:00", "depth": "ROWS", "maxBytes": 1_000_000_000 });
    let answer = api.request(SET_DRILL, json!({ "input": input })).await?;
    let job_id = answer["setDrillPolicy"]["job"]["id"].as_str().context("no drill was begun")?.to_owned();
    let job = api.await_end(&job_id).await?;
    assert_eq!((&job["state"], &job["createdBy"]), (&json!("SUCCESSFUL"), &json!("schedule")), "{job}");
    let drill = shown(api, backup_id).await?["lastDrill"].take();
    assert_eq!((&drill["id"], &drill["leftovers"]), (&json!(job_id), &Value::Null), "{drill}");
    let compared = &drill["compareReport"]["collections"];
    assert_eq!(compared[0]["rowsComparedWhole"], ROWS, "{drill}");
    Ok(())
}

/// Flips one bit of the largest object of a backup, and returns the object.
fn flip_a_bit(repository: &Path, backup_id: &str) -> Result<StoredObject> {
    let manifest = File::open(repository.join("backups").join(backup_id).join("manifest"))?;
    let mut largest: Option<StoredObject> = None;
    read_objects(manifest, |object| {
        if largest.as_ref().is_none_or(|largest| largest.stored_bytes < object.stored_bytes) {
            largest = Some(object);
        }
    })?;
    let object = largest.context("the backup is empty")?;
    let (file, start) = place(&object);
    let file = OpenOptions::new().read(true).write(true).open(repository.join(file))?;
    let mut byte = [0];
    let at = start + object.stored_bytes / 2;
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1;
    file.write_all_at(&byte, at)?;
    Ok(object)
}
