//! One WebSocket: `graphql-transport-ws`, with a deadline for saying who is there, pings, and a look at the key now
//! and then. The protocol itself is async-graphql-axum's; what it sends passes through here.

mod operations;
mod session;

use super::Gateway;
use super::envelope::RequestId;
use super::operation::{failure, remote_address};
use crate::error::GatewayError;
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::channel::mpsc;
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt, SinkExt, StreamExt, future};
use operations::OpenOperations;
use session::{Session, SocketExecutor};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::Instrument;

/// The only protocol spoken.
const PROTOCOL: &str = "graphql-transport-ws";
/// Pings that a client may leave unanswered before it is let go.
const PINGS_UNANSWERED_MAX: u32 = 3;
/// Time for subscriptions to tell their end after the key has ended, before the WebSocket closes.
const REVOCATION_GRACE: Duration = Duration::from_secs(1);
/// Messages that may wait for a slow client.
const OUTGOING_MAX: usize = 1;
/// Longest reason of a close frame: control frames carry 125 bytes, two of them the code.
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Codes of `graphql-transport-ws` and of WebSocket itself.
mod code {
    pub(super) const TRY_AGAIN_LATER: u16 = 1013;
    pub(super) const BAD_REQUEST: u16 = 4400;
    pub(super) const UNAUTHORIZED: u16 = 4401;
    pub(super) const FORBIDDEN: u16 = 4403;
    pub(super) const INIT_TIMEOUT: u16 = 4408;
    pub(super) const SUBSCRIBER_EXISTS: u16 = 4409;
    pub(super) const INTERNAL: u16 = 4500;
}

/// Answers an upgrade.
pub(super) async fn open(
    gateway: Arc<Gateway>,
    upgrade: WebSocketUpgrade,
    mut parts: Parts,
    request_id: RequestId,
) -> Response {
    let upgrade = upgrade.protocols([PROTOCOL]);
    let not_offered = || {
        let error = GatewayError::bad_request(format!("offer the WebSocket protocol `{PROTOCOL}`"));
        failure(StatusCode::BAD_REQUEST, error, &request_id)
    };
    if upgrade.selected_protocol().is_none() {
        return not_offered();
    }
    // The library goes by the first protocol of the offer that it knows, not by the one that was chosen.
    parts.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    let Ok(protocol) = GraphQLProtocol::from_request_parts(&mut parts, &()).await else {
        return not_offered();
    };
    let Some(place) = gateway.sockets.enter() else {
        let message = String::from("all WebSockets are taken; try again later");
        return failure(StatusCode::SERVICE_UNAVAILABLE, GatewayError::Busy { message }, &request_id);
    };
    let message_bytes_max = gateway.limits.socket_message_bytes_max;
    let carried = parts.headers;
    let span = tracing::info_span!("websocket", request_id = request_id.0);
    let remote = remote_address(&parts.extensions);
    let session = Arc::new(Session::new(gateway, place, request_id, carried, remote));
    upgrade
        .max_message_size(message_bytes_max)
        .max_frame_size(message_bytes_max)
        .on_upgrade(move |socket| serve(socket, protocol, session).instrument(span))
}

/// Why a WebSocket ends: a close frame, unless the other side is gone already.
struct End(Option<(u16, String)>);

async fn serve(socket: WebSocket, protocol: GraphQLProtocol, session: Arc<Session>) {
    let send_timeout = session.limits().send_timeout;
    let (mut sink, incoming) = socket.split();
    let End(closing) = converse(&mut sink, incoming, protocol, &session).await;
    if let Some((code, reason)) = closing {
        tracing::debug!(code, reason, "websocket closes");
        let frame = CloseFrame { code, reason: Utf8Bytes::from(shortened(&reason)) };
        // The other side may be gone; then there is nobody to tell.
        let _ = tokio::time::timeout(send_timeout, sink.send(Message::Close(Some(frame)))).await;
    }
}

