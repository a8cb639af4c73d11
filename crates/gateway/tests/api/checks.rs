//! Scheduled verifies and drills, as a client sets and sees them.

use crate::restore::Scene;
use crate::support::Api;
use milvault_domain::access::Role;
use serde_json::{Value, json};

const SET_VERIFY: &str = "mutation($input: SetVerifyPolicyInput!) { setVerifyPolicy(input: $input) {
    verifyPolicy { enabled level everyDays hour timeZone maxBytesPerSecond daysBehind turnPercent nextRunAt lastJob { id } }
    job { id type createdBy backup { id } } } }";
const SET_DRILL: &str = "mutation($input: SetDrillPolicyInput!) { setDrillPolicy(input: $input) {
    drillPolicy { enabled weekdays startTime cron timeZone targetClusterId oneInTurn collections { database collection }
        maxBytes depth nextRunAt lastCollection { collection } lastSkipped { scheduledFor reason } lastJob { id } }
    job { id type createdBy cluster { id } backup { id } } } }";
const SHOWN: &str = "query($id: ID!) { backup(id: $id) { repositoryId
    verification { state lastVerifiedAt level coveredPercent damagedCount findings { file key reason } }
    lastDrill { id state leftovers { attempts nextAttemptAt lastFailure } } } }";

async fn shown(api: &Api, backup_id: &str) -> Value {
    api.ask(SHOWN, json!({"id": backup_id})).await.data()["backup"].take()
}

