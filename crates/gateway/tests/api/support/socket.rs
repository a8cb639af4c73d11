//! A client of `graphql-transport-ws`.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Time after which a test gives up. Not an assertion on speed: everything awaited comes at once or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The header that offers the protocol.
pub(crate) const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

pub(crate) struct SocketClient(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

/// How a WebSocket ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl SocketClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[PROTOCOL]).await.unwrap()
    }

    pub(crate) async fn connect_with(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Box<Error>> {
        let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| Self(socket)).map_err(Box::new)
    }

    /// A client that was let in.
    pub(crate) async fn admitted(address: SocketAddr, key: &str) -> Self {
        let mut client = Self::connect(address).await;
        client
            .send(&json!({"type": "connection_init", "payload": {"Authorization": format!("Bearer {key}")}}))
            .await;
        assert_eq!(client.message().await.unwrap()["type"], "connection_ack");
        client
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        self.send(
            &json!({"type": "subscribe", "id": id, "payload": {"query": query, "variables": variables}}),
        )
        .await;
    }

    /// The next message of the protocol, or how the connection closed.
    pub(crate) async fn message(&mut self) -> Result<Value, Closed> {
        // Pings come all the time, and are no reason to go on waiting.
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let message = tokio::time::timeout_at(end, self.0.next()).await.expect("a message or a close");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Closed { code: frame.code.into(), reason: frame.reason.to_string() });
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => {
                    return Err(Closed { code: 0, reason: String::new() });
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// The payload of the next event of a subscription; `None` when it is complete.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        let mut message = self.message().await.expect("an open connection");
        match message["type"].as_str() {
            Some("next") => Some(message["payload"].take()),
            Some("complete") => None,
            other => panic!("unexpected message {other:?}: {message}"),
        }
    }
}
