//! The hook that every mutation goes through: its intent is in the audit log before it begins, its outcome after. So do
//! queries that make the server go elsewhere with somebody's credentials; of other queries only refusals are kept.

mod facts;
mod inputs;

pub(crate) use facts::AuditNotes;

use crate::audit::{AuditTrail, RemoteAddress};
use crate::auth::Caller;
use crate::error::GatewayError;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::parser::types::{DocumentOperations, Field};
use async_graphql::{Name, Request, ServerError, ServerResult, Value};
use facts::Facts;
use inputs::{ID_FIELDS, take};
use milvault_domain::access::Action;
use milvault_domain::audit::{AuditRecord, AuditResult, AuditTarget};
use milvault_domain::ids::{
    ApiKeyId, BackupId, ClusterId, CustomRoleId, DeliveryId, HoldId, JobId, ProjectId, RepositoryId,
    SessionId, UserId, WebhookId,
};
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Arc;

/// Mutations that make something in the only project in which the caller may, when they name none.
const IN_ONLY_PROJECT: [&str; 3] = ["registerRepository", "attachRepository", "createWebhook"];
/// Queries that make the server connect to other systems.
const GOING_ELSEWHERE: [&str; 2] = ["foreignBackups", "planRestore"];
/// Code of an action whose caller went away, or was told to, before its end.
const NO_ANSWER: &str = "NO_ANSWER";

/// What a request's mutations have in common.
pub(super) struct AuditedRequest {
    request_id: String,
    variables: HashMap<Name, Value>,
    facts: Facts,
}

impl AuditedRequest {
    /// Takes the values of the variables that the operation will see, given or by default.
    pub(super) fn of(request: &mut Request, request_id: String) -> Self {
        let operation_name = request.operation_name.clone();
        let mut variables = HashMap::new();
        if let Ok(document) = request.parsed_query() {
            let operation = match (&document.operations, operation_name) {
                (DocumentOperations::Single(operation), _) => Some(operation),
                (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name.as_str()),
                (DocumentOperations::Multiple(operations), None) => operations.values().next(),
            };
            for definition in operation.iter().flat_map(|operation| &operation.node.variable_definitions) {
                if let Some(default) = &definition.node.default_value {
                    variables.insert(definition.node.name.node.clone(), default.node.clone());
                }
            }
        }
        variables.extend(request.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self { request_id, variables, facts: Facts::default() }
    }

    /// What is written down of a mutation's arguments and of its input.
    fn inputs(&self, field: &Field) -> BTreeMap<String, String> {
        let mut inputs = BTreeMap::new();
        for (name, value) in &field.arguments {
            let constant = value.node.clone().into_const_with(|variable| {
                Ok::<_, std::convert::Infallible>(self.variables.get(&variable).cloned().unwrap_or_default())
            });
            match constant {
                Ok(Value::Object(fields)) => {
                    for (name, value) in &fields {
                        take(&mut inputs, name, value);
                    }
                }
                Ok(value) => take(&mut inputs, &name.node, &value),
                Err(never) => match never {},
            }
        }
        inputs
    }
}

/// The project that a mutation is about which names none.
fn only_project(caller: &Caller) -> Option<ProjectId> {
    match caller.projects(Action::ManageClusters).as_slice() {
        [only] => Some(*only),
        [] | [_, _, ..] => None,
    }
}

/// The project that the input names, when it is one of the caller's organization.
fn named_project(inputs: &BTreeMap<String, String>, caller: Option<&Caller>) -> Option<ProjectId> {
    let project_id = inputs.get("projectId")?.parse().ok()?;
    caller.filter(|caller| caller.knows_project(project_id)).map(|_| project_id)
}

fn target_of(inputs: &BTreeMap<String, String>) -> Option<AuditTarget> {
    let id = ID_FIELDS.iter().find_map(|field| inputs.get(*field))?;
    kind_of(id).map(|kind| AuditTarget { kind: kind.to_owned(), id: id.clone() })
}

/// A kind of thing, and whether a text is the id of one.
type Kind = (&'static str, fn(&str) -> bool);

/// What a text is the id of; `None` when it is none.
fn kind_of(text: &str) -> Option<&'static str> {
    fn is<T: FromStr>(text: &str) -> bool {
        text.parse::<T>().is_ok()
    }
    let kinds: [Kind; 12] = [
        ("webhookDelivery", is::<DeliveryId>),
        ("webhook", is::<WebhookId>),
        ("backup", is::<BackupId>),
        ("job", is::<JobId>),
        ("cluster", is::<ClusterId>),
        ("repository", is::<RepositoryId>),
        ("hold", is::<HoldId>),
        ("user", is::<UserId>),
        ("apiKey", is::<ApiKeyId>),
        ("session", is::<SessionId>),
        ("customRole", is::<CustomRoleId>),
        ("project", is::<ProjectId>),
    ];
    kinds.into_iter().find(|(_, fits)| fits(text)).map(|(kind, _)| kind)
}

/// Makes the hook for each request.
pub(super) struct AuditMutations(pub(super) Arc<AuditTrail>);

impl ExtensionFactory for AuditMutations {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Hook { trail: Arc::clone(&self.0) })
    }
}

