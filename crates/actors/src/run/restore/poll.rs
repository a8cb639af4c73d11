//! Pauses between looks at work that goes on in another server.

use crate::core::Settings;
use std::time::Duration;

/// Short at first, because most work ends soon, and longer then.
pub(super) struct Polls {
    next: Duration,
    longest: Duration,
}

impl Polls {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { next: settings.poll_interval_min, longest: settings.poll_interval_max }
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_limit() {
        let mut polls = Polls::new(&Settings::default());
        let begin = Instant::now();
        for _ in 0..5 {
            polls.pause().await;
        }
        assert_eq!(begin.elapsed(), Duration::from_millis(250 + 500 + 1000 + 1000 + 1000));
    }
}
