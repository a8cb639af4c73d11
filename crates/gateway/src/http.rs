//! Routes, and what all of them share.

mod audit;
mod browser;
mod envelope;
mod forwarded;
mod graphiql;
mod health;
mod operation;
mod origin;
mod sign_in;
mod socket;
mod sockets;

pub use forwarded::{Network, UnknownNetwork, behind_proxies};

use crate::audit::{AuditTrail, RefusedAuthentications};
use crate::graphql::{Backend, GraphExecutor};
use crate::key_use::KeyUses;
use crate::limits::GatewayLimits;
use crate::sign_in::OidcSignIn;
use crate::state::GatewayState;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::{get, post};
use envelope::{REQUEST_ID, RequestIds};
use milvault_actors::Service;
use milvault_domain::ids::OrganizationId;
use milvault_domain::ports::{Catalog, Clock};
use milvault_domain::sign_in::SessionRules;
use sockets::{SocketLimits, Sockets};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tower_http::cors::CorsLayer;

/// What handlers share.
struct Gateway {
    catalog: Arc<dyn Catalog>,
    service: Service,
    clock: Arc<dyn Clock>,
    organization_id: OrganizationId,
    trail: Arc<AuditTrail>,
    sign_in: Option<OidcSignIn>,
    key_uses: Arc<KeyUses>,
    limits: Arc<GatewayLimits>,
    metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
    graphiql: bool,
    allowed_origins: Vec<String>,
    executor: GraphExecutor,
    sockets: Sockets,
    request_ids: RequestIds,
    refused: RefusedAuthentications,
    /// Exports of the audit log that may be under way.
    exports: Arc<Semaphore>,
}

impl Gateway {
    /// What makes sessions good; `None` where nobody can sign in.
    fn session_rules(&self) -> Option<&Arc<SessionRules>> {
        self.sign_in.as_ref().map(|sign_in| &sign_in.rules)
    }
}

pub(crate) fn router(state: GatewayState) -> Router {
    let mut allowed_origins = state.allowed_origins;
    // Pages of this server itself, where a proxy hides by which name browsers know it.
    allowed_origins.extend(state.sign_in.as_ref().map(|sign_in| sign_in.origin.clone()));
    let limits = Arc::new(state.limits);
    let backend = Backend {
        catalog: Arc::clone(&state.catalog),
        service: state.service.clone(),
        project_owners_use_server: state.project_owners_use_server,
        session_rules: state.sign_in.as_ref().map(|sign_in| Arc::clone(&sign_in.rules)),
    };
    let trail = AuditTrail::new(Arc::clone(&state.catalog), Arc::clone(&state.clock), state.organization_id);
    let trail = Arc::new(trail);
    let gateway = Arc::new(Gateway {
        executor: GraphExecutor::new(Arc::new(backend), Arc::clone(&trail), Arc::clone(&limits)),
        refused: RefusedAuthentications::new(Arc::clone(&trail)),
        trail,
        organization_id: state.organization_id,
        sign_in: state.sign_in,
        exports: Arc::new(Semaphore::new(limits.audit_exports_max)),
        sockets: Sockets::new(&SocketLimits {
            unknown_max: limits.sockets_unknown_max,
            total_max: limits.sockets_max,
            per_key_max: limits.sockets_per_key_max,
        }),
        request_ids: RequestIds::new(state.clock.now()),
        key_uses: Arc::new(KeyUses::new(Arc::clone(&state.catalog), limits.key_use_delay)),
        catalog: state.catalog,
        service: state.service,
        clock: state.clock,
        metrics_render: state.metrics_render,
        graphiql: state.graphiql,
        allowed_origins,
        limits: Arc::clone(&limits),
    });
    Router::new()
        .route("/graphql", post(operation::answer).get(operation::open))
        .route("/audit.jsonl", get(audit::export))
        .route("/auth/login", get(sign_in::login))
        .route("/auth/callback", get(sign_in::callback))
        .route("/auth/logout", post(sign_in::logout))
        .route("/auth/status", get(sign_in::status))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .layer(cors(&gateway.allowed_origins))
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&gateway), envelope::wrap))
        .with_state(gateway)
}

/// Lets browsers show answers to pages of the allowed origins, and to no others.
fn cors(allowed_origins: &[String]) -> CorsLayer {
    let origins = allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static(REQUEST_ID)])
        .expose_headers([HeaderName::from_static(REQUEST_ID)])
}
