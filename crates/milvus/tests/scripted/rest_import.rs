//! Imports into 2.4 and later: over REST where there is REST, over gRPC where there is none, and never twice.

use crate::connect::{Certificates, certificates};
use crate::rest::{Reply, RestMilvus};
use crate::service::{connect_target, connect_target_at, endpoint};
use milvault_domain::backup::CollectionName;
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::error::PortErrorKind;
use milvault_domain::ports::{ImportRequest, MilvusTarget};
use milvault_domain::secret::{Secret, SecretValue};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

const LIST: &str = "/v2/vectordb/jobs/import/list";
const CREATE: &str = "/v2/vectordb/jobs/import/create";

fn import(collection: &str, directory: &str) -> ImportRequest {
    ImportRequest {
        name: CollectionName { database: String::from("default"), collection: collection.to_owned() },
        partition: String::from("_default"),
        insert_path: format!("{directory}/insert_log/1/50/"),
        delta_path: None,
        cut_at_ms: 1_000,
    }
}

async fn connected(milvus: &RestMilvus) -> Arc<dyn MilvusTarget> {
    let address = milvus.serve().await;
    connect_target_at(&endpoint(&format!("http://{address}"))).await
}

fn creates(milvus: &RestMilvus) -> usize {
    milvus.rest().paths().iter().filter(|path| **path == CREATE).count()
}

#[tokio::test]
async fn an_import_is_sent_as_milvus_wants_it() {
    let milvus = RestMilvus::with_collections(&["a"]);
    let address = milvus.serve().await;
    let auth = MilvusAuth::Password {
        user: String::from("root"),
        password: Secret::Value(SecretValue::new(String::from("hunter2"))),
    };
    let target = connect_target_at(&MilvusEndpoint { auth, ..endpoint(&format!("http://{address}")) }).await;
    let with_deletes =
        ImportRequest { delta_path: Some(String::from("x/delta_log/1/50/")), ..import("a", "x") };
    assert_eq!(target.import(&with_deletes).await.unwrap(), [1]);
    // Early servers of 2.4 answer in another way.
    milvus.rest().replies = [Reply::Begun(json!({ "code": 200, "data": { "jobID": 2 } }))].into();
    let deletes = ImportRequest {
        partition: String::new(),
        insert_path: String::new(),
        delta_path: Some(String::from("x/delta_log/1/-1/")),
        ..import("a", "x")
    };
    assert_eq!(target.import(&deletes).await.unwrap(), [2]);

    let rest = milvus.rest();
    assert_eq!(rest.paths(), [LIST, CREATE, CREATE]);
    let end_ts = ((1_001_u64 << 18) - 1).to_string();
    let expected = json!({
        "dbName": "default",
        "collectionName": "a",
        "partitionName": "_default",
        "files": [["x/insert_log/1/50/", "x/delta_log/1/50/"]],
        "options": { "backup": "true", "end_ts": end_ts, "skip_disk_quota_check": "true" },
    });
    assert_eq!(rest.requests[1].body, expected);
    let expected = json!({
        "dbName": "default",
        "collectionName": "a",
        "files": [["x/delta_log/1/-1/"]],
        "options": { "l0_import": "true", "end_ts": end_ts, "skip_disk_quota_check": "true" },
    });
    assert_eq!(rest.requests[2].body, expected);
    for request in &rest.requests {
        let head = request.head.to_lowercase();
        assert!(head.starts_with("post "), "{head}");
        for line in ["authorization: bearer root:hunter2", "content-type: application/json"] {
            assert!(head.contains(line), "{head}");
        }
        assert!(head.contains(&format!("host: {address}")), "{head}");
    }
    assert!(rest.requests[1].head.to_lowercase().contains("request-timeout: 60"));
    assert_eq!(milvus.milvus.state().imports.len(), 2);
}

