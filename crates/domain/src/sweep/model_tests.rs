//! Random histories of one cluster's backups in two repositories: backups, copies from one to the other, failures,
//! deletions, holds, reading jobs, sweeps, crashes and clocks. Each step is one request to a repository or one
//! transaction of the catalog. Backups and sweeps take turns as the cluster's queue makes them, and a copy runs beside a
//! backup but beside no sweep; everything else comes in between at will.

#![allow(clippy::unwrap_used)]

use super::{DataFile, References, condemned};
use crate::backup::BackupStatus;
use crate::ids::{BackupId, ClusterId};
use crate::lifecycle::{Fate, Standing};
use crate::object::PackId;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const GRACE: TimeDelta = TimeDelta::minutes(60);
const FILES: u8 = 10;

type Files = BTreeSet<u8>;

/// A backup: its row, and what lies in its directory.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts about a backup")]
struct Backup {
    status: BackupStatus,
    ended_at: Option<DateTime<Utc>>,
    held: bool,
    readers: u32,
    /// In which of the repositories it lies.
    place: usize,
    copy_of: Option<u32>,
    needed: Files,
    reused: Files,
    /// Whoever makes it has looked what is there, and has not saved that yet.
    looked: bool,
    plan: bool,
    manifest: bool,
    tombstone: bool,
    swept: bool,
}

impl Backup {
    fn is_open(&self) -> bool {
        self.status == BackupStatus::Creating
    }
}

/// Whoever has the cluster's turn.
#[derive(Debug, Clone)]
enum Writer {
    Backup(u32),
    Sweep { place: usize, files: Vec<u8>, due: Vec<u32>, looked_again: bool },
}

#[derive(Debug, Clone)]
struct World {
    now: DateTime<Utc>,
    files: [Files; 2],
    backups: BTreeMap<u32, Backup>,
    writer: Option<Writer>,
    /// The copy that is at work.
    copier: Option<u32>,
    removed: u32,
}

#[derive(Debug, Clone)]
enum Step {
    BeginBackup(Files, usize),
    TakeUp(usize),
    Advance,
    Fail,
    AskForCopy(usize),
    TakeUpCopy(usize),
    AdvanceCopy,
    FailCopy,
    Crash,
    Delete(usize),
    ToggleHold(usize),
    BeginReading(usize),
    EndReading(usize),
    BeginSweep,
    Time(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wanted = prop::collection::btree_set(0..FILES, 1..5);
    let minutes = prop_oneof![6 => 1_i64..40, 1 => 60_i64..100_000, 1 => -5_000_i64..0];
    let step = prop_oneof![
        4 => (wanted, 0_usize..2).prop_map(|(wanted, place)| Step::BeginBackup(wanted, place)),
        4 => (0_usize..8).prop_map(Step::AskForCopy),
        4 => (0_usize..8).prop_map(Step::TakeUpCopy),
        25 => Just(Step::AdvanceCopy),
        1 => Just(Step::FailCopy),
        2 => (0_usize..8).prop_map(Step::TakeUp),
        40 => Just(Step::Advance),
        1 => Just(Step::Fail),
        2 => Just(Step::Crash),
        5 => (0_usize..8).prop_map(Step::Delete),
        2 => (0_usize..8).prop_map(Step::ToggleHold),
        2 => (0_usize..8).prop_map(Step::BeginReading),
        3 => (0_usize..8).prop_map(Step::EndReading),
        5 => Just(Step::BeginSweep),
        5 => minutes.prop_map(Step::Time),
    ];
    prop::collection::vec(step, 1..400)
}

fn references(files: &Files) -> References {
    let mut references = References::default();
    for file in files {
        references.add_file(DataFile::Pack(PackId::from_bytes([*file; 16])));
    }
    references
}

fn number(file: DataFile) -> u8 {
    match file {
        DataFile::Pack(id) => id.as_bytes()[0],
        DataFile::Object(id) => id.as_bytes()[0],
    }
}

impl World {
    fn new() -> Self {
        Self {
            now: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            files: [Files::new(), Files::new()],
            backups: BTreeMap::new(),
            writer: None,
            copier: None,
            removed: 0,
        }
    }

