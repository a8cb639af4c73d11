//! How many sockets are open, in all and per key or session.

use milvault_domain::access::Credential;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Open sockets.
pub(super) struct Sockets {
    places: Arc<Semaphore>,
    by_key: Arc<Mutex<HashMap<Credential, usize>>>,
    per_key_max: usize,
}

/// A WebSocket's place among all.
pub(super) struct SocketPlace {
    _permit: OwnedSemaphorePermit,
}

/// A WebSocket's place among those of its key or session.
pub(super) struct KeyPlace {
    by_key: Arc<Mutex<HashMap<Credential, usize>>>,
    credential: Credential,
}

impl Sockets {
    pub(super) fn new(total_max: usize, per_key_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(total_max)), by_key: Arc::default(), per_key_max }
    }

    /// A place for a WebSocket of a caller who has not yet said who he is; `None` when all are taken.
    pub(super) fn enter(&self) -> Option<SocketPlace> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        metrics::gauge!("milvault_websockets").increment(1.0);
        Some(SocketPlace { _permit: permit })
    }

    /// A place among those of the key or session; `None` when it has as many as it may.
    pub(super) fn admit(&self, credential: Credential) -> Option<KeyPlace> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_key.entry(credential).or_default();
        if *open >= self.per_key_max {
            return None;
        }
        *open += 1;
        Some(KeyPlace { by_key: Arc::clone(&self.by_key), credential })
    }
}

impl Drop for SocketPlace {
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
    use super::*;
    use milvault_domain::ids::ApiKeyId;
    use uuid::Uuid;

    #[test]
    fn places_are_limited_and_given_back() {
        let key = |number| Credential::ApiKey(ApiKeyId::from_uuid(Uuid::from_u128(number)));
        let sockets = Sockets::new(2, 1);
        let first = sockets.enter();
        let second = sockets.enter();
        assert!(first.is_some() && second.is_some() && sockets.enter().is_none());
        drop(first);
        assert!(sockets.enter().is_some());

        let place = sockets.admit(key(1));
        assert!(place.is_some() && sockets.admit(key(1)).is_none() && sockets.admit(key(2)).is_some());
        drop(place);
        assert!(sockets.admit(key(1)).is_some());
        assert!(sockets.by_key.lock().is_ok_and(|by_key| by_key.is_empty()));
    }
}
