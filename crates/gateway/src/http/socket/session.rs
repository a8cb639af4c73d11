//! What one WebSocket knows: who is there, whether his key still holds, and how much he has under way.

use crate::audit::RemoteAddress;
use crate::auth::{Caller, Presented, authenticate, key_in_payload};
use crate::error::GatewayError;
use crate::graphql::{complete_errors, error_response};
use crate::http::Gateway;
use crate::http::browser::Purpose;
use crate::http::envelope::RequestId;
use crate::http::sockets::{KeyPlace, OpenSocket};
use crate::limits::GatewayLimits;
use async_graphql::{Data, Executor, Request, Response};
use axum::http::HeaderMap;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, future};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Time for the catalog to tell about a key.
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// State of one WebSocket.
pub(super) struct Session {
    gateway: Arc<Gateway>,
    socket: OpenSocket,
    request_id: RequestId,
    /// Headers of the upgrade request, with the key of clients that can set headers, or with a session.
    carried: HeaderMap,
    remote: RemoteAddress,
    admitted: OnceLock<Admitted>,
    refused: OnceLock<GatewayError>,
    revoked: CancellationToken,
    overflowed: CancellationToken,
    /// Operations that may be open.
    operations: Arc<Semaphore>,
    /// Besides those, operations whose refusal has not been sent yet. A client that fills this too is let go, or the
    /// refusals themselves would pile up.
    answers: Arc<Semaphore>,
    next_operation: AtomicU64,
}

struct Admitted {
    caller: Caller,
    _place: KeyPlace,
}

