//! Endpoints for operators. They tell nothing that needs a key.

use super::Gateway;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use milvault_actors::Lifecycle;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Time for the catalog to answer a probe: shorter than the patience of common probes.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The process is alive: it can answer.
pub(super) async fn healthz() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// Whether requests will be served: the catalog answers and work is admitted.
pub(super) async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut reasons = Vec::new();
    match gateway.service.lifecycle() {
        Lifecycle::Ready => {}
        Lifecycle::Starting => reasons.push("the service is starting"),
        other => {
            tracing::debug!(lifecycle = ?other, "not ready");
            reasons.push("the service is stopping or degraded; the server's log says why");
        }
    }
    if !gateway.service.keeps_leases() {
        reasons.push(
            "the leases on clusters cannot be renewed, so no jobs are worked on; the server's log says why",
        );
    }
    match tokio::time::timeout(PING_TIMEOUT, gateway.catalog.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "catalog does not answer");
            reasons.push("the catalog does not answer; the server's log says why");
        }
        Err(_elapsed) => reasons.push("the catalog does not answer within 5 s"),
    }
    if reasons.is_empty() {
        return Json(ready(gateway.service.catalog_backup_is_overdue())).into_response();
    }
    let body = Json(json!({"status": "not ready", "reasons": reasons}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// What a server that can serve says. Nobody is sent elsewhere because of a note; but somebody should look.
fn ready(catalog_backup_is_overdue: bool) -> Value {
    if catalog_backup_is_overdue {
        let notes = ["the catalog was not backed up for more than two days; the server's log says why"];
        return json!({"status": "ready", "notes": notes});
    }
    json!({"status": "ready"})
}

/// All metrics of the process.
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (format, (gateway.metrics_render)()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_that_is_not_backed_up_is_a_note_and_no_failure() {
        assert_eq!(ready(false), json!({"status": "ready"}));
        let noted = ready(true);
        assert_eq!(noted["status"], "ready");
        assert!(noted["notes"][0].as_str().is_some_and(|note| note.contains("not backed up")), "{noted}");
    }
}
