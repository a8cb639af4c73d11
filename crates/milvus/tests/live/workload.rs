//! Writers that leave a trail: which rows must, may and must not be in a cut.

use crate::server::Server;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// Keys of one batch begin at a multiple of this.
pub(crate) const BATCH_STRIDE: i64 = 1000;

/// How far a batch has got. Rows go into A, then into B; later they leave B, then A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    InsertingA,
    InsertingB,
    Inserted,
    DeletingB,
    DeletingA,
    Deleted,
}

/// Two collections in two databases and what was done to them.
pub(crate) struct Workload {
    server: Server,
    a: (String, String),
    b: (String, String),
    rows_per_batch: i64,
    next_batch: AtomicI64,
    stages: Mutex<BTreeMap<i64, Stage>>,
    stopped: AtomicBool,
}

impl Workload {
    pub(crate) fn new(server: Server, a: (&str, &str), b: (&str, &str), rows_per_batch: i64) -> Arc<Self> {
        let owned = |(database, name): (&str, &str)| (database.to_owned(), name.to_owned());
        Arc::new(Self {
            server,
            a: owned(a),
            b: owned(b),
            rows_per_batch,
            next_batch: AtomicI64::new(0),
            stages: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Lets the writers end after their current batch.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stages(&self) -> BTreeMap<i64, Stage> {
        self.stages.lock().unwrap().clone()
    }

    pub(crate) fn keys_end(&self) -> i64 {
        self.next_batch.load(Ordering::Relaxed) * BATCH_STRIDE
    }

    fn reach(&self, batch: i64, stage: Stage) {
        self.stages.lock().unwrap().insert(batch, stage);
    }

    fn keys(&self, batch: i64) -> Vec<i64> {
        (batch * BATCH_STRIDE..).take(usize::try_from(self.rows_per_batch).unwrap()).collect()
    }

    /// Writes until it is stopped: a batch in, and every second one out again a few batches later.
    pub(crate) async fn write(self: Arc<Self>) {
        let mut mine = VecDeque::new();
        self.stopped.store(false, Ordering::Relaxed);
        while !self.stopped.load(Ordering::Relaxed) {
            let batch = self.next_batch.fetch_add(1, Ordering::Relaxed);
            let keys = self.keys(batch);
            self.reach(batch, Stage::InsertingA);
            self.server.insert(&self.a.0, &self.a.1, &keys).await;
            self.reach(batch, Stage::InsertingB);
            self.server.insert(&self.b.0, &self.b.1, &keys).await;
            self.reach(batch, Stage::Inserted);
            if batch % 2 == 0 {
                mine.push_back(batch);
            }
            if mine.len() > 3
                && let Some(old) = mine.pop_front()
            {
                let keys = self.keys(old);
                self.reach(old, Stage::DeletingB);
                self.server.delete(&self.b.0, &self.b.1, &keys).await;
                self.reach(old, Stage::DeletingA);
                self.server.delete(&self.a.0, &self.a.1, &keys).await;
                self.reach(old, Stage::Deleted);
            }
        }
    }

    /// Compares restored keys with the trail as it was when the cut was asked for and when it was there.
    pub(crate) fn check(
        &self,
        a: &BTreeSet<i64>,
        b: &BTreeSet<i64>,
        before: &BTreeMap<i64, Stage>,
        after: &BTreeMap<i64, Stage>,
    ) -> Findings {
        let mut findings = Findings::default();
        for (batch, stage_after) in after {
            let stage_before = before.get(batch).copied();
            let rows_a = self.rows(a, *batch, &mut findings);
            let rows_b = self.rows(b, *batch, &mut findings);
            if rows_b && !rows_a {
                findings.wrong.push(format!("batch {batch} is in B but not in A"));
            }
            let must_be_in_a = stage_before >= Some(Stage::InsertingB) && *stage_after <= Stage::DeletingB;
            let must_be_in_b = stage_before >= Some(Stage::Inserted) && *stage_after <= Stage::Inserted;
            let must_be_out_of_b = stage_before >= Some(Stage::DeletingA);
            let must_be_out_of_a = stage_before >= Some(Stage::Deleted);
            let wrong = [
                (must_be_in_a && !rows_a, "missing in A"),
                (must_be_in_b && !rows_b, "missing in B"),
                (must_be_out_of_a && rows_a, "still in A"),
                (must_be_out_of_b && rows_b, "still in B"),
            ];
            for (_, what) in wrong.into_iter().filter(|(is_wrong, _)| *is_wrong) {
                findings.wrong.push(format!("batch {batch} ({stage_before:?} to {stage_after:?}) is {what}"));
            }
            findings.batches += 1;
        }
        let known = |key: &&i64| !after.contains_key(&(**key / BATCH_STRIDE));
        for key in a.iter().chain(b).filter(known) {
            findings.wrong.push(format!("row {key} was written after the cut"));
        }
        findings
    }

    /// Whether a batch is there; a batch is there as a whole or not at all.
    fn rows(&self, keys: &BTreeSet<i64>, batch: i64, findings: &mut Findings) -> bool {
        let begin = batch * BATCH_STRIDE;
        let count = keys.range(begin..begin + BATCH_STRIDE).count();
        if count != 0 && count != usize::try_from(self.rows_per_batch).unwrap() {
            findings.wrong.push(format!("batch {batch} is torn: {count} rows"));
        }
        count != 0
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) batches: usize,
    pub(crate) wrong: Vec<String>,
}
