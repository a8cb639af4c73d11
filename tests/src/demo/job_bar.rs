//! A job's progress on the terminal, fed by its events.

use super::api::JobView;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// The bar of one job. Without a terminal it prints a line per phase instead.
pub(super) struct JobBar {
    bar: ProgressBar,
    title: String,
    phase: Option<String>,
    events: u64,
}

impl JobBar {
    /// A bar with a title.
    ///
    /// # Errors
    /// The bar's template is wrong.
    pub(super) fn new(title: &str) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("  {prefix:<16} {bar:32} {percent:>3}%  {msg}")?;
        let bar = ProgressBar::new(100).with_style(style).with_prefix(title.to_owned());
        Ok(Self { bar, title: title.to_owned(), phase: None, events: 0 })
    }

    /// Shows an event.
    pub(super) fn show(&mut self, job: &JobView) {
        self.events += 1;
        let progress = &job.progress;
        let phase = job.phase.clone().unwrap_or_else(|| job.state.clone());
        let rate =
            progress.bytes_per_second.map_or_else(String::new, |rate| format!(", {}/s", HumanBytes(rate)));
        let message = format!(
            "{:<7} {} of {}, {} reused{rate}",
            phase.to_lowercase(),
            HumanBytes(progress.bytes_done),
            HumanBytes(progress.bytes_total),
            HumanBytes(progress.bytes_reused),
        );
        self.bar.set_position(u64::from(progress.percent));
        if self.bar.is_hidden() && self.phase.as_ref() != Some(&phase) {
            eprintln!("  {:<16} {:>3}%  {message}", self.title, progress.percent);
        }
        self.bar.set_message(message);
        self.phase = Some(phase);
    }

    /// Leaves the last state on the terminal; returns how many events were shown.
    #[must_use]
    pub(super) fn finish(self) -> u64 {
        self.bar.abandon();
        self.events
    }
}
