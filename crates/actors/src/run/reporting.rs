//! The pulse of a job at work: rate, events and checkpoints.

use super::Run;
use std::convert::Infallible;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Reports until it is dropped. A failed checkpoint only costs freshness, so it is tried again at the next one.
pub(super) async fn report(run: &Run) -> Infallible {
    let settings = &run.core.settings;
    let mut ticks = interval(settings.progress_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checkpoint_at = Instant::now() + settings.checkpoint_interval;
    loop {
        ticks.tick().await;
        run.live.measure();
        run.core.live.publish(&run.job);
        if Instant::now() >= checkpoint_at {
            if let Err(error) = run.checkpoint().await {
                tracing::warn!(%error, "a checkpoint was not recorded");
            }
            checkpoint_at = Instant::now() + settings.checkpoint_interval;
        }
    }
}
