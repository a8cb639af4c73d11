//! A small client of Milvault's public API: GraphQL over HTTP, and subscriptions over graphql-transport-ws.

use anyhow::Context as _;
use futures::{SinkExt as _, Stream, StreamExt as _};
use serde_json::{Value, json};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest time that one request, or one step of a subscription's handshake, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(45);
/// How often a subscription pings: the server closes sockets that stay silent.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Events that may wait for a slow reader before the socket is no longer read.
const EVENT_BUFFER: usize = 256;

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum GraphqlError {
    /// No usable answer came: connection, time limit, HTTP status, or something that is no GraphQL.
    #[error("the server gave no GraphQL answer: {0:#}")]
    Transport(anyhow::Error),
    /// The server answered with errors; the first one is told.
    #[error("{code}: {message}")]
    Answer {
        /// `extensions.code` of the first error; empty when it has none.
        code: String,
        /// Message of the first error.
        message: String,
        /// All its extensions.
        extensions: Value,
    },
}

impl GraphqlError {
    /// The code of an answered error; `None` when there was no answer.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Transport(_) => None,
            Self::Answer { code, .. } => Some(code),
        }
    }

    fn transport(error: impl Into<anyhow::Error>) -> Self {
        Self::Transport(error.into())
    }

    fn from_errors(errors: &Value) -> Self {
        let first = &errors[0];
        Self::Answer {
            code: text(&first["extensions"]["code"]),
            message: text(&first["message"]),
            extensions: first["extensions"].clone(),
        }
    }
}

/// A client of one server with one API key, or none.
#[derive(Clone)]
pub struct GraphqlClient {
    http: reqwest::Client,
    url: String,
    api_key: Option<String>,
}

impl GraphqlClient {
    /// A client of the server at `host:port`.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(address: &str, api_key: Option<&str>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(STEP_TIMEOUT).no_proxy().build()?;
        Ok(Self { http, url: format!("http://{address}/graphql"), api_key: api_key.map(str::to_owned) })
    }

    /// Runs a query or mutation and returns `data`.
    ///
    /// # Errors
    /// See [`GraphqlError`]; an answer with errors is an error even when it has data too.
    pub async fn request(&self, document: &str, variables: Value) -> Result<Value, GraphqlError> {
        let mut request =
            self.http.post(&self.url).json(&json!({ "query": document, "variables": variables }));
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(GraphqlError::transport)?;
        let status = response.status();
        let body = response.bytes().await.map_err(GraphqlError::transport)?;
        let mut answer: Value = serde_json::from_slice(&body)
            .with_context(|| format!("HTTP {status}: {}", String::from_utf8_lossy(&body)))
            .map_err(GraphqlError::Transport)?;
        take_data(&mut answer)
    }

    /// Starts a subscription. When this returns, the server has accepted the socket and got the request; the stream
    /// gives the `data` of each event and ends when the server completes it. Dropping the stream closes the socket.
    ///
    /// # Errors
    /// The socket cannot be opened, or the server refuses the key.
    pub async fn subscribe(&self, document: &str, variables: Value) -> Result<Subscription, GraphqlError> {
        let mut socket = self.open_socket().await.map_err(GraphqlError::Transport)?;
        let payload = self
            .api_key
            .as_ref()
            .map_or_else(|| json!({}), |key| json!({ "Authorization": format!("Bearer {key}") }));
        send(&mut socket, &json!({ "type": "connection_init", "payload": payload })).await?;
        loop {
            let message = receive(&mut socket).await?;
            match message["type"].as_str() {
                Some("connection_ack") => break,
                Some("ping") => send(&mut socket, &json!({ "type": "pong" })).await?,
                _ => return Err(GraphqlError::Transport(anyhow::anyhow!("unexpected message {message}"))),
            }
        }
        let subscribe = json!({
            "id": "1", "type": "subscribe", "payload": { "query": document, "variables": variables },
        });
        send(&mut socket, &subscribe).await?;
        let (sender, events) = mpsc::channel(EVENT_BUFFER);
        let pump = tokio::spawn(pump_events(socket, sender));
        Ok(Subscription { events, pump })
    }

    async fn open_socket(&self) -> anyhow::Result<Socket> {
        let mut request = self.url.replacen("http", "ws", 1).into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
        let connected = tokio::time::timeout(STEP_TIMEOUT, tokio_tungstenite::connect_async(request)).await;
        let (socket, _response) = connected.context("the websocket was not opened in time")??;
        Ok(socket)
    }
}

