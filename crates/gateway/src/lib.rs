//! The API: GraphQL over HTTP and WebSocket, authentication, limits, and the endpoints for operators.
//!
//! Invariants: every operation has a caller proven by an API key or a session before anything of it is parsed; rights are decided
//! by `Principal::decide` alone; what a caller may not see is not found; reads go to the catalog and actions go
//! to the [`milvault_actors::Service`]; what the entries of a list refer to is read for all of them at once, so that the
//! number of reads follows the shape of a document and not the size of its pages (`graphql/loaders.rs`); nothing here
//! waits, queues or nests without a limit ([`GatewayLimits`]).
//!
//! Absences: no batching of operations, no uploads, no mutations over GET, no total counts of lists (a count would
//! cost more than the page), no cookies but those of people who signed in by OpenID Connect.

mod audit;
mod auth;
mod error;
mod graphql;
mod http;
mod key_use;
mod limits;
mod sign_in;
mod state;

pub use auth::{API_KEY_PREFIX, hash_api_key, new_api_key_text};
pub use http::{Network, UnknownNetwork, behind_proxies};
pub use limits::GatewayLimits;
pub use sign_in::{OidcSettings, OidcSettingsError, OidcSignIn};
pub use state::GatewayState;

/// All routes of the API:
///
/// | route | what |
/// |---|---|
/// | `POST /graphql` | queries and mutations |
/// | `GET /graphql` | with a WebSocket upgrade: `graphql-transport-ws`; otherwise the `GraphiQL` page, where enabled |
/// | `GET /audit.jsonl` | the audit log as JSON lines |
/// | `GET /auth/login`, `GET /auth/callback`, `POST /auth/logout`, `GET /auth/status` | sign-in of people |
/// | `GET /healthz` | the process is alive |
/// | `GET /readyz` | the catalog answers, leases are kept and work is admitted; otherwise 503 with the reasons |
/// | `GET /metrics` | Prometheus text |
///
/// Call it inside a Tokio runtime.
pub fn router(state: GatewayState) -> axum::Router {
    http::router(state)
}

/// The schema in GraphQL's schema language, sorted, with descriptions: the content of
/// `schema/graphql/schema.graphql`.
#[must_use]
pub fn sdl() -> String {
    graphql::sdl()
}
