//! From local times to the instants at which backups start.

use super::pattern::Pattern;
use super::{SPREAD_WINDOW, TimeZone};
use crate::ids::ClusterId;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use std::iter;

/// The schedule of one cluster.
#[derive(Debug, Clone)]
pub struct Schedule {
    cluster_id: ClusterId,
    pub(super) enabled: bool,
    pattern: Pattern,
    zone: TimeZone,
}

impl Schedule {
    pub(super) const fn new(cluster_id: ClusterId, enabled: bool, pattern: Pattern, zone: TimeZone) -> Self {
        Self { cluster_id, enabled, pattern, zone }
    }

    /// The first start after an instant; `None` at the end of the calendar only. Whether the policy is switched on
    /// does not matter here.
    #[must_use]
    pub fn next_run(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.runs_after(after).next()
    }

    /// All starts after an instant, in order.
    pub fn runs_after(&self, after: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        // A start is put off by less than the window, so earlier occurrences cannot start after `after`.
        let earliest = after.checked_sub_signed(SPREAD_WINDOW).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let mut occurrences = self.occurrences_after(earliest).peekable();
        iter::from_fn(move || {
            let (instant, local) = occurrences.next()?;
            let until_next =
                occurrences.peek().map_or(SPREAD_WINDOW, |(next, _)| (*next - instant).min(SPREAD_WINDOW));
            instant.checked_add_signed(self.spread(local.date(), until_next))
        })
        .skip_while(move |run| *run <= after)
    }

    /// Instants of the pattern's local times after an instant, each once, in order.
    ///
    /// The instant of a local time never decreases as that grows. So local times up to the one that clocks show at
    /// `after` have come already, and where clocks go back the filter takes out those that came in the first pass.
    fn occurrences_after(
        &self,
        after: DateTime<Utc>,
    ) -> impl Iterator<Item = (DateTime<Utc>, NaiveDateTime)> + '_ {
        let locals = iter::successors(self.pattern.next_after(self.zone.local(after)), |local| {
            self.pattern.next_after(*local)
        });
        let mut last = after;
        locals.map_while(|local| Some((self.zone.instant(local)?, local))).filter(move |(instant, _)| {
            let is_new = *instant > last;
            last = last.max(*instant);
            is_new
        })
    }

    /// How long a start of this day is put off: less than `window`, the same whenever it is asked for.
    fn spread(&self, day: NaiveDate, window: TimeDelta) -> TimeDelta {
        let mut hasher = blake3::Hasher::new_derive_key("milvault 2026 schedule spread v1");
        hasher.update(self.cluster_id.as_uuid().as_bytes());
        hasher.update(day.to_string().as_bytes());
        let hash = hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        TimeDelta::seconds(i64::from(hash).checked_rem(window.num_seconds()).unwrap_or(0))
    }
}
