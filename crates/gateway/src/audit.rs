//! Writing the audit log: what callers do, and who was turned away.

mod refused;

pub(crate) use refused::RefusedAuthentications;

use crate::auth::Caller;
use crate::error::GatewayError;
use milvault_domain::access::Credential;
use milvault_domain::audit::{AuditActor, AuditRecord, AuditResult};
use milvault_domain::ids::OrganizationId;
use milvault_domain::ports::{Catalog, Clock, PortResult};
use std::net::IpAddr;
use std::sync::Arc;

/// Address of the other side of a connection; `None` where there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteAddress(pub(crate) Option<IpAddr>);

/// Where entries go.
pub(crate) struct AuditTrail {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    /// Of entries about nobody known.
    organization_id: OrganizationId,
}

impl AuditTrail {
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        organization_id: OrganizationId,
    ) -> Self {
        Self { catalog, clock, organization_id }
    }

    /// The record of something that a caller is about to do, without result.
    pub(crate) fn intent(&self, caller: Option<&Caller>, action: &str) -> AuditRecord {
        let principal = caller.map(|caller| &caller.principal);
        let organization_id = principal.map_or(self.organization_id, |principal| principal.organization_id);
        let actor = principal.map_or_else(AuditActor::anonymous, |principal| {
            let name = principal.name.clone();
            match (principal.credential, principal.user_id) {
                (Credential::Session(_), Some(user_id)) => AuditActor::of_session(user_id, name),
                (Credential::Session(_), None) => AuditActor::anonymous(),
                (Credential::ApiKey(api_key_id), user_id) => AuditActor::of_key(api_key_id, user_id, name),
            }
        });
        AuditRecord {
            actor,
            result: None,
            ..AuditRecord::by_system(self.clock.now(), organization_id, action)
        }
    }

    /// Writes an intent down.
    ///
    /// # Errors
    /// `Unavailable` when that does not work: then nothing may be done.
    pub(crate) async fn begin(&self, intent: &AuditRecord) -> Result<u64, GatewayError> {
        self.catalog.append_audit(intent).await.map_err(|error| {
            tracing::error!(%error, action = intent.action, "the audit log cannot be written; refused");
            let message = String::from(
                "the audit log cannot be written, so nothing was done; ask the operator to look into the server's log",
            );
            GatewayError::Unavailable { message, retryable: error.is_retryable() }
        })
    }

    /// Writes down how it went. What was done stays done when that does not work; the intent then stands alone.
    pub(crate) async fn end(&self, mut outcome: AuditRecord, result: AuditResult, code: Option<&str>) {
        outcome.at = self.clock.now();
        outcome.result = Some(result);
        outcome.code = code.map(str::to_owned);
        if let Err(error) = self.catalog.append_audit(&outcome).await {
            let (action, intent) = (&outcome.action, outcome.intent);
            tracing::error!(%error, action, ?intent, ?result, "the outcome of an action cannot be written down");
        }
    }

    /// Writes down something that has happened.
    ///
    /// # Errors
    /// `Unavailable` when that does not work: then it must not have happened.
    pub(crate) async fn record(&self, record: &AuditRecord) -> Result<(), GatewayError> {
        self.begin(record).await.map(|_sequence| ())
    }

    /// Writes down that somebody was turned away, so many times.
    async fn refused(&self, remote: Option<IpAddr>, count: u32) -> PortResult<u64> {
        let record = AuditRecord {
            result: Some(AuditResult::Refused),
            code: Some(String::from("UNAUTHENTICATED")),
            count,
            remote_address: remote.map(|address| address.to_string()),
            ..self.intent(None, "authenticate")
        };
        self.catalog.append_audit(&record).await
    }
}
