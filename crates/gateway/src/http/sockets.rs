//! How many sockets are open: those whose caller is known, in all and per key or session, and those whose caller is not.

use milvault_domain::access::Credential;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Open sockets.
pub(super) struct Sockets {
    /// For callers who have not said who they are. Nobody can take the places of the others by saying nothing.
    unknown: Arc<Semaphore>,
    places: Arc<Semaphore>,
    by_key: Arc<Mutex<HashMap<Credential, usize>>>,
    per_key_max: usize,
}

/// How many there may be.
#[expect(clippy::struct_field_names, reason = "each is a limit, and says so")]
pub(super) struct SocketLimits {
    pub(super) unknown_max: usize,
    pub(super) total_max: usize,
    pub(super) per_key_max: usize,
}

/// An open WebSocket. Until its caller is known it has one of the places for unknown callers.
pub(super) struct OpenSocket {
    unknown: Mutex<Option<OwnedSemaphorePermit>>,
}

/// A WebSocket's place among all, and among those of its key or session.
pub(super) struct KeyPlace {
    by_key: Arc<Mutex<HashMap<Credential, usize>>>,
    credential: Credential,
    _permit: OwnedSemaphorePermit,
}

impl Sockets {
    pub(super) fn new(limits: &SocketLimits) -> Self {
        Self {
            unknown: Arc::new(Semaphore::new(limits.unknown_max)),
            places: Arc::new(Semaphore::new(limits.total_max)),
            by_key: Arc::default(),
            per_key_max: limits.per_key_max,
        }
    }

    /// A place for a WebSocket of a caller who has not yet said who he is; `None` when all of those are taken, or when
    /// there would be none for him afterwards.
    pub(super) fn enter(&self) -> Option<OpenSocket> {
        if self.places.available_permits() == 0 {
            return None;
        }
        let permit = Arc::clone(&self.unknown).try_acquire_owned().ok()?;
        metrics::gauge!("milvault_websockets").increment(1.0);
        Some(OpenSocket { unknown: Mutex::new(Some(permit)) })
    }

    /// A place for a caller who is known, in exchange for the one that he had before; `None` when all are taken, or when
    /// his key or session has as many as it may.
    pub(super) fn admit(&self, credential: Credential, socket: &OpenSocket) -> Option<KeyPlace> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_key.entry(credential).or_default();
        if *open >= self.per_key_max {
            return None;
        }
        *open += 1;
        *socket.unknown.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Some(KeyPlace { by_key: Arc::clone(&self.by_key), credential, _permit: permit })
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        metrics::gauge!("milvault_websockets").decrement(1.0);
    }
}

impl Drop for KeyPlace {
    fn drop(&mut self) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_key.get_mut(&self.credential) {
            *open -= 1;
            if *open == 0 {
                by_key.remove(&self.credential);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::ids::ApiKeyId;
    use uuid::Uuid;

    #[test]
    fn places_are_limited_and_given_back() {
        let key = |number| Credential::ApiKey(ApiKeyId::from_uuid(Uuid::from_u128(number)));
        let sockets = Sockets::new(&SocketLimits { unknown_max: 2, total_max: 3, per_key_max: 1 });
        let first = sockets.enter().unwrap();
        let second = sockets.enter().unwrap();
        assert!(sockets.enter().is_none(), "unknown callers have two places");

        // Whoever is known makes room for another who is not.
        let place = sockets.admit(key(1), &first);
        assert!(place.is_some());
        let third = sockets.enter().unwrap();
        assert!(sockets.enter().is_none());
        assert!(sockets.admit(key(1), &second).is_none(), "a key has one place");
        let others = (sockets.admit(key(2), &second), sockets.admit(key(3), &third));
        assert!(others.0.is_some() && others.1.is_some());
        assert!(sockets.enter().is_none(), "all places are taken");

        drop(place);
        let fourth = sockets.enter().unwrap();
        assert!(sockets.admit(key(1), &fourth).is_some());
        drop(others);
        assert!(sockets.by_key.lock().unwrap().is_empty());
    }
}
