//! What resolvers work on.

use milvault_actors::Service;
use milvault_domain::ports::Catalog;
use milvault_domain::sign_in::SessionRules;
use std::sync::Arc;

/// What resolvers work on.
pub(crate) struct Backend {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) service: Service,
    /// What makes sessions good; `None` where nobody can sign in.
    pub(crate) session_rules: Option<Arc<SessionRules>>,
    /// Whether owners of projects may name what is the server's own: directories, its identity, its secrets.
    pub(crate) project_owners_use_server: bool,
}
