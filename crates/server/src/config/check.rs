//! Rules that a setting's type cannot express.

mod oidc;

use super::settings::Configuration;
use milvault_catalog::Sealer;
use milvault_domain::error::check_name;
use milvault_gateway::Network;
use std::ops::RangeInclusive;
use tracing_subscriber::EnvFilter;

/// A rule that the configuration breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenRule {
    /// Dotted key.
    pub(super) key: &'static str,
    /// The rule.
    pub(super) rule: &'static str,
}

/// The first rule that is broken.
pub(super) fn broken_rule(configuration: &Configuration) -> Option<BrokenRule> {
    let Configuration { server, catalog, log, gateway, jobs, oidc, webhooks: _ } = configuration;
    let url_fits =
        |url: &str| ["sqlite://", "postgres://", "postgresql://"].iter().any(|s| url.starts_with(s));
    let rules: [(&'static str, bool, &'static str); 19] = [
        ("catalog.backup_hour", within(catalog.backup_hour, 0..=23), "must be 0 to 23"),
        ("catalog.backup_keep", within(catalog.backup_keep, 1..=1_000), "must be 1 to 1000"),
        ("server.data_dir", !server.data_dir.as_os_str().is_empty(), "must not be empty"),
        (
            "server.shutdown_grace_seconds",
            within(server.shutdown_grace_seconds, 0..=3600),
            "must be 0 to 3600 seconds",
        ),
        (
            "server.name",
            server.name.as_ref().is_none_or(|name| check_name("server.name", name).is_ok()),
            "must have 1 to 64 characters, no control characters, and no white space at its ends",
        ),
        ("catalog.lease_seconds", within(catalog.lease_seconds, 4..=300), "must be 4 to 300 seconds"),
        ("server.connections_max", within(server.connections_max, 1..=65_536), "must be 1 to 65536"),
        (
            "catalog.url",
            catalog.url.as_ref().is_none_or(|url| url_fits(url.expose())),
            "must start with sqlite:// or postgres://",
        ),
        (
            "catalog.master_key",
            catalog.master_key.as_ref().is_none_or(|keys| Sealer::from_hex(keys.expose(), "it").is_ok()),
            "must be 64 hexadecimal digits; at most 7 older keys may follow, separated by commas",
        ),
        (
            "catalog.master_key",
            catalog.master_key.is_none() || catalog.master_key_file.is_none(),
            "cannot be set together with catalog.master_key_file",
        ),
        (
            "log.filter",
            EnvFilter::builder().parse(&log.filter).is_ok(),
            "must be a level (error, warn, info, debug, trace) or levels per target such as info,milvault_actors=debug",
        ),
        (
            "gateway.allowed_origins",
            gateway.allowed_origins.iter().all(|origin| is_origin(origin)),
            "must be origins such as https://console.example.org, without a path",
        ),
        ("gateway.allowed_origins", gateway.allowed_origins.len() <= 100, "must have at most 100 entries"),
        (
            "gateway.trusted_proxies",
            gateway.trusted_proxies.len() <= 100
                && gateway.trusted_proxies.iter().all(|text| text.parse::<Network>().is_ok()),
            "must be at most 100 addresses or networks such as 10.0.0.0/8",
        ),
        ("jobs.attempts_max", within(jobs.attempts_max, 1..=100), "must be 1 to 100"),
        (
            "jobs.retention_interval_seconds",
            within(jobs.retention_interval_seconds, 1..=86_400),
            "must be 1 to 86400 seconds",
        ),
        ("jobs.kept_days", within(jobs.kept_days, 1..=36_500), "must be 1 to 36500 days"),
        (
            "jobs.schedule_interval_seconds",
            within(jobs.schedule_interval_seconds, 1..=3600),
            "must be 1 to 3600 seconds",
        ),
        (
            "jobs.sweep_grace_seconds",
            within(jobs.sweep_grace_seconds, 0..=31_536_000),
            "must be 0 to 31536000 seconds",
        ),
    ];
    let broken = rules.into_iter().find(|(_, holds, _)| !holds);
    broken.map(|(key, _, rule)| BrokenRule { key, rule }).or_else(|| oidc::broken_rule(oidc))
}

fn within<T: PartialOrd + Copy>(value: T, range: RangeInclusive<T>) -> bool {
    range.contains(&value)
}

fn is_origin(text: &str) -> bool {
    text.strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}
