//! A year that passes day by day, against an oracle in plain code: which days are backed up, what is kept, what goes.

use super::*;
use crate::support::fakes::milvus::{collection, cut};
use chrono::{Datelike, NaiveDate, NaiveDateTime};
use milvault_actors::BackupRequest;
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, HoldId};
use milvault_domain::keep::{Hold, KeepRules, RetainedBackup};
use std::collections::BTreeMap;

/// From 21 September 2026 to 22 September 2027.
const DAYS: i64 = 366;
const GRACE: TimeDelta = TimeDelta::hours(24);
const AGE: TimeDelta = TimeDelta::days(7);
const LAST: usize = 9;
const WEEKS: usize = 5;
const MONTHS: usize = 4;
/// Objects of a collection, by how many segments it has.
const OBJECTS_PER_SEGMENT: usize = 2;

/// How the time after a day passes.
#[derive(Clone, Copy)]
enum Pass {
    Day,
    HalfHours,
    /// Past the night, back before it, and on.
    BackOverTheNight,
    /// So many days at once under a running server.
    Jump(i64),
    /// So many days without a server, which was shut down.
    Down(i64),
    /// So many days and a piece of the next night without a server, which was killed, and the rest of the day with one.
    DownToTheNight(i64),
    /// The server is killed at this point of the day's backup, and started again after so many days.
    BackupKilled(&'static str, i64),
    /// The server is killed at this point of the day's sweep, and started again.
    SweepKilled(&'static str),
}

/// What happens after so many days.
fn passing(day: i64) -> Pass {
    match day {
        // The nights in which the clocks go back and forward, and one like any other.
        33 | 187 | 265 => Pass::HalfHours,
        50 | 222 => Pass::BackOverTheNight,
        60 => Pass::Jump(5),
        150 => Pass::Jump(10),
        100 => Pass::Down(4),
        276 => Pass::Down(40),
        210 => Pass::DownToTheNight(3),
        25 => Pass::BackupKilled("cut", 0),
        75 => Pass::BackupKilled("seal", 0),
        130 => Pass::BackupKilled("sealed", 0),
        200 => Pass::BackupKilled("copied", 2),
        260 => Pass::BackupKilled("saved_unfinished", 0),
        340 => Pass::BackupKilled("sealed", 3),
        45 => Pass::SweepKilled("remove_file"),
        115 => Pass::SweepKilled("removed_manifest"),
        175 => Pass::SweepKilled("referenced_files"),
        235 => Pass::SweepKilled("removed_file"),
        325 => Pass::SweepKilled("backup_remains"),
        _ => Pass::Day,
    }
}

/// Days without a backup of their own, first and last: what came after them made up for them.
const MISSED: [(&str, &str); 7] = [
    ("2026-11-21", "2026-11-24"),
    ("2026-12-31", "2027-01-02"),
    ("2027-02-19", "2027-02-27"),
    ("2027-04-11", "2027-04-12"),
    ("2027-04-20", "2027-04-21"),
    ("2027-06-25", "2027-08-02"),
    ("2027-08-29", "2027-08-31"),
];

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// What clocks in Berlin show.
fn local(at: DateTime<Utc>) -> NaiveDateTime {
    let winter = instant("2026-10-25T01:00:00Z") <= at && at < instant("2027-03-28T01:00:00Z");
    at.naive_utc() + TimeDelta::hours(if winter { 1 } else { 2 })
}

/// When the backup of a day begins: half past two, which comes twice in October and not at all in March, and up to two
/// hours later.
fn window(day: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let (back, forward) = (date("2026-10-25"), date("2027-03-28"));
    let half_past_two = day.and_hms_opt(2, 30, 0).unwrap().and_utc();
    let begin = match day {
        _ if day == forward => instant("2027-03-28T01:00:00Z"),
        _ if back < day && day < forward => half_past_two - TimeDelta::hours(1),
        _ => half_past_two - TimeDelta::hours(2),
    };
    (begin, begin + TimeDelta::hours(2))
}

/// The last day whose start has come for certain.
fn closed_day(now: DateTime<Utc>) -> NaiveDate {
    let today = local(now).date();
    if window(today).1 <= now { today } else { today.pred_opt().unwrap() }
}

/// A backup as the oracle has it.
struct Made {
    id: BackupId,
    at: DateTime<Utc>,
    automatic: bool,
    until: Option<DateTime<Utc>>,
    /// Collections in it, with how many objects they have.
    contents: BTreeMap<i64, usize>,
    ended: Option<DateTime<Utc>>,
    swept: bool,
}

/// What can be seen of a world.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sight {
    available: BTreeSet<BackupId>,
    manifests: BTreeMap<BackupId, BTreeMap<i64, usize>>,
    tombstones: BTreeSet<BackupId>,
    /// Objects that are stored, by collection.
    objects: BTreeMap<i64, usize>,
    unfinished: usize,
    open_jobs: usize,
}

/// What the world should be.
#[derive(Default)]
struct Oracle {
    made: Vec<Made>,
    held: BTreeSet<BackupId>,
}

impl Oracle {
    fn living(&self) -> impl Iterator<Item = &Made> {
        self.made.iter().filter(|backup| backup.ended.is_none())
    }

