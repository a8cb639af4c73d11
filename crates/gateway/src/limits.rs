//! Limits of everything that a caller can make grow, and the check of a document before it is executed.

mod document;
mod lexical;

use crate::error::GatewayError;
use async_graphql::parser::types::OperationType;
use async_graphql::{Request, ServerError};
use std::time::Duration;

/// Limits. The defaults fit a server that other people can reach.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Size of a request's body.
    pub body_bytes_max: usize,
    /// Size of a WebSocket message from a client.
    pub socket_message_bytes_max: usize,
    /// Words and signs of a document.
    pub tokens_max: usize,
    /// Brackets within brackets, whatever they mean. Parsing recurses on them.
    pub nesting_max: usize,
    /// Fragments of a document.
    pub fragments_max: usize,
    /// Fields of a document after its fragments are put in.
    pub fields_max: usize,
    /// Uses of one field in one selection, under whatever aliases.
    pub aliases_per_field_max: usize,
    /// Fields of an operation's root. Subscriptions have one.
    pub root_fields_max: usize,
    /// Fields of a mutation's root, which are carried out one after the other.
    pub mutations_max: usize,
    /// Directives of an operation.
    pub directives_max: usize,
    /// Levels of fields. The introspection query of `GraphiQL` needs 13.
    pub depth_max: usize,
    /// Cost of an operation: one per field, multiplied by the page size of the lists it lies in.
    pub complexity_max: usize,
    /// Time for a query or mutation.
    pub request_timeout: Duration,
    /// Operations that one WebSocket may have open at once.
    pub subscriptions_per_socket_max: usize,
    /// WebSocket connections of one API key.
    pub sockets_per_key_max: usize,
    /// WebSocket connections of callers who have not proven who they are.
    pub sockets_unknown_max: usize,
    /// WebSocket connections of all callers who have.
    pub sockets_max: usize,
    /// Time from the opening of a WebSocket to a `connection_init` with a valid key.
    pub init_timeout: Duration,
    /// How often a WebSocket is pinged. A client that has not answered for three pings is let go.
    pub ping_interval: Duration,
    /// Time for a client to take a message before its WebSocket is let go.
    pub send_timeout: Duration,
    /// How often the key of an open WebSocket is looked up again.
    pub key_check_interval: Duration,
    /// Exports of the audit log that may be under way at once.
    pub audit_exports_max: usize,
    /// How long uses of keys gather before their times are written in one transaction.
    pub key_use_delay: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 256 * 1024,
            socket_message_bytes_max: 256 * 1024,
            tokens_max: 10_000,
            nesting_max: 64,
            fragments_max: 64,
            fields_max: 2_000,
            aliases_per_field_max: 15,
            root_fields_max: 50,
            mutations_max: 10,
            directives_max: 50,
            depth_max: 15,
            complexity_max: 1_000_000,
            request_timeout: Duration::from_secs(30),
            subscriptions_per_socket_max: 20,
            sockets_per_key_max: 100,
            sockets_unknown_max: 100,
            sockets_max: 1_000,
            init_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_secs(15),
            send_timeout: Duration::from_secs(30),
            key_check_interval: Duration::from_secs(5),
            audit_exports_max: 4,
            key_use_delay: Duration::from_secs(10),
        }
    }
}

/// Checks a request's document in an order in which no check can be made to work hard by what a later one refuses,
/// and finds out what kind of operation it asks for. Depth and complexity are checked by the schema afterwards.
///
/// # Errors
/// `BadUserInput` that says which limit is passed, or where the document is wrong.
pub(crate) fn admit(request: &mut Request, limits: &GatewayLimits) -> Result<OperationType, GatewayError> {
    lexical::check(&request.query, limits)?;
    let operation_name = request.operation_name.clone();
    let document = request.parsed_query().map_err(|error| not_parsed(&error))?;
    document::check(document, limits)?;
    document::operation_type(document, operation_name.as_deref())
}

/// Says where a document is wrong and what was expected there. The parser's own words repeat the line, which may be the
/// whole document, secrets included.
fn not_parsed(error: &ServerError) -> GatewayError {
    let expected = error.message.rsplit_once("= ").map_or("", |(_, words)| words.trim());
    let place = error
        .locations
        .first()
        .map_or_else(String::new, |place| format!(" at line {} column {}", place.line, place.column));
    GatewayError::bad_request(format!("the document does not parse{place}; {}", bounded(expected)))
}

/// Longest text of others that goes into an error, in characters.
const FOREIGN_TEXT_CHARS_MAX: usize = 300;

/// Shortens a text that may repeat what a caller sent.
pub(crate) fn bounded(text: &str) -> String {
    text.chars().take(FOREIGN_TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_does_not_parse_is_not_repeated() {
        let query = "{ node(id: \"canary\") { id }\n  ! }";
        let error = admit(&mut Request::new(query), &GatewayLimits::default()).err();
        let words = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(words.starts_with("the document does not parse at line 2 column 3; expected"), "{words}");
        assert!(!words.contains("canary"), "{words}");
    }
}
