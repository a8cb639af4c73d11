//! Bounded repetition of a step whose other side may come back.

use crate::core::Settings;
use backon::{ExponentialBuilder, Retryable};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::future::Future;
use std::time::Duration;

/// Longest pause between two attempts.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// How often and how soon a step is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    attempts_max: usize,
    first_delay: Duration,
    worth_repeating: fn(&PortError) -> bool,
}

impl Retry {
    /// Repeats what [`PortError::is_retryable`] says.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            attempts_max: settings.step_attempts_max,
            first_delay: settings.step_retry_delay,
            worth_repeating: PortError::is_retryable,
        }
    }

    /// Repeats only what could not be reached: for steps that meet the same change at every attempt.
    pub(crate) fn only_unavailable(mut self) -> Self {
        self.worth_repeating = |error| error.kind() == PortErrorKind::Unavailable;
        self
    }

    /// Runs the step until it succeeds, fails for good, or was tried often enough. The last error is returned.
    pub(crate) async fn run<T, Step, Attempt>(self, step: &'static str, attempt: Step) -> PortResult<T>
    where
        Step: FnMut() -> Attempt,
        Attempt: Future<Output = PortResult<T>>,
    {
        let delays = ExponentialBuilder::default()
            .with_min_delay(self.first_delay)
            .with_max_delay(DELAY_MAX)
            .with_max_times(self.attempts_max.saturating_sub(1))
            .with_jitter();
        attempt
            .retry(delays)
            .when(self.worth_repeating)
            .notify(|error, delay| tracing::warn!(step, %error, ?delay, "a step failed and is tried again"))
            .await
    }

    /// The same for a step that may be done only as long as something holds: it is asked before every attempt, since a
    /// pause may outlast it.
    pub(crate) async fn run_while<T, Step, Attempt>(
        self,
        holds: impl Fn() -> PortResult<()>,
        step: &'static str,
        mut attempt: Step,
    ) -> PortResult<T>
    where
        Step: FnMut() -> Attempt,
        Attempt: Future<Output = PortResult<T>>,
    {
        let checked = || {
            let attempt = holds().map(|()| attempt());
            async move { attempt?.await }
        };
        self.run(step, checked).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;

    async fn attempts_until(kind: PortErrorKind, retry: Retry) -> (usize, PortErrorKind) {
        let attempts = Cell::new(0);
        let result: PortResult<()> = retry
            .run("test", || {
                attempts.set(attempts.get() + 1);
                async move { Err(PortError::new(kind, "no")) }
            })
            .await;
        (attempts.get(), result.unwrap_err().kind())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_repeated_and_not_for_ever() {
        let retry = Retry::of(&Settings { step_attempts_max: 3, ..Settings::default() });
        for (kind, general, unavailable_only) in [
            (PortErrorKind::Unavailable, 3, 3),
            (PortErrorKind::Changed, 3, 1),
            (PortErrorKind::PermissionDenied, 1, 1),
        ] {
            assert_eq!(attempts_until(kind, retry).await, (general, kind));
            assert_eq!(attempts_until(kind, retry.only_unavailable()).await, (unavailable_only, kind));
        }
    }
}