    fn knows(&self, id: BackupId) -> bool {
        self.made.iter().any(|backup| backup.id == id)
    }

    /// Automatic backups that stay whatever their age.
    fn chosen(&self) -> BTreeSet<BackupId> {
        let mut automatic: Vec<_> =
            self.living().filter(|backup| backup.automatic).map(|backup| (backup.at, backup.id)).collect();
        automatic.sort_unstable();
        let (mut weeks, mut months) = (BTreeMap::new(), BTreeMap::new());
        for (at, id) in &automatic {
            let day = local(*at).date();
            // Later ones take the place of earlier ones.
            weeks.insert((day.iso_week().year(), day.iso_week().week()), *id);
            months.insert((day.year(), day.month()), *id);
        }
        let last = automatic.iter().rev().take(LAST).map(|(_, id)| *id);
        last.chain(weeks.into_values().rev().take(WEEKS))
            .chain(months.into_values().rev().take(MONTHS))
            .collect()
    }

    /// Ends and sweeps what is due.
    fn settle(&mut self, now: DateTime<Utc>) {
        let chosen = self.chosen();
        for backup in self.made.iter_mut().filter(|backup| !backup.swept) {
            let over = backup.until.is_some_and(|until| until <= now);
            let bound = self.held.contains(&backup.id) || chosen.contains(&backup.id);
            if backup.ended.is_none() && over && !bound {
                backup.ended = Some(now);
            }
            backup.swept = backup.ended.is_some_and(|ended| ended + GRACE <= now);
        }
    }