#[tokio::test]
async fn refusals_are_told_apart_as_those_of_grpc() {
    let milvus = RestMilvus::with_collections(&["a"]);
    let target = connected(&milvus).await;
    let said = |status, code: i32, message: &str| {
        Reply::Said(status, json!({ "code": code, "message": message }).to_string())
    };
    milvus.rest().replies = [said(200, 8, "slow down")].into();
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
    for (status, code, message, kind) in [
        (200, 100, "collection not found[collection=a]", PortErrorKind::NotFound),
        (200, 2100, "importing data failed: collection not found", PortErrorKind::NotFound),
        (200, 2100, "The number of jobs has reached the limit", PortErrorKind::Unavailable),
        (500, 2101, "The number of jobs has reached the limit", PortErrorKind::Unavailable),
        (200, 9, "quota exceeded", PortErrorKind::InvalidInput),
        (401, 1800, "hunter2 is wrong", PortErrorKind::PermissionDenied),
        (403, 1401, "permission deny", PortErrorKind::PermissionDenied),
        (400, 1100, "unsupported file type", PortErrorKind::InvalidInput),
    ] {
        milvus.rest().replies = [said(status, code, message)].into();
        let error = target.import(&import("a", "x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(milvus.milvus.state().imports.len(), 1);
}

#[tokio::test]
async fn where_there_is_no_rest_imports_go_over_grpc() {
    let milvus = RestMilvus::with_collections(&["a"]);
    milvus.rest().absent = true;
    let target = connected(&milvus).await;
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
    assert_eq!(target.import(&import("a", "y")).await.unwrap(), [2]);
    assert_eq!(milvus.rest().paths(), [LIST]);

    // Nothing but gRPC at the address.
    let target = connect_target(&milvus.milvus).await;
    assert_eq!(target.import(&import("a", "z")).await.unwrap(), [3]);

    // Only the request for the import is not known, or in another form.
    for (status, answer) in [(404, "404 page not found"), (200, r#"{"code":1802,"message":"missing"}"#)] {
        let milvus = RestMilvus::with_collections(&["a"]);
        milvus.rest().replies = [Reply::Said(status, answer.to_owned())].into();
        let target = connected(&milvus).await;
        assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
        assert_eq!(creates(&milvus), 1);
    }
}

#[tokio::test]
async fn older_servers_are_not_asked() {
    let milvus = RestMilvus::with_collections(&["a"]);
    milvus.milvus.state().version = Some("v2.3.5");
    let target = connected(&milvus).await;
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
    assert!(milvus.rest().requests.is_empty());
}

#[tokio::test]
async fn an_import_whose_answer_is_lost_is_found_by_its_files() {
    let milvus = RestMilvus::with_collections(&["a", "b"]);
    let target = connected(&milvus).await;
    let gateway = || Reply::Begun(json!("upstream timed out"));
    for (reply, expected) in [(Reply::Broken { begun: true }, 2), (Reply::BegunWithoutEnd, 4), (gateway(), 6)]
    {
        // Others are under way in the same collection.
        target.import(&import("a", &format!("other/{expected}"))).await.unwrap();
        milvus.rest().replies = [reply].into();
        let found = target.import(&import("a", &format!("staged/{expected}"))).await.unwrap();
        assert_eq!(found, [expected]);
    }
    assert_eq!((creates(&milvus), milvus.milvus.state().imports.len()), (6, 6));
}

#[tokio::test]
async fn an_import_that_is_not_found_is_not_asked_for_again() {
    let milvus = RestMilvus::with_collections(&["a"]);
    let target = connected(&milvus).await;
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
    milvus.rest().replies = [Reply::Broken { begun: false }].into();
    let error = target.import(&import("a", "y")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("cannot be told"), "{error}");
    assert_eq!((creates(&milvus), milvus.milvus.state().imports.len()), (2, 1));
}

/// A connection over TLS.
async fn secure(certificates: &Certificates, address: SocketAddr) -> Arc<dyn MilvusTarget> {
    let secure = MilvusEndpoint {
        ca_pem: Some(certificates.authority.clone()),
        server_name: Some(String::from("milvus.internal")),
        ..endpoint(&format!("https://{address}"))
    };
    connect_target_at(&secure).await
}

#[tokio::test]
async fn rest_uses_the_authority_and_the_name_of_the_endpoint() {
    let milvus = RestMilvus::with_collections(&["a"]);
    let certificates = certificates();
    let address = milvus.serve_tls(&certificates).await;
    let target = secure(&certificates, address).await;
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
    let rest = milvus.rest();
    assert_eq!(rest.paths(), [LIST, CREATE]);
    assert!(rest.requests[1].head.to_lowercase().contains(&format!("host: {address}")));
}

#[tokio::test]
async fn a_milvus_that_speaks_tls_itself_has_no_rest() {
    let milvus = RestMilvus::with_collections(&["a"]);
    let certificates = certificates();
    let address = milvus.milvus.serve(Some(certificates.identity())).await;
    let target = secure(&certificates, address).await;
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
}