impl Session {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        socket: OpenSocket,
        request_id: RequestId,
        carried: HeaderMap,
        remote: RemoteAddress,
    ) -> Self {
        let operations_max = gateway.limits.subscriptions_per_socket_max;
        Self {
            gateway,
            socket,
            request_id,
            carried,
            remote,
            admitted: OnceLock::new(),
            refused: OnceLock::new(),
            revoked: CancellationToken::new(),
            overflowed: CancellationToken::new(),
            operations: Arc::new(Semaphore::new(operations_max)),
            answers: Arc::new(Semaphore::new(2 * operations_max)),
            next_operation: AtomicU64::new(1),
        }
    }

    pub(super) fn limits(&self) -> &Arc<GatewayLimits> {
        &self.gateway.limits
    }

    /// Handles `connection_init`. Its words do not reach the client: [`Session::refusal`] does.
    ///
    /// # Errors
    /// The client is not let in.
    pub(super) async fn initialise(&self, payload: serde_json::Value) -> async_graphql::Result<Data> {
        match self.admit(&payload).await {
            Ok(admitted) => {
                // Only the first `connection_init` comes here: the protocol refuses a second.
                let _ = self.admitted.set(admitted);
                Ok(Data::default())
            }
            Err(error) => {
                let _ = self.refused.set(error);
                Err(async_graphql::Error::new("refused"))
            }
        }
    }

    async fn admit(&self, payload: &serde_json::Value) -> Result<Admitted, GatewayError> {
        let gateway = &self.gateway;
        let presented = match key_in_payload(payload) {
            Some(text) => Presented::Key(text),
            None => gateway.presented(&self.carried, Purpose::Act)?,
        };
        let rules = gateway.session_rules();
        let caller = authenticate(gateway.catalog.as_ref(), gateway.clock.as_ref(), rules, presented)
            .await
            .inspect_err(|error| gateway.refused.note(self.remote.0, error))?;
        let place = gateway.sockets.admit(caller.principal.credential, &self.socket);
        let place = place.ok_or_else(|| GatewayError::Busy {
            message: String::from(
                "this API key or session, or the server, has all the WebSockets it may have",
            ),
        })?;
        Ok(Admitted { caller, _place: place })
    }

    /// Whether the client has proven who he is.
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted.get().is_some()
    }

    /// Why he was not let in.
    pub(super) fn refusal(&self) -> Option<&GatewayError> {
        self.refused.get()
    }

    /// What the client is told when his key or session has ended.
    pub(super) fn ending(&self) -> &'static str {
        self.admitted.get().map_or("connect again", |admitted| admitted.caller.ending())
    }

    fn key_ended(&self) -> GatewayError {
        GatewayError::Unauthenticated { message: self.ending() }
    }

    /// Looks the key or session up again. Where that fails, the key is taken to hold: without the catalog nothing can be read
    /// through this WebSocket either.
    async fn check_key(&self) {
        let Some(admitted) = self.admitted.get() else { return };
        let asking = admitted.caller.is_current(self.gateway.catalog.as_ref(), self.gateway.clock.as_ref());
        if matches!(tokio::time::timeout(KEY_CHECK_TIMEOUT, asking).await, Ok(Ok(false))) {
            self.revoked.cancel();
        }
    }

    /// Looks the key or session up time and again, once the client has proven who he is, until it has ended.
    pub(super) async fn watch_key(&self, period: Duration) {
        while !self.revoked.is_cancelled() {
            sleep(period).await;
            self.check_key().await;
        }
    }

    /// Ends so long after the key has ended; never otherwise.
    pub(super) async fn grace_after_revocation(&self, grace: Duration) {
        self.revoked.cancelled().await;
        sleep(grace).await;
    }

    /// Ends when the client has far more under way than it may; never otherwise.
    pub(super) async fn overflow(&self) {
        self.overflowed.cancelled().await;
    }

    fn start(self: &Arc<Self>, request: Request) -> BoxStream<'static, Response> {
        let Ok(answer) = Arc::clone(&self.answers).try_acquire_owned() else {
            self.overflowed.cancel();
            return stream::pending().boxed();
        };
        // Taken in the order in which operations come, and before the key is looked up.
        let held = Arc::clone(&self.operations).try_acquire_owned().ok();
        let session = Arc::clone(self);
        let events = async move {
            // What is asked here counts as much as over HTTP, where every request looks its key up.
            session.check_key().await;
            session.answer(request, held)
        };
        events
            .into_stream()
            .flatten()
            .map(move |event| {
                let _held = &answer;
                event
            })
            .boxed()
    }

    fn answer(&self, request: Request, held: Option<OwnedSemaphorePermit>) -> BoxStream<'static, Response> {
        let number = self.next_operation.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{}-{number}", self.request_id.0);
        let admitted = self.admitted.get().filter(|_| !self.revoked.is_cancelled());
        match (admitted, held) {
            (None, _) => refusal(self.key_ended(), &request_id),
            (Some(_), None) => {
                let message = format!(
                    "a WebSocket may have {} operations open; end one or open another WebSocket",
                    self.limits().subscriptions_per_socket_max
                );
                refusal(GatewayError::Busy { message }, &request_id)
            }
            (Some(admitted), Some(operation)) => {
                let caller = admitted.caller.clone();
                self.gateway.key_uses.note(caller.principal.credential, self.gateway.clock.now());
                let events =
                    self.gateway.executor.stream(request.data(self.remote), caller, request_id.clone());
                self.until_revoked(events, request_id)
                    .map(move |event| {
                        let _held = &operation;
                        event
                    })
                    .boxed()
            }
        }
    }

    /// Ends a subscription when the key does, and says so.
    fn until_revoked(
        &self,
        events: BoxStream<'static, Response>,
        request_id: String,
    ) -> BoxStream<'static, Response> {
        let revoked = self.revoked.clone();
        let ended = self.key_ended();
        let last = stream::once(future::lazy(move |_| {
            revoked.is_cancelled().then(|| refused_response(ended, &request_id))
        }));
        events
            .take_until(self.revoked.clone().cancelled_owned())
            .chain(last.filter_map(future::ready))
            .boxed()
    }
}

fn refusal(error: GatewayError, request_id: &str) -> BoxStream<'static, Response> {
    let response = refused_response(error, request_id);
    stream::once(future::ready(response)).boxed()
}

fn refused_response(error: GatewayError, request_id: &str) -> Response {
    let mut response = error_response(error);
    complete_errors(&mut response, request_id);
    response
}

/// Executes operations of one WebSocket as its caller.
#[derive(Clone)]
pub(super) struct SocketExecutor {
    session: Arc<Session>,
}

impl SocketExecutor {
    pub(super) const fn new(session: Arc<Session>) -> Self {
        Self { session }
    }
}

impl Executor for SocketExecutor {
    async fn execute(&self, request: Request) -> Response {
        let first = self.session.start(request).next().await;
        first.unwrap_or_else(|| refused_response(self.session.key_ended(), &self.session.request_id.0))
    }

    fn execute_stream(
        &self,
        request: Request,
        _session_data: Option<Arc<Data>>,
    ) -> BoxStream<'static, Response> {
        self.session.start(request)
    }
}
