//! Endpoints for operators.

use crate::support::Api;
use crate::support::catalog::Trouble;

#[tokio::test(flavor = "multi_thread")]
async fn probes_say_what_is_so() {
    let api = Api::start().await;
    assert_eq!(api.get("/healthz").await.status, 200);
    assert_eq!(api.get("/readyz").await.status, 200);
    *api.catalog.trouble.lock().unwrap() = Trouble::Unavailable;
    let answer = api.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body["reasons"][0].as_str().unwrap().contains("catalog"));
    assert!(!answer.body.to_string().contains("canary"));
    assert_eq!(api.get("/healthz").await.status, 200);
    let metrics = api.get("/metrics").await;
    assert_eq!((metrics.status.as_u16(), metrics.body.as_str()), (200, Some("milvault_up 1\n")));
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(metrics.headers["x-content-type-options"], "nosniff");
}
