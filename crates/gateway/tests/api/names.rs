//! Names of backups, as clients choose them.

use crate::support::Api;
use serde_json::{Value, json};

const CREATE: &str =
    "mutation($input: CreateBackupInput!) { createBackup(input: $input) { backup { id name } job { id } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_once_and_the_others_are_numbered() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster = api.furnish().await;
    let create = async |name: Option<&str>| {
        let answer = api.ask(CREATE, json!({"input": {"clusterId": cluster, "name": name}})).await;
        if answer.code() == "none" {
            let made = answer.body["data"]["createBackup"].clone();
            api.await_job(address, made["job"]["id"].as_str().unwrap()).await;
        }
        answer
    };
    let backup = |made: &Value| made["data"]["createBackup"]["backup"].clone();
    let nightly = backup(&create(Some("nightly")).await.body);
    assert_eq!(nightly["name"], "nightly");
    let taken = create(Some("nightly")).await;
    assert_eq!(taken.code(), "CONFLICT");
    assert!(taken.words().contains(nightly["id"].as_str().unwrap()), "{}", taken.words());
    for number in [1, 2] {
        assert_eq!(backup(&create(None).await.body)["name"], format!("prod_backup{number}"));
    }
    // One that is deleted frees its name.
    let delete = "mutation($id: ID!) { deleteBackup(input: {backupId: $id}) { backup { status } } }";
    api.ask(delete, json!({"id": nightly["id"]})).await.data();
    assert_ne!(backup(&create(Some("nightly")).await.body)["id"], nightly["id"]);
    // Renaming follows the same rule, in the same words.
    let rename = "mutation($id: ID!, $name: String) { updateBackup(input: {backupId: $id, name: $name}) { backup { name } } }";
    let other = backup(&create(None).await.body);
    let refused = api.ask(rename, json!({"id": other["id"], "name": "nightly"})).await;
    assert_eq!((refused.code(), refused.words().contains("is named `nightly`")), ("CONFLICT", true));
    for name in ["", " x", "x\u{0}", "x\u{200b}", "\u{202e}x", &"x".repeat(65)] {
        for answer in
            [create(Some(name)).await, api.ask(rename, json!({"id": other["id"], "name": name})).await]
        {
            let field = &answer.body["errors"][0]["extensions"]["field"];
            assert_eq!((answer.code(), field), ("BAD_USER_INPUT", &json!("name")), "{name:?}");
        }
    }
}