async fn converse(
    sink: &mut SplitSink<WebSocket, Message>,
    incoming: SplitStream<WebSocket>,
    protocol: GraphQLProtocol,
    session: &Arc<Session>,
) -> End {
    let limits = Arc::clone(session.limits());
    let unanswered = Arc::new(AtomicU32::new(0));
    let heard = Arc::clone(&unanswered);
    // Whatever the client says shows that it is there. It has ended when it says so or can no longer be heard.
    let incoming = incoming
        .inspect(move |_| heard.store(0, Ordering::Relaxed))
        .take_while(|message| future::ready(!matches!(message, Err(_) | Ok(Message::Close(_)))));
    let operations = Arc::new(OpenOperations::default());
    let hearing = Arc::clone(&operations);
    let incoming = incoming.take_while(move |message| {
        future::ready(message.as_ref().is_ok_and(|message| hearing.heard(message)))
    });
    let (to_client, mut from_protocol) = mpsc::channel(OUTGOING_MAX);
    let initialising = Arc::clone(session);
    let executor = SocketExecutor::new(Arc::clone(session));
    let serving = GraphQLWebSocket::new_with_pair(to_client, incoming, executor, protocol)
        .on_connection_init(move |payload| async move { initialising.initialise(payload).await })
        .serve();
    let mut serving = pin!(serving.fuse());
    let mut init_deadline = pin!(sleep(limits.init_timeout));
    let mut pings = ticks(limits.ping_interval);
    // In a task of its own, which ends with this one: a client that takes nothing must not put it off.
    let mut watching = JoinSet::new();
    let watched = Arc::clone(session);
    let period = limits.key_check_interval;
    watching.spawn(async move { watched.watch_key(period).await });
    let mut revocation = pin!(session.grace_after_revocation(REVOCATION_GRACE));
    let mut overflow = pin!(session.overflow());
    loop {
        tokio::select! {
            message = from_protocol.next() => match message {
                Some(Message::Close(frame)) => return End(frame.map(|frame| close_words(session, &frame))),
                Some(message) => {
                    operations.told(&message);
                    if !send(sink, message, session).await {
                        return End(None);
                    }
                }
                None => return End(operations.taken_twice().map(|id| subscriber_exists(&id))),
            },
            // Its end shows as the end of what it sends.
            () = &mut serving => {}
            () = &mut init_deadline, if !session.is_admitted() => {
                return End(Some((code::INIT_TIMEOUT, String::from("Connection initialisation timeout"))));
            }
            _ = pings.tick() => {
                let silent = unanswered.fetch_add(1, Ordering::Relaxed) >= PINGS_UNANSWERED_MAX;
                if silent || !send(sink, Message::Ping(Bytes::new()), session).await {
                    return End(None);
                }
            }
            () = &mut revocation => {
                return End(Some((code::UNAUTHORIZED, format!("UNAUTHENTICATED: {}", session.ending()))));
            }
            () = &mut overflow => {
                return End(Some((code::TRY_AGAIN_LATER, String::from("BUSY: too many operations at once"))));
            }
        }
    }
}

/// A client that takes nothing for too long, or whose key ends meanwhile, is let go, so that it cannot hold what it was
/// to be sent.
async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message, session: &Session) -> bool {
    let sending = tokio::time::timeout(session.limits().send_timeout, sink.send(message));
    tokio::select! {
        sent = sending => matches!(sent, Ok(Ok(()))),
        () = session.grace_after_revocation(REVOCATION_GRACE) => false,
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The protocol library closes with general codes; the specification has better ones.
fn close_words(session: &Session, given: &CloseFrame) -> (u16, String) {
    if let Some(refusal) = session.refusal() {
        let code = match refusal {
            GatewayError::Unauthenticated { .. } => code::UNAUTHORIZED,
            GatewayError::Forbidden { .. } => code::FORBIDDEN,
            GatewayError::Busy { .. } | GatewayError::Unavailable { .. } => code::TRY_AGAIN_LATER,
            _ => code::INTERNAL,
        };
        return (code, format!("{}: {refusal}", refusal.code()));
    }
    match given.code {
        1002 => (code::BAD_REQUEST, String::from("BAD_USER_INPUT: not a message of the protocol")),
        1011 => {
            (code::UNAUTHORIZED, String::from("UNAUTHENTICATED: send connection_init with an API key first"))
        }
        other => (other, given.reason.to_string()),
    }
}

fn subscriber_exists(id: &str) -> (u16, String) {
    (code::SUBSCRIBER_EXISTS, format!("Subscriber for {id} already exists"))
}

fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
