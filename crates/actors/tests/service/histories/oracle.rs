//! Which backups there should be, and what has to lie in the repositories for them.

use super::ground::Sight;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, ClusterId, HoldId, JobId};
use milvault_domain::schedule::LOOK_AHEAD_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// How long files stay of what has ended.
pub(super) const GRACE: TimeDelta = TimeDelta::hours(24);

pub(super) struct Made {
    pub(super) id: BackupId,
    pub(super) cluster_id: ClusterId,
    /// Number of its repository.
    pub(super) place: usize,
    pub(super) at: DateTime<Utc>,
    /// Made by a schedule, and no copy.
    pub(super) automatic: bool,
    pub(super) until: Option<DateTime<Utc>>,
    /// Segments in it.
    pub(super) segments: BTreeSet<i64>,
    pub(super) status: BackupStatus,
    /// The job that makes it, as long as that has not ended.
    pub(super) job: Option<JobId>,
    /// Whether a person has canceled that job.
    pub(super) canceled: bool,
    /// When it expired, failed or was deleted.
    pub(super) ended: Option<DateTime<Utc>>,
    pub(super) expiry: Expiry,
    /// Whether it was whole at any time.
    pub(super) complete: bool,
}

#[derive(PartialEq, Eq)]
pub(super) enum Expiry {
    ToCome,
    Over,
    /// A clock that was ahead made it; it counts the next time.
    TakenBack,
}

impl Made {
    pub(super) fn is_available(&self) -> bool {
        self.status == BackupStatus::Available
    }

    fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.ended.is_some_and(|ended| ended + GRACE <= now)
    }

    pub(super) fn end(&mut self, status: BackupStatus, at: DateTime<Utc>) {
        (self.status, self.ended) = (status, Some(at));
    }
}

pub(super) struct Held {
    pub(super) id: HoldId,
    pub(super) backup_id: BackupId,
    pub(super) until: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy)]
pub(super) struct Policy {
    pub(super) enabled: bool,
    pub(super) days: u32,
    pub(super) last: usize,
    pub(super) daily: usize,
}

#[derive(Default)]
pub(super) struct Oracle {
    pub(super) made: Vec<Made>,
    /// Holds that nobody has taken off.
    pub(super) holds: Vec<Held>,
    pub(super) policies: BTreeMap<ClusterId, Policy>,
    /// Backups whose grace was over at any time: they may be gone, whatever the clock says later.
    were_due: BTreeSet<BackupId>,
}

impl Oracle {
    pub(super) fn is_held(&self, id: BackupId, now: DateTime<Utc>) -> bool {
        let binds = |hold: &Held| hold.backup_id == id && hold.until.is_none_or(|until| now < until);
        self.holds.iter().any(binds)
    }

    /// Automatic backups that stay whatever their age.
    fn chosen(&self) -> BTreeSet<BackupId> {
        let mut chosen = BTreeSet::new();
        for (cluster_id, policy) in &self.policies {
            let is_one =
                |made: &&Made| made.automatic && made.is_available() && made.cluster_id == *cluster_id;
            let mut all: Vec<_> = self.made.iter().filter(is_one).map(|made| (made.at, made.id)).collect();
            all.sort_unstable();
            chosen.extend(all.iter().rev().take(policy.last).map(|(_, id)| *id));
            // Later ones of a day take the place of earlier ones.
            let newest: BTreeMap<NaiveDate, BackupId> =
                all.iter().map(|(at, id)| (at.date_naive(), *id)).collect();
            chosen.extend(newest.into_values().rev().take(policy.daily));
        }
        chosen
    }

    /// Ends what is over age.
    pub(super) fn expire(&mut self, now: DateTime<Utc>) {
        let chosen = self.chosen();
        let over = |made: &Made| made.is_available() && made.until.is_some_and(|until| until <= now);
        let over: BTreeSet<BackupId> = self
            .made
            .iter()
            .filter(|made| over(made) && !chosen.contains(&made.id) && !self.is_held(made.id, now))
            .map(|made| made.id)
            .collect();
        for made in self.made.iter_mut().filter(|made| over.contains(&made.id)) {
            made.end(BackupStatus::Deleted, now);
            if made.expiry == Expiry::ToCome {
                made.expiry = Expiry::Over;
            }
        }
    }

    /// Has a clock that was ahead be right again: what it has expired comes back, unless its time is over all the same.
    pub(super) fn take_back(&mut self, now: DateTime<Utc>) {
        for made in self.made.iter_mut().filter(|made| made.expiry == Expiry::Over) {
            let ended_ahead = made.ended.is_some_and(|ended| now + LOOK_AHEAD_MAX < ended);
            if ended_ahead && made.until.is_some_and(|until| now < until) {
                (made.status, made.ended) = (BackupStatus::Available, None);
                made.expiry = Expiry::TakenBack;
            }
        }
    }

    pub(super) fn statuses(&self) -> BTreeMap<BackupId, BackupStatus> {
        self.made.iter().map(|made| (made.id, made.status)).collect()
    }

    /// Judges what lies in a repository when no backup is being made.
    pub(super) fn check(&mut self, place: usize, sight: &Sight, now: DateTime<Utc>) {
        self.were_due.extend(self.made.iter().filter(|made| made.is_due(now)).map(|made| made.id));
        for made in self.made.iter().filter(|made| made.place == place && made.complete) {
            let id = made.id;
            if self.were_due.contains(&id) {
                continue;
            }
            let listed = sight.manifests.get(&id).unwrap_or_else(|| panic!("{id} has lost its manifest"));
            let lost = listed.iter().find(|object| !sight.files.contains(&object.file) || !object.is_right);
            assert!(
                lost.is_none(),
                "{id}, {:?} since {:?}, has lost {lost:?} at {now}",
                made.status,
                made.ended
            );
            let objects: BTreeSet<_> =
                listed.iter().map(|object| (object.segment_id, object.field_id)).collect();
            let expected: BTreeSet<_> =
                made.segments.iter().flat_map(|segment| [(*segment, 0), (*segment, 100)]).collect();
            assert_eq!(objects, expected, "{id} is not what its cluster was");
            assert!(!made.is_available() || !sight.tombstones.contains(&id), "{id} is buried");
        }
        for id in sight.manifests.keys().chain(sight.plans.keys()).chain(&sight.tombstones) {
            assert!(self.made.iter().any(|made| made.id == *id), "nobody has made {id}");
        }
        let listed = sight.manifests.values().flatten().map(|object| &object.file);
        let known: BTreeSet<_> = listed.chain(sight.plans.values().flatten()).collect();
        let stray: Vec<_> = sight.files.iter().filter(|file| !known.contains(file)).collect();
        assert!(stray.is_empty(), "nothing speaks of {stray:?} at {now}");
    }

    /// Judges the same when a cluster has just been swept: with [`Oracle::check`], every file is then one of a backup
    /// that stays or waits.
    pub(super) fn check_swept(&self, place: usize, cluster_id: ClusterId, sight: &Sight, now: DateTime<Utc>) {
        let due = self.made.iter().filter(|made| made.cluster_id == cluster_id && made.is_due(now));
        for made in due.filter(|made| made.place == place) {
            let id = made.id;
            let left = [
                sight.manifests.contains_key(&id),
                sight.plans.contains_key(&id),
                sight.tombstones.contains(&id),
            ];
            assert_eq!(left, [false; 3], "{id}, ended at {:?}, is not gone at {now}", made.ended);
        }
    }
}