/// The events of a subscription.
pub struct Subscription {
    events: mpsc::Receiver<Result<Value, GraphqlError>>,
    pump: JoinHandle<()>,
}

impl Stream for Subscription {
    type Item = Result<Value, GraphqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Carries events from the socket to the reader, pings, and ends with the subscription.
async fn pump_events(mut socket: Socket, events: mpsc::Sender<Result<Value, GraphqlError>>) {
    let mut ping = tokio::time::interval(PING_INTERVAL);
    loop {
        let next = tokio::select! {
            _ = ping.tick() => {
                if send(&mut socket, &json!({ "type": "ping" })).await.is_err() {
                    return;
                }
                continue;
            }
            next = next_message(&mut socket) => next,
        };
        let event = match next {
            Ok(mut message) => match message["type"].as_str() {
                Some("next") => take_data(&mut message["payload"]),
                Some("error") => Err(GraphqlError::from_errors(&message["payload"])),
                Some("complete") => return,
                _ => continue,
            },
            Err(error) => Err(error),
        };
        let failed = event.is_err();
        if events.send(event).await.is_err() || failed {
            return;
        }
    }
}

async fn send(socket: &mut Socket, message: &Value) -> Result<(), GraphqlError> {
    let sent = tokio::time::timeout(STEP_TIMEOUT, socket.send(Message::text(message.to_string()))).await;
    sent.context("the websocket took no message in time")
        .map_err(GraphqlError::Transport)?
        .map_err(GraphqlError::transport)
}

async fn receive(socket: &mut Socket) -> Result<Value, GraphqlError> {
    let received = tokio::time::timeout(STEP_TIMEOUT, next_message(socket)).await;
    received.context("the websocket gave no message in time").map_err(GraphqlError::Transport)?
}

/// The next message of the protocol, passing over the websocket's own control frames.
async fn next_message(socket: &mut Socket) -> Result<Value, GraphqlError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(body))) => {
                return serde_json::from_str(body.as_str()).map_err(GraphqlError::transport);
            }
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map_or_else(String::new, |f| format!(" ({} {})", f.code, f.reason));
                let closed = anyhow::anyhow!("the server closed the websocket{reason}");
                return Err(GraphqlError::Transport(closed));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(GraphqlError::transport(error)),
            None => return Err(GraphqlError::Transport(anyhow::anyhow!("the websocket ended"))),
        }
    }
}

fn take_data(answer: &mut Value) -> Result<Value, GraphqlError> {
    if answer["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
        return Err(GraphqlError::from_errors(&answer["errors"]));
    }
    match answer.get_mut("data") {
        Some(data) => Ok(data.take()),
        None => Err(GraphqlError::Transport(anyhow::anyhow!("the answer has no data: {answer}"))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_errors_tells_the_first_code() {
        let mut answer = json!({
            "data": null,
            "errors": [{ "message": "busy", "extensions": { "code": "CONFLICT", "jobId": "job_1" } }],
        });
        let error = take_data(&mut answer);
        assert!(matches!(
            &error,
            Err(GraphqlError::Answer { code, extensions, .. })
                if code == "CONFLICT" && extensions["jobId"] == "job_1"
        ));
    }

    #[test]
    fn an_answer_without_data_is_no_answer() {
        assert!(matches!(take_data(&mut json!({ "hello": 1 })), Err(GraphqlError::Transport(_))));
    }
}
