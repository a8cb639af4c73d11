//! Logs to standard error, and the metrics that `/metrics` shows.

use crate::config::LogFormat;
use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::panic;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::EnvFilter;

/// How often the recorder folds samples into its buckets: without it they would pile up while nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds, in seconds, of the buckets of every duration: from a local request to an hour-long job.
const SECONDS_BUCKETS: [f64; 12] = [0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0];

/// Sends log lines to standard error. Ids of requests, jobs and clusters are fields of the spans that a line is in.
///
/// # Errors
/// The filter cannot be read, or a log was started before.
pub(crate) fn start_log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(filter).context("cannot read the log filter")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    log_panics();
    Ok(())
}

/// A panic is one log line like any other, so that it is found where logs are collected.
fn log_panics() {
    panic::set_hook(Box::new(|information| {
        let location = information.location().map(ToString::to_string);
        let message = information.payload_as_str().unwrap_or("no message");
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(location, message, thread, "panicked");
    }));
}

/// Starts the recorder behind the `metrics` macros, and a task that keeps it small.
///
/// # Errors
/// A recorder was started before.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix(String::from("_seconds")), &SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot start the metrics")?;
    metrics::gauge!("milvault_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let upkeep = recorder.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(recorder)
}
