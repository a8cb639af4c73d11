//! When keys and sessions were last used. Requests only note it in memory; one task writes what has gathered, so that no request
//! writes and a key is written once a minute at most.

use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::access::Credential;
use milvault_domain::ports::Catalog;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A use so soon after the one noted before is not noted.
const NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Notes uses of keys and sessions. What was noted in the last seconds before the process ends is lost.
pub(crate) struct KeyUses {
    catalog: Arc<dyn Catalog>,
    /// How long uses gather before they are written.
    delay: Duration,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    /// As many as keys and sessions were used in the last minute.
    last: HashMap<Credential, DateTime<Utc>>,
    waiting: Vec<(Credential, DateTime<Utc>)>,
}

impl KeyUses {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, delay: Duration) -> Self {
        Self { catalog, delay, noted: Mutex::default() }
    }

    /// Notes that a key or session is used now.
    pub(crate) fn note(self: &Arc<Self>, credential: Credential, now: DateTime<Utc>) {
        let mut noted = self.lock();
        if noted.last.get(&credential).is_some_and(|last| now - *last < NOTED_EVERY) {
            return;
        }
        noted.last.insert(credential, now);
        let is_first = noted.waiting.is_empty();
        noted.waiting.push((credential, now));
        drop(noted);
        if is_first {
            let uses = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(uses.delay).await;
                uses.write(now).await;
            });
        }
    }

    async fn write(&self, now: DateTime<Utc>) {
        let waiting = {
            let mut noted = self.lock();
            noted.last.retain(|_, last| now - *last < NOTED_EVERY);
            std::mem::take(&mut noted.waiting)
        };
        let (mut keys, mut sessions) = (Vec::new(), Vec::new());
        for (credential, used_at) in waiting {
            match credential {
                Credential::ApiKey(api_key_id) => keys.push((api_key_id, used_at)),
                Credential::Session(session_id) => sessions.push((session_id, used_at)),
            }
        }
        if !keys.is_empty()
            && let Err(error) = self.catalog.note_key_uses(&keys).await
        {
            tracing::warn!(%error, keys = keys.len(), "cannot record when keys were last used");
        }
        if !sessions.is_empty()
            && let Err(error) = self.catalog.note_session_uses(&sessions).await
        {
            tracing::warn!(%error, sessions = sessions.len(), "cannot record when sessions were last used");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