    fn sight(&self) -> Sight {
        let mut sight = Sight::default();
        for backup in self.made.iter().filter(|backup| !backup.swept) {
            let side = if backup.ended.is_none() { &mut sight.available } else { &mut sight.tombstones };
            side.insert(backup.id);
            sight.objects.extend(&backup.contents);
            sight.manifests.insert(backup.id, backup.contents.clone());
        }
        sight
    }
}

struct Year {
    stage: Stage,
    /// `None` while it is down.
    server: Option<Server>,
    cluster_id: ClusterId,
    oracle: Oracle,
    /// What the cluster holds today.
    contents: BTreeMap<i64, usize>,
    /// The start that was recorded last.
    last_run: DateTime<Utc>,
    /// Days that have got a backup.
    served: Vec<NaiveDate>,
    /// When automatic backups were asked for that have not ended.
    awaited: Vec<DateTime<Utc>>,
}

impl Year {
    async fn begin(mut stage: Stage) -> Self {
        stage.world.settings.retention_interval = Duration::from_millis(5);
        stage.world.settings.reconcile_interval = Duration::from_millis(5);
        let server = stage.world.start().await;
        let cluster_id = server.register().await.id;
        let now = stage.now();
        let mut year = Self {
            stage,
            server: Some(server),
            cluster_id,
            oracle: Oracle::default(),
            contents: BTreeMap::new(),
            last_run: now,
            served: vec![local(now).date()],
            awaited: vec![now],
        };
        year.show(0);
        let keep = KeepRules { last: 9, daily: 0, weekly: 5, monthly: 4 };
        let policy = PolicyChange {
            retention_days: Some(7),
            keep: Some(keep),
            ..cron(cluster_id, "30 2 * * *", "Europe/Berlin")
        };
        switch_on(&year.stage, year.server(), policy).await;
        year.settle().await;
        year
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// One collection that stays, one for the week and one for the day.
    fn show(&mut self, day: i64) {
        let collections = [(1, "cities", 3), (1_000 + day, "today", 1), (5_000 + day / 7, "week", 2)];
        let objects = |segments: i64| usize::try_from(segments).unwrap() * OBJECTS_PER_SEGMENT;
        self.contents = collections.iter().map(|(id, _, segments)| (*id, objects(*segments))).collect();
        let collections = collections.map(|(id, name, segments)| collection(id, name, segments));
        self.stage.world.show(cut(collections.into()));
    }

    /// Takes in whether a backup was started, which has to be so exactly when one is due.
    async fn note_start(&mut self) {
        let schedule = self.stage.looked_at(self.cluster_id).await;
        let (now, before) = (self.stage.now(), local(self.last_run).date());
        // Not `last_run`: that moves too when the clock goes back.
        let skipped = schedule.last_skipped.as_ref().map(|skipped| skipped.scheduled_for);
        let run = schedule.last_started.max(skipped).unwrap();
        if run == self.last_run {
            assert!(closed_day(now) <= before, "at {now} the last start is that of {before}");
            return;
        }
        let day = local(run).date();
        assert!(before < day, "a second start for {day} at {now}, after {before}");
        assert!(closed_day(now) <= day && run <= now, "a start for {day} at {now}");
        assert!(window(day).0 <= run && run < window(day).1, "{day} is started at {run}");
        self.last_run = run;
        // Behind an automatic backup that has not ended no other one waits.
        if self.awaited.is_empty() {
            assert_eq!(schedule.last_started, Some(run), "{:?}", schedule.last_skipped);
            self.served.push(day);
            self.awaited.push(now);
        } else {
            assert_eq!(schedule.last_skipped.map(|skipped| skipped.scheduled_for), Some(run));
        }
    }

    async fn available(&self) -> Vec<RetainedBackup> {
        self.stage.catalog.retained(self.cluster_id, self.stage.now()).await.unwrap().backups
    }

    async fn sight(&self) -> Sight {
        // First, because whatever it does is to be seen after its end.
        let open_jobs = self.stage.catalog.open_jobs().await.unwrap().len();
        let available = self.available().await.into_iter().map(|backup| backup.id).collect();
        let repository = &self.stage.world.stores.repository;
        let stored = repository.stored.lock().unwrap().clone();
        let mut sight = Sight { available, open_jobs, ..Sight::default() };
        for object in stored.values() {
            *sight.objects.entry(object.source.key.collection_id).or_default() += 1;
        }
        for (id, (_, objects)) in repository.sealed.lock().unwrap().iter() {
            let contents = sight.manifests.entry(*id).or_default();
            // What a manifest names and the repository does not have is missing here.
            for object in objects.iter().filter(|object| stored.contains_key(&object.id)) {
                *contents.entry(object.source.key.collection_id).or_default() += 1;
            }
        }
        sight.tombstones = repository.tombstones.lock().unwrap().keys().copied().collect();
        sight.unfinished = repository.unfinished.lock().unwrap().len();
        sight
    }

    /// Waits until the world is what the oracle says.
    async fn agree(&self) {
        let expected = self.oracle.sight();
        for _ in 0..5_000 {
            if self.sight().await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(self.sight().await, expected, "at {}", self.stage.now());
    }

    /// Waits for what comes of the present time, and judges it.
    async fn settle(&mut self) {
        self.note_start().await;
        while !self.stage.catalog.open_jobs().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut new = self.available().await;
        new.retain(|backup| !self.oracle.knows(backup.id));
        new.sort_by_key(|backup| backup.created_at);
        let times: Vec<_> = new.iter().map(|backup| backup.created_at).collect();
        assert_eq!(times, std::mem::take(&mut self.awaited), "at {}", self.stage.now());
        for backup in new {
            assert_eq!(backup.creation_method, CreationMethod::Auto);
            self.take_in(&backup, Some(AGE));
        }
        self.oracle.settle(self.stage.now());
        self.agree().await;
    }

    fn take_in(&mut self, backup: &RetainedBackup, age: Option<TimeDelta>) {
        let until = age.map(|age| backup.created_at + age);
        assert_eq!(backup.expires_at, until);
        self.oracle.made.push(Made {
            id: backup.id,
            at: backup.created_at,
            automatic: backup.creation_method == CreationMethod::Auto,
            until,
            contents: self.contents.clone(),
            ended: None,
            swept: false,
        });
    }

    async fn step(&mut self, by: TimeDelta) {
        self.stage.world.clock.advance(by);
        self.settle().await;
    }

    async fn kill(&mut self) {
        self.server.take().unwrap().kill().await;
    }

    async fn start_after(&mut self, down: TimeDelta) {
        self.stage.world.clock.advance(down);
        self.server = Some(self.stage.world.start().await);
    }

    async fn restart_after(&mut self, down: TimeDelta) {
        self.start_after(down).await;
        self.settle().await;
    }

    /// Lets a day or more go by. Returns how many.
    async fn pass(&mut self, day: i64) -> i64 {
        let (hours, days) = (TimeDelta::hours, TimeDelta::days);
        self.show(day + 1);
        match passing(day) {
            Pass::Day => self.step(days(1)).await,
            Pass::HalfHours => {
                for _ in 0..48 {
                    self.step(TimeDelta::minutes(30)).await;
                }
            }
            Pass::BackOverTheNight => {
                for forward in [15, -5, 20, -6] {
                    self.step(hours(forward)).await;
                }
            }
            Pass::Jump(count) => {
                self.step(days(count)).await;
                return count;
            }
            Pass::Down(count) => {
                self.server.take().unwrap().shutdown().await;
                self.restart_after(days(count)).await;
                return count;
            }
            Pass::DownToTheNight(count) => {
                self.kill().await;
                self.restart_after(days(count) + hours(9)).await;
                self.show(day + count + 1);
                self.step(hours(15)).await;
                return count + 1;
            }
            Pass::BackupKilled(point, down) => {
                self.hang_after_a_day(point).await;
                self.note_start().await;
                // What ends today ends while the backup hangs.
                self.oracle.settle(self.stage.now());
                let available = self.oracle.sight().available;
                while self.sight().await.available != available {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                self.kill().await;
                self.stage.world.gates.clear(point);
                let resumed = self.stage.world.gates.calls("read_header") + 1;
                let gate = self.stage.world.gates.hold_once("read_header");
                self.start_after(days(down)).await;
                self.stage.world.gates.reached("read_header", resumed).await;
                self.note_start().await;
                gate.add_permits(1);
                self.settle().await;
                return down + 1;
            }
            Pass::SweepKilled(point) => {
                self.hang_after_a_day(point).await;
                self.stage.looked_at(self.cluster_id).await;
                self.kill().await;
                self.stage.world.gates.clear(point);
                self.restart_after(TimeDelta::zero()).await;
            }
        }
        1
    }

    async fn hang_after_a_day(&self, point: &'static str) {
        let gates = &self.stage.world.gates;
        let calls = gates.calls(point);
        gates.once(point, Act::Hang);
        self.stage.world.clock.advance(TimeDelta::days(1));
        gates.reached(point, calls + 1).await;
    }

    async fn back_up_by_hand(&mut self, retention_days: Option<u32>) -> BackupId {
        let request = BackupRequest { retention_days, ..request(self.cluster_id) };
        let accepted = self.server().service.request_backup(request).await.unwrap();
        let job = self.server().ended(accepted.job.id).await;
        assert_eq!(job.state, JobState::Successful, "{:?}", job.failure);
        let backup_id = accepted.backup.id;
        let backup = self.available().await.into_iter().find(|backup| backup.id == backup_id).unwrap();
        assert_eq!(backup.creation_method, CreationMethod::Manual);
        self.take_in(&backup, retention_days.map(|days| TimeDelta::days(days.into())));
        self.agree().await;
        backup_id
    }

    async fn hold(&mut self, backup_id: BackupId) -> HoldId {
        let hold = Hold { reason: "audit".to_owned(), until: None };
        let hold = self.server().service.hold_backup(backup_id, hold, "auditor".to_owned()).await.unwrap();
        self.oracle.held.insert(backup_id);
        hold.id
    }

    async fn release(&mut self, hold_id: HoldId, backup_id: BackupId) {
        self.server().service.release_hold(hold_id, "auditor".to_owned()).await.unwrap();
        assert!(self.oracle.living().any(|backup| backup.id == backup_id));
        self.oracle.held.remove(&backup_id);
        self.settle().await;
        assert!(!self.oracle.living().any(|backup| backup.id == backup_id), "the hold alone kept it");
    }

    /// Everything that was ever made is available or deleted, and nothing has failed.
    async fn check_rows(&self) {
        for made in &self.oracle.made {
            let backup = self.stage.catalog.backup(made.id).await.unwrap().unwrap();
            let expected = if made.ended.is_none() { BackupStatus::Available } else { BackupStatus::Deleted };
            assert_eq!(backup.status, expected, "{} of {}", backup.name, made.at);
        }
        assert_eq!(self.stage.failures().await, Vec::<String>::new());
    }
}

/// Goes through so many days and returns when the backups were made that are left.
async fn go_through(stage: Stage, days: i64) -> Vec<NaiveDate> {
    let mut year = Year::begin(stage).await;
    let (mut day, mut manual, mut held) = (0, Vec::new(), None);
    while day < days {
        day += year.pass(day).await;
        match day {
            10 => manual.push(year.back_up_by_hand(None).await),
            20 => {
                let newest = year.oracle.made.last().unwrap().id;
                held = Some((year.hold(newest).await, newest));
            }
            40 => manual.push(year.back_up_by_hand(Some(30)).await),
            140 => {
                let (hold_id, backup_id) = held.take().unwrap();
                year.release(hold_id, backup_id).await;
            }
            _ => {}
        }
        let kept_for_a_month = year.oracle.living().any(|backup| manual.get(1) == Some(&backup.id));
        assert_eq!(kept_for_a_month, (40..70).contains(&day));
    }
    assert_eq!(day, days);

    // Whatever was still under way comes out, and the next server finds nothing to do.
    year.server.take().unwrap().shutdown().await;
    year.restart_after(TimeDelta::zero()).await;
    year.check_rows().await;

    let missed =
        |day: &NaiveDate| MISSED.iter().any(|(first, last)| (date(first)..=date(last)).contains(day));
    let calendar = date("2026-09-21").iter_days().take(usize::try_from(days).unwrap() + 1);
    assert_eq!(year.served, calendar.filter(|day| !missed(day)).collect::<Vec<_>>());
    year.server.take().unwrap().shutdown().await;
    let mut left: Vec<_> = year.oracle.living().map(|backup| local(backup.at).date()).collect();
    left.sort_unstable();
    left
}

#[tokio::test]
async fn a_year_of_schedules_and_retention_leaves_what_its_rules_keep() {
    bounded(Box::pin(async {
        let left = go_through(Stage::in_memory(), DAYS).await;
        // By hand and for ever; of four months; of five weeks; the last nine.
        let mut expected = vec![date("2026-10-01")];
        expected.extend(["2027-05-31", "2027-06-24", "2027-08-28"].map(date));
        expected.extend(["2027-09-05", "2027-09-12"].map(date));
        expected.extend(date("2027-09-14").iter_days().take(9));
        assert_eq!(left, expected);
    }))
    .await;
}

#[tokio::test]
async fn the_first_weeks_of_that_year_on_a_real_catalog() {
    bounded(Box::pin(async {
        let left = go_through(Stage::on_sqlite().await, 48).await;
        // The tenth day's twice: once by hand. The twentieth's is held, the fortieth's is one of the last nine.
        let mut expected =
            ["2026-09-30", "2026-10-01", "2026-10-11", "2026-10-18", "2026-10-25"].map(date).to_vec();
        expected.extend(["2026-10-31", "2026-10-31"].map(date));
        expected.extend(date("2026-11-01").iter_days().take(8));
        assert_eq!(left, expected);
    }))
    .await;
}
