//! The ids of the operations that a client has open. The protocol library lets a later operation take the place of an
//! earlier one with the same id; the protocol says that the WebSocket must close.

use axum::extract::ws::Message;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// What has to be known of a message.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
}

/// Ids of one WebSocket.
#[derive(Default)]
pub(super) struct OpenOperations(Mutex<Known>);

#[derive(Default)]
struct Known {
    open: HashSet<String>,
    /// Ids that the client has ended, and how often the server has not yet said so too.
    owed: HashMap<String, u32>,
    taken_twice: Option<String>,
}

impl OpenOperations {
    /// Notes what a client says. `false` when it takes an id that is in use: then it must not be heard any more.
    pub(super) fn heard(&self, message: &Message) -> bool {
        let Some((kind, id)) = head(message) else { return true };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kind.as_str() {
            "subscribe" | "start" if known.open.contains(&id) => {
                known.taken_twice = Some(id);
                return false;
            }
            "subscribe" | "start" => {
                known.open.insert(id);
            }
            "complete" | "stop" if known.open.remove(&id) => *known.owed.entry(id).or_default() += 1,
            _ => {}
        }
        true
    }

    /// Notes what the client is told.
    pub(super) fn told(&self, message: &Message) {
        let Some((_, id)) = head(message).filter(|(kind, _)| kind == "complete") else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.owed.get_mut(&id) {
            Some(1) => {
                known.owed.remove(&id);
            }
            Some(owed) => *owed -= 1,
            None => {
                known.open.remove(&id);
            }
        }
    }

    /// The id that was taken while it was in use.
    pub(super) fn taken_twice(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).taken_twice.clone()
    }
}

fn head(message: &Message) -> Option<(String, String)> {
    let head: Head = match message {
        Message::Text(text) => serde_json::from_str(text).ok()?,
        Message::Binary(bytes) => serde_json::from_slice(bytes).ok()?,
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
    };
    Some((head.kind, head.id?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str) -> Message {
        Message::text(format!(r#"{{"type":"{kind}","id":"1","payload":{{"query":"x"}}}}"#))
    }

    #[test]
    fn an_id_may_be_taken_again_once_its_operation_has_ended() {
        let operations = OpenOperations::default();
        assert!(operations.heard(&message("subscribe")));
        operations.told(&message("next"));
        operations.told(&message("complete"));
        assert!(operations.heard(&message("subscribe")), "the server has ended it");
        assert!(operations.heard(&message("complete")));
        assert!(operations.heard(&message("subscribe")), "the client has ended it");
        // The server's answer to the client's end is about the operation before.
        operations.told(&message("complete"));
        assert_eq!(operations.taken_twice(), None);
        assert!(!operations.heard(&message("subscribe")));
        assert_eq!(operations.taken_twice().as_deref(), Some("1"));
    }
}
