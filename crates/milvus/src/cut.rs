//! The cut: one instant for all collections of a scope, taken while the cluster serves and nothing is locked.
//!
//! # How it is taken
//!
//! Every insert and delete carries a timestamp of the cluster's one clock, given out in increasing order. An
//! attempt
//!
//! 1. asks the clock (*start*), lists the collections of the scope, describes them, and lists their segments
//!    (*before*);
//! 2. asks the clock until its millisecond is past that of *start*. That is the *boundary*: the cut consists of all
//!    rows and deletes with a timestamp in an earlier millisecond, `cut_at_ms = boundary_ms - 1`;
//! 3. lists the collections again, which tells what was created, dropped or renamed around the boundary;
//! 4. sends `Flush` for each collection and remembers which segments were sealed by it and which had been flushed
//!    before, then asks `GetFlushState` until all is written, then lists the segments once more (*after*);
//! 5. decides with pure functions ([`resolve`], [`evidence`]) whether this is a cut, or whether something happened
//!    that makes it ambiguous; then there is another attempt.
//!
//! # Why nothing is missing
//!
//! What was acknowledged before the call had its timestamp before *start*, so its millisecond is at most that of
//! *start* and lies before the boundary's: it belongs to the cut. What follows from something in the cut may be
//! later, never the other way round: the threshold is one number on one clock for all collections and databases, so
//! a row is never shown without one that its writer had seen acknowledged before.
//!
//! `GetFlushState` is true when the checkpoint of each of the collection's channels has passed the flush's
//! timestamp, which is later than the boundary. A channel's checkpoint follows its time tick, and a tick is sent
//! only when no insert or delete with an earlier timestamp is under way. So all of the cut is written by then,
//! inserts and deletes. This includes an insert that took its timestamp before the boundary and was still choosing
//! its segments when `Flush` sealed them: its rows go into a segment that the flush's answer does not name, but the
//! data node writes it out with the others (it holds rows older than the flush), and the list *after* shows it.
//! Rows and deletes later than the cut are in these files too; a restore removes them with `end_ts`.
//!
//! # Why nothing is changed by compaction
//!
//! A compaction replaces segments by new ones, applies deletes whatever their timestamp, and moves deletes that
//! wait in memory to the new segment. One that ends after the boundary may therefore drop rows of the cut for good
//! or, before everything is written, leave deletes of the cut out of the old segments' files. So no segment that
//! was seen *before*, or named by the flush, may be missing *after*; if one is, the attempt is void. Segments that
//! appear while none disappears are originals, sealed and flushed meanwhile, and belong to the cut: an unneeded
//! segment does no harm, `end_ts` empties it. What remains is a segment that is born, sealed, written and replaced
//! within the seconds of one attempt without being seen in any list; compaction takes longer than that.
//!
//! Once the cut is taken, compaction and dropping do no harm: old files stay until the garbage collection, hours
//! later by default.
//!
//! From 2.4 on deletes live in segments of their own (L0) and a flushed segment may be replaced by a sorted one at
//! once. There the segments that the flush named are the cut, together with every L0 segment that was seen. This
//! part follows public sources and was not run.
//!
//! # What may be left out
//!
//! What is created after the boundary is not in the cut: collections are not asked about, and the segments of
//! partitions are taken out of all lists, so that a program which makes partitions all the time voids no attempt.
//!
//! A collection that is dropped while an attempt runs makes that attempt void once, so that one which is dropped and
//! made anew is found. If collections are being dropped the second time too (somebody does so all the time), they
//! are left out as a whole, as if they had been dropped just before. A renamed collection keeps one of its names.
//! Only what the scope names explicitly is never left out: it is `NotFound` when it is gone.
//!
//! Schemas, indexes, aliases, load states and access control are not versioned by Milvus's clock. They are read
//! shortly before the boundary (access control shortly after), so a change of them within these seconds may or may
//! not be in the backup.
//!
//! # What 2.3.5 lists
//!
//! Watched on a running server: `GetPersistentSegmentInfo` shows segments that are sealed, flushing or flushed,
//! growing ones are absent. A segment is `Sealed` with 0 rows right after the flush, has its count 0.2 to 0.5 s
//! later, and is `Flushed` 2.4 to 3 s after the flush (`Flushing` for some 50 ms before). Compaction puts its
//! successor into the list and takes the replaced segments out of it in one step, 25 s after it was asked for; only
//! collections with an index are compacted. The flush's `flush_coll_segIDs` agrees with the list.

mod attempt;
mod evidence;
mod flush;
mod resolve;
mod segments;

use crate::client::Client;
use attempt::{Attempt, Outcome};
use backon::{BackoffBuilder, ExponentialBuilder};
use milvault_domain::backup::BackupScope;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{Cut, ServerInfo};
use resolve::Hazard;
use std::time::Duration;

/// Attempts before the cluster is said to be too busy.
const ATTEMPTS_MAX: usize = 6;
/// From this attempt on, collections that are dropped meanwhile are left out.
const LENIENT_FROM_ATTEMPT: usize = 2;

/// Takes a cut; see the module's documentation.
pub(crate) async fn take(client: &Client, server: &ServerInfo, scope: &BackupScope) -> PortResult<Cut> {
    let mut pauses = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(ATTEMPTS_MAX - 1)
        .build();
    let mut last = Vec::new();
    for number in 1..=ATTEMPTS_MAX {
        let lenient = number >= LENIENT_FROM_ATTEMPT;
        let attempt = Attempt { client, server, scope };
        match attempt.run(|hazard: &Hazard| lenient && hazard.may_be_left_out(scope)).await? {
            Outcome::Taken(cut) => {
                tracing::debug!(attempt = number, cut_at_ms = cut.cut_at_ms, "cut taken");
                return Ok(*cut);
            }
            Outcome::Void(hazards) => {
                let first = hazards.first().map(ToString::to_string).unwrap_or_default();
                tracing::info!(
                    attempt = number,
                    hazards = hazards.len(),
                    first,
                    "cut is ambiguous, trying again"
                );
                last = hazards;
            }
        }
        if let Some(pause) = pauses.next() {
            tokio::time::sleep(pause).await;
        }
    }
    let hazards: Vec<_> = last.iter().take(3).map(ToString::to_string).collect();
    Err(PortError::new(
        PortErrorKind::Changed,
        format!(
            "the cluster did not hold still for a cut in {ATTEMPTS_MAX} attempts; at the last one {}; try again when \
             less is being compacted, dropped or renamed",
            hazards.join(", ")
        ),
    ))
}
