//! Executes operations: limits before, time limit and panics during, error codes after.

use super::audited::AuditedRequest;
use super::loaders::records;
use super::together::{Wanted, together};
use super::{GatewaySchema, schema};
use crate::audit::AuditTrail;
use crate::auth::Caller;
use crate::error::GatewayError;
use crate::graphql::Backend;
use crate::limits::{GatewayLimits, admit, bounded};
use async_graphql::parser::types::OperationType;
use async_graphql::{ErrorExtensionValues, Request, Response, ServerError};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Executes operations of callers that are proven already. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GraphExecutor {
    schema: GatewaySchema,
    backend: Arc<Backend>,
    limits: Arc<GatewayLimits>,
}

impl GraphExecutor {
    pub(crate) fn new(backend: Arc<Backend>, trail: Arc<AuditTrail>, limits: Arc<GatewayLimits>) -> Self {
        Self { schema: schema(Arc::clone(&backend), trail, &limits), backend, limits }
    }

    /// Executes a query or mutation.
    pub(crate) async fn execute(&self, mut request: Request, caller: Caller, request_id: &str) -> Response {
        let mut response = match admit(&mut request, &self.limits) {
            Ok(OperationType::Subscription) => error_response(GatewayError::bad_request(
                "subscriptions need a WebSocket: connect to `/graphql` with `graphql-transport-ws`",
            )),
            Ok(operation_type) => self.run(request, caller, request_id, operation_type).await,
            Err(error) => error_response(error),
        };
        complete_errors(&mut response, request_id);
        response
    }

    /// Executes any operation as a stream of answers; queries and mutations have one.
    pub(crate) fn stream(
        &self,
        mut request: Request,
        caller: Caller,
        request_id: String,
    ) -> BoxStream<'static, Response> {
        let answers = match admit(&mut request, &self.limits) {
            Ok(OperationType::Subscription) => self.subscribe(request, caller),
            Ok(operation_type) => {
                let executor = self.clone();
                let run_id = request_id.clone();
                stream::once(async move { executor.run(request, caller, &run_id, operation_type).await })
                    .boxed()
            }
            Err(error) => stream::once(async { error_response(error) }).boxed(),
        };
        answers
            .map(move |mut response| {
                complete_errors(&mut response, &request_id);
                response
            })
            .boxed()
    }

    async fn run(
        &self,
        mut request: Request,
        caller: Caller,
        request_id: &str,
        operation_type: OperationType,
    ) -> Response {
        if operation_type == OperationType::Mutation {
            let audited = AuditedRequest::of(&mut request, request_id.to_owned());
            request = request.data(audited);
        }
        let wanted = Wanted::default();
        let request = self.with_data(request, caller, &wanted);
        let mut answers = together(stream::once(self.schema.execute(request)).boxed(), wanted);
        let running = AssertUnwindSafe(answers.next()).catch_unwind();
        let response = match tokio::time::timeout(self.limits.request_timeout, running).await {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => error_response(GatewayError::internal("an operation has no answer")),
            Ok(Err(_panic)) => error_response(GatewayError::internal("a resolver panicked")),
            Err(_elapsed) => error_response(GatewayError::Unavailable {
                // A mutation may have been carried out, and would be once more.
                retryable: operation_type == OperationType::Query,
                message: format!(
                    "no answer within {} s; what was asked for may still be done",
                    self.limits.request_timeout.as_secs()
                ),
            }),
        };
        count(operation_type, response.is_ok());
        response
    }

    /// Adds what belongs to one operation alone.
    fn with_data(&self, request: Request, caller: Caller, wanted: &Wanted) -> Request {
        request.data(caller).data(records(Arc::clone(&self.backend), wanted.clone()))
    }

    fn subscribe(&self, request: Request, caller: Caller) -> BoxStream<'static, Response> {
        count(OperationType::Subscription, true);
        let wanted = Wanted::default();
        let events = self.schema.execute_stream(self.with_data(request, caller, &wanted));
        AssertUnwindSafe(together(events, wanted))
            .catch_unwind()
            .map(|event| {
                event.unwrap_or_else(|_panic| {
                    error_response(GatewayError::internal("a subscription panicked"))
                })
            })
            .boxed()
    }
}

fn count(operation_type: OperationType, ok: bool) {
    let operation_type = match operation_type {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    };
    let outcome = if ok { "ok" } else { "error" };
    metrics::counter!("milvault_graphql_operations_total", "type" => operation_type, "outcome" => outcome)
        .increment(1);
}

/// An answer that consists of one error. [`complete_errors`] gives it its code.
pub(crate) fn error_response(error: GatewayError) -> Response {
    let error = async_graphql::Error::new_with_source(error);
    let mut rendered = ServerError::new(error.message, None);
    rendered.source = error.source;
    Response::from_errors(vec![rendered])
}

/// Gives every error of an answer its extensions, and writes internal ones to the log: the one place where that happens.
/// Errors that are not ours come from GraphQL itself: the document does not fit the schema or passes a limit.
pub(crate) fn complete_errors(response: &mut Response, request_id: &str) {
    for error in &mut response.errors {
        if error.source.is_none() {
            error.message = bounded(without_value(&error.message));
        }
        let known = error.source::<GatewayError>();
        if let Some(GatewayError::Internal { cause }) = known {
            tracing::error!(request_id, path = ?error.path, cause = ?cause, "request failed");
        }
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", known.map_or("BAD_USER_INPUT", GatewayError::code));
        extensions.set("retryable", known.is_some_and(GatewayError::is_retryable));
        extensions.set("requestId", request_id);
        if let Some(field) = known.and_then(GatewayError::field) {
            extensions.set("field", field);
        }
        if let Some(job_id) = known.and_then(GatewayError::job_id) {
            extensions.set("jobId", job_id.to_string());
        }
        error.extensions = Some(extensions);
    }
}

/// Cuts off the value in `Expected input type "X", found <value>`: a secret in the wrong shape is still a secret.
fn without_value(message: &str) -> &str {
    let end = message.find(", found ").filter(|_| message.starts_with("Expected input type "));
    end.map_or(message, |end| &message[..end])
}