    fn such(&mut self, position: usize, such: impl Fn(&Backup) -> bool) -> Option<u32> {
        let ids: Vec<u32> =
            self.backups.iter().filter(|(_, backup)| such(backup)).map(|(id, _)| *id).collect();
        ids.get(position % ids.len().max(1)).copied()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::BeginBackup(needed, place) if self.writer.is_none() => {
                let id = self.add(needed, place, None);
                self.writer = Some(Writer::Backup(id));
            }
            Step::TakeUp(position) if self.writer.is_none() => {
                let open = |backup: &Backup| backup.is_open() && backup.copy_of.is_none();
                self.writer = self.such(position, open).map(Writer::Backup);
            }
            Step::BeginSweep if self.writer.is_none() && self.copier.is_none() => {
                self.writer = Some(self.gather(0));
            }
            Step::AskForCopy(position) => {
                let source = self.such(position, |backup| backup.status == BackupStatus::Available);
                if let Some(source) = source {
                    let Backup { needed, place, .. } = self.backups[&source].clone();
                    self.add(needed, 1 - place, Some(source));
                }
            }
            Step::TakeUpCopy(position) if self.copier.is_none() && !self.is_swept() => {
                self.copier = self.such(position, |backup| backup.is_open() && backup.copy_of.is_some());
            }
            Step::BeginBackup(..) | Step::TakeUp(_) | Step::BeginSweep | Step::TakeUpCopy(_) => {}
            Step::Advance => self.advance(),
            Step::AdvanceCopy => {
                self.copier = self.copier.filter(|id| self.advance_backup(*id));
            }
            Step::Fail => {
                if let Some(Writer::Backup(id)) = self.writer {
                    self.fail(id);
                    self.writer = None;
                }
            }
            Step::FailCopy => {
                if let Some(id) = self.copier.take() {
                    self.fail(id);
                }
            }
            Step::Crash => {
                (self.writer, self.copier) = (None, None);
                self.backups.values_mut().for_each(|backup| backup.looked = false);
            }
            Step::Delete(position) => {
                let ended =
                    |backup: &Backup| matches!(backup.status, BackupStatus::Available | BackupStatus::Failed);
                let copied: BTreeSet<u32> = self
                    .backups
                    .values()
                    .filter(|copy| copy.is_open())
                    .filter_map(|copy| copy.copy_of)
                    .collect();
                let free = |id: &u32, backup: &Backup| {
                    ended(backup) && !backup.held && backup.readers == 0 && !copied.contains(id)
                };
                let free: Vec<u32> =
                    self.backups.iter().filter(|(id, backup)| free(id, backup)).map(|(id, _)| *id).collect();
                let free = free.get(position % free.len().max(1)).copied();
                if let Some(backup) = free.and_then(|id| self.backups.get_mut(&id)) {
                    (backup.status, backup.ended_at) = (BackupStatus::Deleted, Some(self.now));
                    backup.swept = false;
                }
            }
            Step::ToggleHold(position) => {
                let id = self.such(position, |backup| backup.status == BackupStatus::Available);
                if let Some(backup) = id.and_then(|id| self.backups.get_mut(&id)) {
                    backup.held = !backup.held;
                }
            }
            Step::BeginReading(position) => {
                let id = self.such(position, |backup| backup.status == BackupStatus::Available);
                if let Some(backup) = id.and_then(|id| self.backups.get_mut(&id)) {
                    backup.readers += 1;
                }
            }
            Step::EndReading(position) => {
                let id = self.such(position, |backup| 0 < backup.readers);
                if let Some(backup) = id.and_then(|id| self.backups.get_mut(&id)) {
                    backup.readers -= 1;
                }
            }
            Step::Time(minutes) => self.now += TimeDelta::minutes(minutes),
        }
    }