struct Hook {
    trail: Arc<AuditTrail>,
}

impl Hook {
    /// Who asks for what, from where, about what.
    fn record_of(&self, context: &ExtensionContext<'_>, name: &str, field: &Field) -> AuditRecord {
        let caller = context.data_opt::<Caller>();
        let mut record = self.trail.intent(caller, name);
        record.remote_address = context
            .data_opt::<RemoteAddress>()
            .and_then(|remote| remote.0)
            .map(|address| address.to_string());
        if let Some(request) = context.data_opt::<AuditedRequest>() {
            record.request_id = Some(request.request_id.clone());
            record.inputs = request.inputs(field);
            record.target = target_of(&record.inputs);
            record.project_id = named_project(&record.inputs, caller);
            if record.target.is_none() && IN_ONLY_PROJECT.contains(&name) {
                record.project_id = caller.and_then(only_project);
            }
        }
        record
    }
}

#[async_trait::async_trait]
impl Extension for Hook {
    async fn resolve(
        &self,
        context: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        if info.path_node.parent.is_some() || !["Mutation", "Query"].contains(&info.parent_type) {
            return next.run(context, info).await;
        }
        if info.parent_type == "Query" && !GOING_ELSEWHERE.contains(&info.name) {
            let (name, field) = (info.name, info.field);
            let answer = next.run(context, info).await;
            if let Err(error) = &answer
                && let Some(known @ GatewayError::Forbidden { .. }) = error.source::<GatewayError>()
            {
                let mut record = self.record_of(context, name, field);
                record.result = Some(AuditResult::Refused);
                record.code = Some(known.code().to_owned());
                self.trail.record(&record).await.map_err(|error| {
                    async_graphql::Error::new_with_source(error).into_server_error(field.name.pos)
                })?;
            }
            return answer;
        }
        let mut record = self.record_of(context, info.name, info.field);
        let position = info.field.name.pos;
        let intent = match self.trail.begin(&record).await {
            Ok(intent) => intent,
            Err(error) => {
                let error = async_graphql::Error::new_with_source(error);
                return Err(error.into_server_error(position));
            }
        };
        record.intent = Some(intent);
        let facts =
            context.data_opt::<AuditedRequest>().map(|request| request.facts.clone()).unwrap_or_default();
        facts.clear();
        let mut open = OpenAction { trail: Arc::clone(&self.trail), record: Some(record), facts };
        let answer = next.run(context, info).await;
        if let Some(record) = open.finish() {
            let (result, code) = answer.as_ref().map_or_else(judge, |_| (AuditResult::Ok, None));
            self.trail.end(record, result, code).await;
        }
        answer
    }
}

/// What an error says about the action.
fn judge(error: &ServerError) -> (AuditResult, Option<&'static str>) {
    if error.path.len() > 1 {
        // The action was done; only a part of the answer could not be made.
        return (AuditResult::Ok, None);
    }
    match error.source::<GatewayError>() {
        Some(known @ (GatewayError::Unavailable { .. } | GatewayError::Internal { .. })) => {
            (AuditResult::Failed, Some(known.code()))
        }
        Some(known) => (AuditResult::Refused, Some(known.code())),
        None => (AuditResult::Refused, Some("BAD_USER_INPUT")),
    }
}

/// An action whose outcome is not written yet. When it is dropped before that, because its time was over, its caller
/// went away or it panicked, the outcome says so.
struct OpenAction {
    trail: Arc<AuditTrail>,
    record: Option<AuditRecord>,
    facts: Facts,
}

impl OpenAction {
    /// The record with what the resolver told; `None` when it was taken before.
    fn finish(&mut self) -> Option<AuditRecord> {
        let mut record = self.record.take()?;
        self.facts.complete(&mut record);
        Some(record)
    }
}

impl Drop for OpenAction {
    fn drop(&mut self) {
        if let (Some(record), Ok(runtime)) = (self.finish(), tokio::runtime::Handle::try_current()) {
            let trail = Arc::clone(&self.trail);
            runtime.spawn(async move { trail.end(record, AuditResult::Failed, Some(NO_ANSWER)).await });
        }
    }
}
