//! What the gateway works with.

use crate::limits::GatewayLimits;
use crate::sign_in::OidcSignIn;
use milvault_actors::Service;
use milvault_domain::ids::OrganizationId;
use milvault_domain::ports::{Catalog, Clock};
use std::sync::Arc;

/// Everything the gateway is given by the server.
pub struct GatewayState {
    /// Where reads go.
    pub catalog: Arc<dyn Catalog>,
    /// Where actions go.
    pub service: Service,
    /// Decides whether keys are still valid.
    pub clock: Arc<dyn Clock>,
    /// The organization that audit entries about nobody known belong to: the one that this server serves.
    pub organization_id: OrganizationId,
    /// How people sign in by OpenID Connect; `None` when there are only API keys.
    pub sign_in: Option<OidcSignIn>,
    /// Limits of everything a caller can make grow.
    pub limits: GatewayLimits,
    /// Renders all metrics of the process as Prometheus text.
    pub metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether owners of projects may register places by the server's own directories, identity or secrets, which all
    /// projects share. Owners of the organization always may.
    pub project_owners_use_server: bool,
    /// Whether `GET /graphql` shows the `GraphiQL` page. Its files come from a public network (unpkg.com): in a browser
    /// that cannot reach it the page says so, while the API works all the same.
    pub graphiql: bool,
    /// Origins (`https://host[:port]`) of other sites whose pages may use the API from a browser. Pages of this
    /// server itself always may.
    pub allowed_origins: Vec<String>,
}