    fn add(&mut self, needed: Files, place: usize, copy_of: Option<u32>) -> u32 {
        let id = u32::try_from(self.backups.len()).unwrap();
        let backup = Backup {
            status: BackupStatus::Creating,
            ended_at: None,
            held: false,
            readers: 0,
            place,
            copy_of,
            needed,
            reused: Files::new(),
            looked: false,
            plan: false,
            manifest: false,
            tombstone: false,
            swept: false,
        };
        self.backups.insert(id, backup);
        id
    }

    fn fail(&mut self, id: u32) {
        let backup = self.backups.get_mut(&id).unwrap();
        (backup.status, backup.ended_at) = (BackupStatus::Failed, Some(self.now));
        backup.looked = false;
    }

    const fn is_swept(&self) -> bool {
        matches!(self.writer, Some(Writer::Sweep { .. }))
    }

    fn fate(&self, id: u32) -> Fate {
        let backup = &self.backups[&id];
        let standing = Standing {
            backup_id: BackupId::from_uuid(Uuid::from_u128(u128::from(id))),
            cluster_id: ClusterId::from_uuid(Uuid::nil()),
            status: backup.status,
            ended_at: backup.ended_at,
            in_use: 0 < backup.readers,
        };
        standing.fate(self.now, GRACE)
    }

    /// What the sweep reads and decides about a repository before it removes anything there.
    fn gather(&mut self, place: usize) -> Writer {
        let (mut due_files, mut kept_files, mut due) =
            (References::default(), References::default(), Vec::new());
        let here = self.backups.iter().filter(|(_, backup)| backup.place == place);
        for id in here.map(|(id, _)| *id).collect::<Vec<_>>() {
            let fate = self.fate(id);
            let backup = self.backups.get_mut(&id).unwrap();
            let over = backup.status == BackupStatus::Deleted || fate == Fate::Due;
            backup.tombstone |= over && !backup.swept;
            let shown = if backup.plan || backup.manifest {
                references(&backup.needed)
            } else {
                References::default()
            };
            match fate {
                Fate::Due if !backup.swept => {
                    due.push(id);
                    due_files.add_all(&shown);
                }
                _ => kept_files.add_all(&shown),
            }
        }
        let files = condemned(&due_files, &kept_files).into_iter().map(number).collect();
        Writer::Sweep { place, files, due, looked_again: false }
    }

    fn advance(&mut self) {
        match self.writer.take() {
            None => {}
            Some(Writer::Backup(id)) => {
                self.writer = self.advance_backup(id).then_some(Writer::Backup(id));
            }
            Some(Writer::Sweep { place, files, due, looked_again: false }) => {
                let Writer::Sweep { files: now_files, due: now_due, .. } = self.gather(place) else {
                    unreachable!()
                };
                // Time goes on, so more may be due; what was due stays so, or the sweep begins anew.
                let still = files.iter().all(|file| now_files.contains(file))
                    && due.iter().all(|id| now_due.contains(id));
                self.writer = still.then_some(Writer::Sweep { place, files, due, looked_again: true });
            }
            Some(Writer::Sweep { place, mut files, mut due, looked_again }) => {
                if let Some(file) = files.pop() {
                    self.removed += u32::from(self.files[place].remove(&file));
                } else if let Some(id) = due.pop() {
                    let backup = self.backups.get_mut(&id).unwrap();
                    (backup.plan, backup.manifest, backup.tombstone, backup.swept) =
                        (false, false, false, true);
                } else {
                    self.writer = (place == 0).then(|| self.gather(1));
                    return;
                }
                self.writer = Some(Writer::Sweep { place, files, due, looked_again });
            }
        }
    }