async fn repository_of(scene: &Scene) -> String {
    shown(&scene.api, &scene.backup).await["repositoryId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verify_policy_is_set_reads_a_share_and_shows_on_the_backup() {
    let scene = Scene::set().await;
    let (api, repository_id) = (&scene.api, repository_of(&scene).await);
    let before = shown(api, &scene.backup).await["verification"].take();
    assert_eq!(
        before,
        json!({"state": "NEVER", "lastVerifiedAt": null, "level": null, "coveredPercent": 0,
        "damagedCount": 0, "findings": []})
    );

    let input = json!({"repositoryId": repository_id, "enabled": true, "level": "EXISTENCE", "everyDays": 1, "hour": 4,
        "timeZone": "Europe/Berlin", "maxBytesPerSecond": 1_000_000});
    let set = api.ask(SET_VERIFY, json!({"input": input})).await.data()["setVerifyPolicy"].take();
    let policy = &set["verifyPolicy"];
    assert_eq!((&policy["level"], &policy["everyDays"]), (&json!("EXISTENCE"), &json!(1)));
    assert_eq!((&policy["hour"], &policy["timeZone"]), (&json!(4), &json!("Europe/Berlin")));
    assert_eq!(policy["maxBytesPerSecond"], 1_000_000);
    assert!(policy["nextRunAt"].as_str().unwrap().starts_with("2025-06-16T0"), "{policy}");
    assert_eq!((&set["job"]["type"], &set["job"]["createdBy"]), (&json!("VERIFY"), &json!("schedule")));
    assert_eq!((&set["job"]["backup"], &policy["lastJob"]["id"]), (&Value::Null, &set["job"]["id"]));
    let address = scene.address();
    assert_eq!(api.await_job(address, set["job"]["id"].as_str().unwrap()).await["state"], "SUCCESSFUL");
    let verified = shown(api, &scene.backup).await["verification"].take();
    assert_eq!((&verified["state"], &verified["level"]), (&json!("VERIFIED"), &json!("EXISTENCE")));
    assert!(verified["lastVerifiedAt"].is_string());

    // What is not named stays; off and on again reads another share, more thoroughly.
    let off = json!({"repositoryId": repository_id, "enabled": false, "level": "CONTENT", "maxBytesPerSecond": null});
    let off = api.ask(SET_VERIFY, json!({"input": off})).await.data()["setVerifyPolicy"].take();
    assert_eq!((&off["job"], &off["verifyPolicy"]["nextRunAt"]), (&Value::Null, &Value::Null));
    assert_eq!(off["verifyPolicy"]["maxBytesPerSecond"], Value::Null);
    let on = json!({"repositoryId": repository_id, "enabled": true});
    let on = api.ask(SET_VERIFY, json!({"input": on})).await.data()["setVerifyPolicy"].take();
    assert_eq!((&on["verifyPolicy"]["everyDays"], &on["verifyPolicy"]["hour"]), (&json!(1), &json!(4)));
    assert_eq!(api.await_job(address, on["job"]["id"].as_str().unwrap()).await["state"], "FAILED");
    let damaged = shown(api, &scene.backup).await["verification"].take();
    assert_eq!((&damaged["state"], &damaged["damagedCount"]), (&json!("DAMAGED"), &json!(1)));
    assert_eq!(damaged["findings"][0]["reason"], "the hash differs");
    for (state, expected) in [("DAMAGED", 1), ("VERIFIED", 0), ("NEVER", 0)] {
        let list = format!("{{ backups(filter: {{verification: {state}}}) {{ nodes {{ id }} }} }}");
        let listed = api.ask(&list, json!({})).await.data()["backups"]["nodes"].take();
        assert_eq!(listed.as_array().unwrap().len(), expected, "{state}");
    }
    let query = "query($id: ID!) { repository(id: $id) { verifyPolicy { enabled level daysBehind } } }";
    let kept = api.ask(query, json!({"id": repository_id})).await.data()["repository"]["verifyPolicy"].take();
    assert_eq!(kept, json!({"enabled": true, "level": "CONTENT", "daysBehind": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_policy_is_set_and_its_drill_shows_on_the_backup() {
    let scene = Scene::set().await;
    let api = &scene.api;
    let input = json!({"clusterId": scene.source, "enabled": true, "cron": "0 3 * * 0", "timeZone": "Europe/Berlin",
        "targetClusterId": scene.target, "sample": {"oneInTurn": true}, "maxBytes": 5_000_000_000_u64, "depth": "KEYS"});
    let set = api.ask(SET_DRILL, json!({"input": input})).await.data()["setDrillPolicy"].take();
    let policy = &set["drillPolicy"];
    assert_eq!((&policy["cron"], &policy["weekdays"]), (&json!("0 3 * * 0"), &Value::Null));
    assert_eq!((&policy["oneInTurn"], &policy["depth"]), (&json!(true), &json!("KEYS")));
    assert_eq!(
        (&policy["targetClusterId"], &policy["maxBytes"]),
        (&json!(scene.target), &json!(5_000_000_000_u64))
    );
    assert!(policy["nextRunAt"].as_str().unwrap().starts_with("2025-06-22T0"), "{policy}");
    let job = &set["job"];
    assert_eq!((&job["type"], &job["createdBy"]), (&json!("DRILL"), &json!("schedule")), "{set}");
    assert_eq!((&job["cluster"]["id"], &job["backup"]["id"]), (&json!(scene.target), &json!(scene.backup)));
    let ended = api.await_job(scene.address(), job["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "SUCCESSFUL", "{ended}");
    let drill = shown(api, &scene.backup).await["lastDrill"].take();
    assert_eq!(drill, json!({"id": job["id"], "state": "SUCCESSFUL", "leftovers": null}));

    let named = json!({"clusterId": scene.source, "enabled": false, "maxBytes": null,
        "sample": {"collections": [{"collection": "a"}, {"database": "b", "collection": "c"}]}});
    let changed = api.ask(SET_DRILL, json!({"input": named})).await.data()["setDrillPolicy"].take();
    let policy = &changed["drillPolicy"];
    assert_eq!(
        (&changed["job"], &policy["nextRunAt"], &policy["maxBytes"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let wanted = json!([{"database": "default", "collection": "a"}, {"database": "b", "collection": "c"}]);
    assert_eq!((&policy["collections"], &policy["cron"]), (&wanted, &json!("0 3 * * 0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_break_a_rule_are_refused() {
    let scene = Scene::set().await;
    let (api, repository_id) = (&scene.api, repository_of(&scene).await);
    for (field, bad) in [
        ("everyDays", json!({"everyDays": 0})),
        ("everyDays", json!({"everyDays": 366})),
        ("everyDays", json!({"everyDays": -1})),
        ("hour", json!({"hour": 24})),
        ("timeZone", json!({"timeZone": "Mars/Olympus"})),
        ("maxBytesPerSecond", json!({"maxBytesPerSecond": 5})),
    ] {
        let mut input = json!({"repositoryId": repository_id, "enabled": true});
        input.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let answer = api.ask(SET_VERIFY, json!({"input": input})).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{field}");
        assert_eq!(answer.body["errors"][0]["extensions"]["field"], field, "{}", answer.body);
    }
    for (field, bad) in [
        ("targetClusterId", json!({"targetClusterId": null})),
        ("cron", json!({"cron": "* * * * *"})),
        ("cron", json!({"cron": "0 3 * * 0", "weekdays": [1]})),
        ("weekdays", json!({"weekdays": [8]})),
        ("maxBytes", json!({"maxBytes": 0})),
        ("sample", json!({"sample": {"everything": false}})),
        ("collections", json!({"sample": {"collections": []}})),
    ] {
        let mut input = json!({"clusterId": scene.source, "enabled": true, "targetClusterId": scene.target});
        input.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let answer = api.ask(SET_DRILL, json!({"input": input})).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{field}");
        assert_eq!(answer.body["errors"][0]["extensions"]["field"], field, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_set_policies_and_others_only_see_them() {
    let scene = Scene::set().await;
    let (api, repository_id) = (&scene.api, repository_of(&scene).await);
    let verify = json!({"input": {"repositoryId": repository_id, "enabled": false}});
    let drill =
        json!({"input": {"clusterId": scene.source, "enabled": false, "targetClusterId": scene.target}});
    api.ask(SET_VERIFY, verify.clone()).await.data();
    api.ask(SET_DRILL, drill.clone()).await.data();
    let query = "query($repository: ID!, $cluster: ID!, $backup: ID!) {
        repository(id: $repository) { verifyPolicy { enabled } } cluster(id: $cluster) { drillPolicy { enabled } }
        backup(id: $backup) { verification { state } lastDrill { id } } }";
    let ids = json!({"repository": repository_id, "cluster": scene.source, "backup": scene.backup});
    for role in [Role::ProjectReadOnly, Role::ProjectReadWrite, Role::CustomBackupView] {
        let key = api.key_with(role);
        for (mutation, input) in [(SET_VERIFY, &verify), (SET_DRILL, &drill)] {
            assert_eq!(api.ask_as(&key, mutation, input.clone()).await.code(), "FORBIDDEN", "{role:?}");
        }
        let seen = api.ask_as(&key, query, ids.clone()).await.data();
        assert_eq!(seen["repository"]["verifyPolicy"]["enabled"], false, "{role:?}");
        assert_eq!(seen["cluster"]["drillPolicy"]["enabled"], false, "{role:?}");
        assert_eq!(seen["backup"]["verification"]["state"], "NEVER", "{role:?}");
    }
    let owner = api.key_with(Role::ProjectOwner);
    api.ask_as(&owner, SET_VERIFY, verify).await.data();
    api.ask_as(&owner, SET_DRILL, drill).await.data();
}
