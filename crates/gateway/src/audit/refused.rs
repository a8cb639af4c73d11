//! Refused authentications. The first is written down at once; those that follow are counted and written down once a
//! minute, by address, so that nobody can fill the disk by being refused.

use super::AuditTrail;
use crate::error::GatewayError;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long refusals are counted before they are written down.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are counted apart within one window; those of all others are counted together.
const ADDRESSES_MAX: usize = 8;

/// Counts who was turned away.
#[derive(Clone)]
pub(crate) struct RefusedAuthentications {
    trail: Arc<AuditTrail>,
    /// What was counted since the last writing; `None` while nobody is refused.
    window: Arc<Mutex<Option<Counts>>>,
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    by_address: HashMap<Option<IpAddr>, u32>,
    others: u32,
}

impl Counts {
    fn add(&mut self, remote: Option<IpAddr>) {
        let room = self.by_address.len() < ADDRESSES_MAX || self.by_address.contains_key(&remote);
        let count = if room { self.by_address.entry(remote).or_default() } else { &mut self.others };
        *count = count.saturating_add(1);
    }

    fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

impl RefusedAuthentications {
    pub(crate) fn new(trail: Arc<AuditTrail>) -> Self {
        Self { trail, window: Arc::default() }
    }

    /// Notes a refusal; other errors are none.
    pub(crate) fn note(&self, remote: Option<IpAddr>, error: &GatewayError) {
        if !matches!(error, GatewayError::Unauthenticated { .. }) {
            return;
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = window.as_mut() {
            counts.add(remote);
            return;
        }
        *window = Some(Counts::default());
        let refused = self.clone();
        tokio::spawn(async move {
            refused.write(remote, 1).await;
            refused.write_windows().await;
        });
    }

    /// Writes down what each window has counted, until one has counted nothing.
    async fn write_windows(&self) {
        loop {
            tokio::time::sleep(WINDOW).await;
            let Some(counts) = self.next_window() else { return };
            for (remote, count) in counts.by_address {
                self.write(remote, count).await;
            }
            if counts.others > 0 {
                self.write(None, counts.others).await;
            }
        }
    }

    /// What was counted; a new window begins unless that is nothing.
    fn next_window(&self) -> Option<Counts> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = window.take().filter(|counts| !counts.is_empty())?;
        *window = Some(Counts::default());
        Some(counts)
    }

    async fn write(&self, remote: Option<IpAddr>, count: u32) {
        if let Err(error) = self.trail.refused(remote, count).await {
            tracing::warn!(%error, ?remote, count, "refused authentications cannot be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_window_has_few_addresses_however_many_come() {
        let mut counts = Counts::default();
        for _ in 0..2 {
            for number in 0..100 {
                counts.add(Some(Ipv4Addr::new(10, 0, 0, number).into()));
            }
        }
        assert_eq!(counts.by_address.len(), ADDRESSES_MAX);
        assert!(counts.by_address.values().all(|count| *count == 2));
        assert_eq!(counts.others, 2 * (100 - 8));
    }
}
