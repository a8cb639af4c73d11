//! Start and stop: the thread of the actors, and the life of the service.

use crate::core::{Core, Deps, Settings};
use crate::error::StartError;
use crate::host::Host;
use crate::service::Service;
use actix::{ArbiterHandle, System};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Where the service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Taking up the jobs that were left open. Requests are not accepted yet.
    Starting,
    /// Requests are accepted.
    Ready,
    /// Ending or parking jobs. Requests are refused.
    Draining,
    /// Nothing runs any more.
    Stopped,
}

/// Starts the actors on a thread of their own and takes up all open jobs. Work runs on the runtime that this is
/// called in, which must be able to run several tasks at once.
///
/// # Errors
/// The thread cannot be started, or the catalog does not tell the open jobs.
pub async fn start(deps: Deps, settings: Settings) -> Result<(Service, Runtime), StartError> {
    let actors = ActorsThread::start().await.map_err(StartError::Thread)?;
    let core = Arc::new(Core::new(deps, settings, Handle::current()));
    let host = Arc::new(Host::new(core, actors.arbiter.clone()));
    // Made before anything can fail, so that its `Drop` stops the thread.
    let runtime =
        Runtime { host: Arc::clone(&host), actors: Some(actors), stop_watch: CancellationToken::new() };
    host.register().await?;
    tokio::spawn(Arc::clone(&host).keep_leases(runtime.stop_watch.clone()));
    host.look_round().await?;
    host.start_retention();
    host.start_schedules();
    host.start_notify();
    tokio::spawn(Arc::clone(&host).watch(runtime.stop_watch.clone()));
    tokio::spawn(crate::catalog_backups::watch(Arc::clone(&host.core), runtime.stop_watch.clone()));
    tokio::spawn(crate::checks::watch(Arc::clone(&host), runtime.stop_watch.clone()));
    tokio::spawn(Arc::clone(&host).look_round_for_ever(runtime.stop_watch.clone()));
    host.set_lifecycle(Lifecycle::Ready);
    Ok((Service::new(host), runtime))
}

/// Keeps the actors alive. Dropping it without [`Runtime::shutdown`] stops the actors at once; jobs at work then
/// park themselves in the background, as far as their runtime still runs.
pub struct Runtime {
    host: Arc<Host>,
    actors: Option<ActorsThread>,
    stop_watch: CancellationToken,
}

impl Runtime {
    #[cfg(test)]
    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Refuses new requests, lets jobs at work end within the time of grace, parks the rest as PENDING, so that the
    /// next start continues them, and stops the actors.
    pub async fn shutdown(mut self) {
        self.host.drain().await;
        self.stop_watch.cancel();
        if let Some(actors) = self.actors.take() {
            actors.stop_and_join().await;
        }
        self.host.set_lifecycle(Lifecycle::Stopped);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop_watch.cancel();
        if let Some(actors) = self.actors.take() {
            self.host.set_lifecycle(Lifecycle::Stopped);
            actors.system.stop();
        }
    }
}

/// The thread that all actors live on.
struct ActorsThread {
    system: System,
    arbiter: ArbiterHandle,
    thread: JoinHandle<()>,
}

impl ActorsThread {
    async fn start() -> io::Result<Self> {
        let (send_system, system) = oneshot::channel();
        let thread = std::thread::Builder::new().name("actors".to_owned()).spawn(move || {
            let runner = System::new();
            // The receiver is gone only when the start was given up.
            let _ = send_system.send(System::current());
            if let Err(error) = runner.run() {
                tracing::error!(%error, "the actors ended with an error");
            }
        })?;
        let system =
            system.await.map_err(|_| io::Error::other("the event loop of the actors did not start"))?;
        let arbiter = system.arbiter().clone();
        Ok(Self { system, arbiter, thread })
    }

    async fn stop_and_join(self) {
        self.system.stop();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread of the actors ended in a panic");
        }
    }
}
