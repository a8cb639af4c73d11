//! A job's progress on the terminal, fed by its events.

use super::api::{JobView, ProgressView};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// The bar of one job. Without a terminal it prints a line per phase instead.
pub(super) struct JobBar {
    bar: ProgressBar,
    title: String,
    shown: Option<String>,
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
        Ok(Self { bar, title: title.to_owned(), shown: None, events: 0 })
    }

    /// Shows an event.
    pub(super) fn show(&mut self, job: &JobView) {
        self.events += 1;
        let doing = doing(job);
        let message = describe(&doing, &job.progress);
        self.bar.set_message(message.clone());
        self.bar.set_position(u64::from(job.progress.percent));
        if self.bar.is_hidden() && self.shown.as_ref() != Some(&doing) {
            eprintln!("  {:<16} {:>3}%  {message}", self.title, job.progress.percent);
        }
        self.shown = Some(doing);
    }

    /// Leaves the last state on the terminal; returns how many events were shown.
    #[must_use]
    pub(super) fn finish(self) -> u64 {
        self.bar.abandon();
        self.events
    }
}

/// The phase of a job at work, the state of any other.
fn doing(job: &JobView) -> String {
    let phase = job.phase.as_ref().filter(|_| job.state == "IN_PROGRESS");
    phase.unwrap_or(&job.state).to_lowercase()
}

fn describe(doing: &str, progress: &ProgressView) -> String {
    let mut parts = Vec::new();
    if 0 < progress.bytes_total {
        parts.push(format!("{} of {}", HumanBytes(progress.bytes_done), HumanBytes(progress.bytes_total)));
    }
    if 0 < progress.bytes_reused {
        parts.push(format!("{} reused", HumanBytes(progress.bytes_reused)));
    }
    if let Some(rate) = progress.bytes_per_second.filter(|rate| 0 < *rate) {
        parts.push(format!("{}/s", HumanBytes(rate)));
    }
    format!("{doing:<10} {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_figures_that_say_something_are_shown() {
        let mut progress = ProgressView::default();
        assert_eq!(describe("cut", &progress).trim_end(), "cut");
        progress = ProgressView { bytes_total: 2048, bytes_done: 1024, bytes_reused: 512, ..progress };
        assert_eq!(describe("copy", &progress), "copy       1.00 KiB of 2.00 KiB, 512 B reused");
    }
}
