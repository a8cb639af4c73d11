//! Signals: the first SIGTERM or SIGINT ends the server in order, the second at once.

use anyhow::Context;
use std::future::Future;
use std::process;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code when a second signal cuts the orderly end short.
const CUT_SHORT: i32 = 1;

/// The signals that end the server, caught from the moment this exists.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Begins to catch SIGTERM and SIGINT.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Runs the orderly end; another signal meanwhile ends the process at once. Nothing is lost by that: jobs are
    /// taken up again at the next start.
    pub(crate) async fn or_exit_at_once<T>(&mut self, orderly_end: impl Future<Output = T>) -> T {
        tokio::select! {
            done = orderly_end => done,
            name = self.next() => {
                tracing::warn!(signal = name, "second signal, exiting at once");
                process::exit(CUT_SHORT)
            }
        }
    }
}