    /// What whoever makes a backup finds there: the files of other backups, and what is complete of failed ones.
    fn known(&self, place: usize) -> Files {
        let mut known = Files::new();
        for other in self.backups.values().filter(|other| other.place == place) {
            match other.status {
                BackupStatus::Available => known.extend(&other.needed),
                BackupStatus::Failed if other.plan => {
                    known.extend(
                        other
                            .needed
                            .difference(&other.reused)
                            .filter(|file| self.files[place].contains(file)),
                    );
                }
                _ => {}
            }
        }
        known
    }

    /// One step of a backup or of a copy; whether there are more.
    fn advance_backup(&mut self, id: u32) -> bool {
        let place = self.backups[&id].place;
        let known = self.known(place);
        let source = self.backups[&id].copy_of.map(|source| self.backups[&source].place);
        let backup = self.backups.get_mut(&id).unwrap();
        if !backup.plan && !backup.manifest {
            if backup.looked {
                (backup.plan, backup.looked) = (true, false);
            } else {
                // A plan that was not saved is made anew.
                backup.reused = backup.needed.intersection(&known).copied().collect();
                backup.looked = true;
            }
            return true;
        }
        // What is reused is not copied again: it has to be there.
        assert!(backup.reused.is_subset(&self.files[place]), "a reused file is gone");
        if let Some(missing) = backup.needed.difference(&self.files[place]).next().copied() {
            let readable = source.is_none_or(|source| self.files[source].contains(&missing));
            assert!(readable, "what a copy reads is gone");
            self.files[place].insert(missing);
            return true;
        }
        if !backup.manifest {
            backup.manifest = true;
            return true;
        }
        backup.plan = false;
        backup.status = BackupStatus::Available;
        false
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (id, backup) in &self.backups {
            let needs_all = backup.status == BackupStatus::Available || 0 < backup.readers;
            let files = &self.files[backup.place];
            prop_assert!(!needs_all || backup.needed.is_subset(files), "backup {id} lost a file");
            let reuses = backup.is_open() && (backup.plan || backup.looked);
            prop_assert!(!reuses || backup.reused.is_subset(files), "the running backup {id} lost a file");
            let listed = backup.manifest && !backup.tombstone;
            prop_assert!(!listed || backup.needed.is_subset(files), "a backup that is listed lost a file");
            if let Some(source) = backup.copy_of.filter(|_| backup.is_open()) {
                let source = &self.backups[&source];
                let is_whole = source.needed.is_subset(&self.files[source.place]);
                prop_assert!(is_whole && !source.tombstone, "what copy {id} is taken from lost a file");
            }
        }
        Ok(())
    }

    /// Everybody ends, the grace passes, and sweeps run.
    fn come_to_rest(&mut self) {
        loop {
            while self.writer.is_some() {
                self.advance();
            }
            while let Some(id) = self.copier {
                self.copier = Some(id).filter(|id| self.advance_backup(*id));
            }
            let Some(id) = self.such(0, Backup::is_open) else { break };
            match self.backups[&id].copy_of {
                Some(_) => self.copier = Some(id),
                None => self.writer = Some(Writer::Backup(id)),
            }
        }
        self.backups.values_mut().for_each(|backup| backup.readers = 0);
        let latest = self.backups.values().filter_map(|backup| backup.ended_at).max().unwrap_or(self.now);
        self.now = latest.max(self.now) + GRACE;
        self.writer = Some(self.gather(0));
        while self.writer.is_some() {
            self.advance();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_file_that_is_needed_goes_and_no_other_stays(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check()?;
        }
        world.come_to_rest();
        world.check()?;
        for place in [0, 1] {
            let live = world.backups.values().filter(|backup| {
                backup.status == BackupStatus::Available && backup.place == place
            });
            let needed: Files = live.flat_map(|backup| backup.needed.clone()).collect();
            prop_assert_eq!(&world.files[place], &needed);
        }
        let left = world.backups.values().filter(|backup| backup.status != BackupStatus::Available);
        for backup in left {
            prop_assert!(!backup.plan && !backup.manifest && !backup.tombstone);
        }
    }
}
