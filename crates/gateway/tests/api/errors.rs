//! What callers are told when something goes wrong, and what they are not told.

use crate::support::Api;
use crate::support::catalog::Trouble;
use axum::body::Body;
use axum::http::Request;
use milvault_gateway::GatewayLimits;
use serde_json::{Value, json};
use std::time::Duration;

const CLUSTER: &str = r#"{ cluster(id: "clu_00000000000000000000000000000001") { id } }"#;

#[tokio::test(flavor = "multi_thread")]
async fn defects_are_hidden_and_named_by_the_request_id() {
    let api = Api::start().await;
    for trouble in [Trouble::Defect, Trouble::Panic] {
        *api.catalog.trouble.lock().unwrap() = trouble;
        let answer = api.ask(CLUSTER, json!({})).await;
        assert_eq!(answer.code(), "INTERNAL");
        assert!(!answer.body.to_string().contains("canary"), "{}", answer.body);
        let request_id = &answer.body["errors"][0]["extensions"]["requestId"];
        assert_eq!(answer.headers["x-request-id"].to_str().unwrap(), request_id.as_str().unwrap());
        assert_eq!(answer.body["errors"][0]["extensions"]["retryable"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_does_not_answer_may_do_so_later() {
    let api = Api::start().await;
    *api.catalog.trouble.lock().unwrap() = Trouble::Unavailable;
    let answer = api.ask(CLUSTER, json!({})).await;
    assert_eq!(answer.code(), "UNAVAILABLE");
    assert_eq!(answer.body["errors"][0]["extensions"]["retryable"], true);
    assert!(!answer.body.to_string().contains("canary"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_takes_too_long_is_answered() {
    let limits = GatewayLimits { request_timeout: Duration::from_millis(100), ..GatewayLimits::default() };
    let api = Api::start_with(limits).await;
    *api.catalog.trouble.lock().unwrap() = Trouble::Hang;
    // What was asked of a mutation may have been done, and would be done once more.
    let remove = r#"mutation { removeCluster(input: {clusterId: "clu_00000000000000000000000000000001"}) { clusterId } }"#;
    for (query, retryable) in [(CLUSTER, true), (remove, false)] {
        let answer = api.ask(query, json!({})).await;
        assert_eq!(answer.code(), "UNAVAILABLE");
        assert_eq!(answer.body["errors"][0]["extensions"]["retryable"], retryable, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_fit_the_schema_are_the_callers_mistake() {
    let api = Api::start().await;
    for query in [
        "{",
        "",
        "{ nonsense }",
        "{ viewer }",
        "{ viewer { name { x } } }",
        "query($a: Int!) { viewer { name } }",
        "subscription { jobUpdates { id } }",
        "query A { viewer { name } } query B { viewer { name } }",
        "{ cluster { id } }",
        "{ jobs(filter: {states: [NONSENSE]}) { nodes { id } } }",
        "{ jobs(filter: {createdFrom: \"yesterday\"}) { nodes { id } } }",
        "mutation { createBackup { job { id } } }",
    ] {
        let answer = api.ask(query, json!({})).await;
        assert_eq!(
            (answer.code(), answer.status.as_u16()),
            ("BAD_USER_INPUT", 200),
            "{query}: {}",
            answer.body
        );
        assert_eq!(answer.body["errors"][0]["extensions"]["retryable"], false);
        assert!(answer.body["errors"][0]["extensions"]["requestId"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_operation_are_refused() {
    let api = Api::start().await;
    let operation = r#"{"query": "{ viewer { name } }"}"#;
    for body in ["", "{", "1", "null", "\"x\"", r#"{"query": 1}"#, &format!("[{operation}]"), "  []"] {
        let answer = api.post(Some(&api.owner), body.to_owned()).await;
        assert_eq!((answer.code(), answer.status.as_u16()), ("BAD_USER_INPUT", 400), "{body}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let request = Request::post("/graphql")
            .header("content-type", content_type)
            .header("authorization", format!("Bearer {}", api.owner))
            .body(Body::from(operation))
            .unwrap();
        assert_eq!(api.call(request).await.status, 415, "{content_type}");
    }
    let with_charset = Request::post("/graphql")
        .header("content-type", "Application/JSON; charset=utf-8")
        .header("authorization", format!("Bearer {}", api.owner))
        .body(Body::from(operation))
        .unwrap();
    api.call(with_charset).await.data();
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_do_not_go_over_get() {
    let api = Api::start().await;
    let answer = api.get("/graphql?query=mutation%20%7B%20x%20%7D").await;
    // The page for people, which ignores the query.
    assert!(answer.body.as_str().is_some_and(|page| page.contains("GraphiQL")));
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("connect-src 'self';"), "the page speaks to this server only: {policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_taken_over_when_harmless() {
    let api = Api::start().await;
    let ask = async |given: &str| {
        let request = Request::post("/graphql")
            .header("content-type", "application/json")
            .header("x-request-id", given)
            .body(Body::from("{}"))
            .unwrap();
        let answer = api.call(request).await;
        let sent = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(answer.body["errors"][0]["extensions"]["requestId"], Value::String(sent.clone()));
        sent
    };
    assert_eq!(ask("trace-1").await, "trace-1");
    assert_ne!(ask("a b").await, "a b");
    assert_ne!(ask(&"x".repeat(100)).await, "x".repeat(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_kept_out() {
    let api = Api::start().await;
    let ask = async |origin: &str| {
        let request = Request::post("/graphql")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", api.owner))
            .header("host", "milvault.example")
            .header("origin", origin)
            .body(Body::from(r#"{"query": "{ viewer { name } }"}"#))
            .unwrap();
        api.call(request).await
    };
    for origin in ["https://evil.example", "null"] {
        let answer = ask(origin).await;
        assert_eq!((answer.code(), answer.status.as_u16()), ("FORBIDDEN", 403));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    ask("http://milvault.example").await.data();
    let listed = ask("https://console.example").await;
    assert_eq!(listed.headers["access-control-allow-origin"], "https://console.example");
    listed.data();
    let preflight = Request::options("/graphql")
        .header("origin", "https://console.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .body(Body::empty())
        .unwrap();
    let answer = api.call(preflight).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "https://console.example");
}
