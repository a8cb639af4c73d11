//! What the API refuses, and how: requests that break a rule, and clusters that cannot be backed up.

use crate::support::{Api, Installation, local_storage, plain_collection, text};
use anyhow::{Context as _, Result, bail, ensure};
use milvault_tests::graphql_client::{GraphqlClient, GraphqlError};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;

/// Slow enough that the backup of [`fill`] is still at work when the next request comes.
const SLOW_BYTES_PER_SECOND: u64 = 1 << 20;

/// A collection of about 8 MiB in a database of its own.
async fn fill(installation: &Installation, database: &str, cluster: Value) -> Result<String> {
    let (cluster_id, milvus) = installation.with_local_cluster(cluster).await?;
    let database = milvus.create_database(database).await?;
    plain_collection(&database, "rows", 8_000, 256).await?;
    Ok(cluster_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_simultaneous_requests_one_is_accepted_and_the_others_learn_its_job() -> Result<()> {
    let installation = Installation::start("conflicts").await?;
    let slow = json!({ "maxBytesPerSecond": SLOW_BYTES_PER_SECOND });
    let cluster_id = fill(&installation, "conflicts", slow).await?;
    let api = &installation.api;
    let scope = json!({ "scope": { "databases": ["conflicts"] } });

    let request = || api.create_backup(&cluster_id, scope.clone());
    let answers = futures::join!(request(), request(), request(), request());
    let (accepted, refused): (Vec<_>, Vec<_>) =
        [answers.0, answers.1, answers.2, answers.3].into_iter().partition(Result::is_ok);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    let accepted = accepted.into_iter().next().context("one was accepted")??;
    for answer in refused {
        assert_conflict(answer, &accepted.job_id)?;
    }
    // A verify is no backup, but this one has nothing to look at yet.
    let verify = api.verify(&accepted.backup_id).await;
    ensure!(verify.is_err_and(|error| error.to_string().starts_with("CONFLICT")));

    api.cancel(&accepted.job_id).await?;
    api.await_end(&accepted.job_id).await?;
    // Now the cluster is free. The same key means the same backup, also while it runs; the same key for another
    // request does not.
    let keyed = json!({ "scope": { "databases": ["conflicts"] }, "idempotencyKey": "once" });
    let (one, two) = futures::join!(
        api.create_backup(&cluster_id, keyed.clone()),
        api.create_backup(&cluster_id, keyed.clone())
    );
    let (one, two) = (one?, two?);
    assert_eq!(one, two);
    let other = json!({ "scope": { "databases": ["default"] }, "idempotencyKey": "once" });
    assert_conflict(api.create_backup(&cluster_id, other).await, &one.job_id)?;
    api.cancel(&one.job_id).await?;
    assert_eq!(api.await_end(&one.job_id).await?["state"], "CANCELED");
    assert_eq!(api.create_backup(&cluster_id, keyed).await?, one);
    // Stopping it again is harmless; what has ended otherwise cannot be stopped.
    assert_eq!(api.cancel(&one.job_id).await?["state"], "CANCELED");
    api.update_cluster(&cluster_id, json!({ "maxBytesPerSecond": null })).await?;
    let (_, ended) = api.back_up(&cluster_id, &["conflicts"]).await?;
    assert_conflict(api.cancel(text(&ended["id"])).await, text(&ended["id"]))?;
    installation.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_refused_by_its_code() -> Result<()> {
    let installation = Installation::start("rules").await?;
    let (cluster_id, _) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let unknown = "clu_0190f6f0aaaa7bbb8cccddddeeeeffff";
    for (id, code) in [(unknown, "NOT_FOUND"), ("clu_1", "BAD_USER_INPUT"), ("", "BAD_USER_INPUT")] {
        assert_code(api.create_backup(id, json!({})).await, code)?;
        assert_code(api.check_cluster(id).await, code)?;
    }
    // An id of another kind is no id of a cluster.
    assert_code(api.create_backup(&unknown.replace("clu_", "bkp_"), json!({})).await, "BAD_USER_INPUT")?;
    assert_code(api.cancel("job_0190f6f0aaaa7bbb8cccddddeeeeffff").await, "NOT_FOUND")?;
    assert_code(
        api.request("{ job(id: \"job_0190f6f0aaaa7bbb8cccddddeeeeffff\") { id } }", json!({})).await,
        "NOT_FOUND",
    )?;
    for input in [
        json!({ "retentionDays": 0 }),
        json!({ "retentionDays": 31 }),
        json!({ "retentionDays": -1 }),
        json!({ "name": "" }),
        json!({ "name": "x".repeat(65) }),
        json!({ "description": "x".repeat(1025) }),
        json!({ "idempotencyKey": "" }),
        json!({ "scope": { "databases": [] } }),
        json!({ "scope": { "databases": ["a"], "collections": [{ "collection": "b" }] } }),
    ] {
        let answer = api.create_backup(&cluster_id, input.clone()).await;
        assert_code(answer, "BAD_USER_INPUT").with_context(|| input.to_string())?;
    }
    let twice = api.register_local_repository("local", &installation.repository_dir()).await;
    ensure!(twice.is_err(), "a repository was made where one is");
    // None of this left anything behind.
    let answer = api.request("{ backups { nodes { id } } jobs { nodes { id } } }", json!({})).await?;
    assert_eq!(answer, json!({ "backups": { "nodes": [] }, "jobs": { "nodes": [] } }));
    installation.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_the_key() -> Result<()> {
    let installation = Installation::start("keys").await?;
    let address = installation.milvault.address();
    let key = installation.milvault.api_key();
    let other = format!("mvk_{}", "0".repeat(key.len().saturating_sub(4)));
    for key in [None, Some(""), Some("mvk_"), Some(other.as_str())] {
        let api = Api::new(GraphqlClient::new(address, key)?);
        assert_code(api.viewer().await, "UNAUTHENTICATED")?;
        assert_code(api.create_backup("clu_1", json!({})).await, "UNAUTHENTICATED")?;
        let Err(GraphqlError::Transport(refused)) = api.watch("job_1").await else {
            bail!("a websocket was opened with the key {key:?}");
        };
        ensure!(format!("{refused:#}").contains("4401"), "{refused:#}");
    }
    installation.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_is_what_is_backed_up_and_an_unknown_name_fails_in_words() -> Result<()> {
    let installation = Installation::start("scopes").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let first = milvus.create_database("scope_a").await?;
    let second = milvus.create_database("scope_b").await?;
    for (database, name) in [(&first, "one"), (&first, "two"), (&second, "three")] {
        plain_collection(database, name, 100, 8).await?;
    }
    let make = async |scope: Value, more: Value| -> Result<Value> {
        let mut input = json!({ "scope": scope });
        input.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
        let started = api.create_backup(&cluster_id, input).await?;
        let (backup, _) = api.await_available(&started).await?;
        api.verify_ok(&started.backup_id).await?;
        Ok(backup)
    };
    let backup = make(json!({ "databases": ["scope_a", "scope_b"] }), json!({ "retentionDays": 30 })).await?;
    assert_eq!((&backup["type"], &backup["rowCount"]), (&json!("DATABASE"), &json!(300)));
    ensure!(!backup["expiresAt"].is_null(), "{backup}");
    assert_eq!(
        collections(api, &backup).await?,
        ["scope_a.one", "scope_a.two", "scope_b.three"].map(String::from).into()
    );

    let two = json!({ "collections": [{ "database": "scope_a", "collection": "two" }] });
    let backup = make(two, json!({ "name": "only two" })).await?;
    assert_eq!((&backup["type"], &backup["rowCount"]), (&json!("COLLECTION"), &json!(100)));
    assert_eq!((&backup["name"], &backup["expiresAt"]), (&json!("only two"), &Value::Null));
    assert_eq!(collections(api, &backup).await?, BTreeSet::from([String::from("scope_a.two")]));

    for (scope, name) in [
        (json!({ "collections": [{ "database": "scope_a", "collection": "absent" }] }), "absent"),
        (json!({ "databases": ["nowhere"] }), "nowhere"),
    ] {
        let started = api.create_backup(&cluster_id, json!({ "scope": scope })).await?;
        let job = api.await_end(&started.job_id).await?;
        assert_eq!(job["state"], "FAILED", "{job}");
        ensure!(text(&job["failure"]).contains(name), "{} does not name {name}", job["failure"]);
        assert_eq!(api.backup(&started.backup_id).await?["status"], "FAILED");
    }
    installation.finish().await
}

/// `database.collection` of everything in a backup.
async fn collections(api: &Api, backup: &Value) -> Result<BTreeSet<String>> {
    let document =
        "query($id: ID!) { backup(id: $id) { databases { nodes { name collections { nodes { name } } } } } }";
    let answer = api.request(document, json!({ "id": backup["id"] })).await?;
    let databases = answer["backup"]["databases"]["nodes"].as_array().context("databases")?;
    let names = databases.iter().flat_map(|database| {
        let collections = database["collections"]["nodes"].as_array().into_iter().flatten();
        collections.map(|collection| format!("{}.{}", text(&database["name"]), text(&collection["name"])))
    });
    Ok(names.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milvus_that_does_not_answer_is_told_in_words_and_fails_its_jobs_only() -> Result<()> {
    let installation = Installation::start("unreachable").await?;
    let api = &installation.api;
    let repository_id = api.register_local_repository("local", &installation.repository_dir()).await?;
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let storage = json!({ "local": { "path": local_storage().await? } });
    let uri = format!("http://127.0.0.1:{port}");
    let cluster_id = api.register_cluster(&uri, &storage, &repository_id, json!({})).await?;

    let check = api.check_cluster(&cluster_id).await?;
    assert_eq!(check["ok"], false, "{check}");
    let findings = check["findings"].as_array().context("findings")?;
    let bad: Vec<&Value> = findings.iter().filter(|finding| finding["ok"] == false).collect();
    assert_eq!(bad.len(), 1, "{check}");
    assert_eq!(bad[0]["subject"], "milvus");
    ensure!(text(&bad[0]["message"]).contains(&uri), "{check}");

    let started = api.create_backup(&cluster_id, json!({})).await?;
    let job = api.await_end(&started.job_id).await?;
    assert_eq!(job["state"], "FAILED", "{job}");
    ensure!(text(&job["failure"]).contains(&uri), "{job}");
    assert_eq!(api.backup(&started.backup_id).await?["status"], "FAILED");

    // The cluster is free again, and a directory that holds no binlogs of this Milvus is another matter of words.
    let wrong = json!({ "local": { "path": installation.repository_dir().join("absent") } });
    api.update_cluster(&cluster_id, json!({ "storage": wrong })).await?;
    let check = api.check_cluster(&cluster_id).await?;
    let subjects: BTreeSet<&str> = check["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["ok"] == false)
        .map(|finding| text(&finding["subject"]))
        .collect();
    assert_eq!(subjects, BTreeSet::from(["milvus", "storage"]), "{check}");
    installation.finish().await
}

fn assert_code<T: std::fmt::Debug>(answer: Result<T, GraphqlError>, code: &str) -> Result<()> {
    match answer {
        Err(error) if error.code() == Some(code) => Ok(()),
        other => bail!("{code} was expected, not {other:?}"),
    }
}

/// A refusal that names the job which is in the way.
fn assert_conflict<T: std::fmt::Debug>(answer: Result<T, GraphqlError>, job_id: &str) -> Result<()> {
    match answer {
        Err(GraphqlError::Answer { code, extensions, .. }) if code == "CONFLICT" => {
            assert_eq!(extensions["jobId"], job_id, "{extensions}");
            Ok(())
        }
        other => bail!("CONFLICT was expected, not {other:?}"),
    }
}
