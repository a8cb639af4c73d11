//! Whether all rows arrived: what a server says about its imports is not enough, so they are counted.

use super::Restoring;
use super::import::storage_advice;
use super::place::{Place, shown};
use super::poll::Polls;
use crate::run::compare::ExpectedRows;
use milvault_domain::cluster::Cluster;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::restore::PartitionRows;

/// Looks at the target's figures before too few rows are believed: its statistics may come a moment after the flush.
const LOOKS_MAX: usize = 5;
/// Most partitions that a message names.
const NAMED_MAX: usize = 3;

/// Makes the imported rows durable and counts them, by partition.
pub(super) async fn count_rows(
    job: &Restoring<'_>,
    place: &Place<'_>,
    expected: &ExpectedRows,
) -> PortResult<Vec<PartitionRows>> {
    let (target, name) = (&job.target, place.working_name());
    target.repeat("flush the restored collection", || target.milvus.flush(&name)).await?;
    let mut polls = Polls::new(&job.run.core.settings);
    let mut looks = 1;
    loop {
        let counts = target.repeat("count the restored rows", || target.milvus.row_counts(&name)).await?;
        let rows = side_by_side(expected, &counts);
        if looks == LOOKS_MAX || !rows.iter().any(|row| row.found < row.expected) {
            return Ok(rows);
        }
        looks += 1;
        polls.pause().await;
    }
}

/// All partitions that were to be restored, and others that have rows though they should not.
fn side_by_side(expected: &ExpectedRows, counts: &[(String, u64)]) -> Vec<PartitionRows> {
    let found =
        |partition: &str| counts.iter().find(|(name, _)| name == partition).map_or(0, |(_, rows)| *rows);
    let mut rows: Vec<PartitionRows> = expected
        .partitions
        .iter()
        .map(|(partition, digest)| PartitionRows {
            partition: partition.clone(),
            expected: digest.rows,
            found: found(partition),
        })
        .collect();
    let strays = counts.iter().filter(|(name, found)| *found > 0 && !expected.partitions.contains_key(name));
    rows.extend(strays.map(|(partition, found)| PartitionRows {
        partition: partition.clone(),
        expected: 0,
        found: *found,
    }));
    rows
}

/// Fails when the figures differ, with the partitions in which they do.
pub(super) fn check_counts(cluster: &Cluster, place: &Place<'_>, rows: &[PartitionRows]) -> PortResult<()> {
    let differing: Vec<&PartitionRows> = rows.iter().filter(|row| row.found != row.expected).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let mut words: Vec<String> = differing
        .iter()
        .take(NAMED_MAX)
        .map(|row| {
            format!("partition `{}` has {} rows instead of {}", row.partition, row.found, row.expected)
        })
        .collect();
    if differing.len() > NAMED_MAX {
        words.push(format!("and {} more partitions differ", differing.len() - NAMED_MAX));
    }
    let name = shown(&place.plan.target);
    let mut message =
        format!("not all rows of {name} arrived although the target reported success: {}", words.join(", "));
    if rows.iter().all(|row| row.found == 0) {
        // 2.3.5 takes a prefix of its bucket under which there is nothing for an import of no rows.
        message.push_str("; ");
        message.push_str(&storage_advice(cluster));
    }
    Err(PortError::new(PortErrorKind::Corrupt, message))
}
