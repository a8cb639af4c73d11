//! What differs, in words for people.

use super::CompareCollection;
use super::fields::FieldDigests;
use super::keys::ExpectedRows;
use milvault_domain::restore::{CompareReport, PartitionRows};
use std::collections::{BTreeMap, BTreeSet};

/// A bounded list of differences.
#[derive(Debug, Default)]
pub(super) struct Differences {
    words: Vec<String>,
    count: usize,
}

impl Differences {
    pub(super) fn add(&mut self, difference: String) {
        self.count += 1;
        if self.words.len() < CompareReport::DIFFERENCES_MAX {
            self.words.push(difference);
        }
    }

    /// At most [`CompareReport::DIFFERENCES_MAX`]; the last of them tells how many more there are.
    pub(super) fn into_words(mut self) -> Vec<String> {
        if self.count > self.words.len() {
            self.words.pop();
            self.words.push(format!("and {} more differences", self.count - self.words.len()));
        }
        self.words
    }

    /// Compares numbers of rows. Partitions that were not restored are expected to be empty, and mentioned when they
    /// are not.
    pub(super) fn of_counts(
        &mut self,
        wanted: &CompareCollection<'_>,
        found: &BTreeMap<String, u64>,
    ) -> Vec<PartitionRows> {
        let mut partitions = Vec::new();
        for partition in wanted.partitions {
            let rows = found.get(partition).copied();
            if rows.is_none() {
                self.add(format!("partition `{partition}` does not exist at the target"));
            }
            partitions.push(PartitionRows {
                partition: partition.clone(),
                expected: wanted.expected.rows(partition),
                found: rows.unwrap_or(0),
            });
        }
        let others = found.iter().filter(|(name, rows)| **rows > 0 && !wanted.partitions.contains(name));
        partitions.extend(others.map(|(partition, rows)| PartitionRows {
            partition: partition.clone(),
            expected: 0,
            found: *rows,
        }));
        for PartitionRows { partition, expected, found } in &partitions {
            if expected != found {
                self.add(format!(
                    "partition `{partition}`: {expected} rows in the backup, {found} at the target"
                ));
            }
        }
        partitions
    }

    /// Compares checksums of primary keys. Returns the partitions in which they agree.
    pub(super) fn of_keys(
        &mut self,
        wanted: &CompareCollection<'_>,
        found: &ExpectedRows,
    ) -> BTreeSet<String> {
        let mut equal = BTreeSet::new();
        for (partition, digest) in &wanted.expected.partitions {
            match found.partitions.get(partition) {
                Some(other) if other == digest => {
                    equal.insert(partition.clone());
                }
                Some(other) if other.rows == digest.rows => self.add(format!(
                    "partition `{partition}`: {} rows on both sides, but their primary keys differ",
                    digest.rows
                )),
                // Another number is told already.
                _ => {}
            }
        }
        equal
    }

    /// Compares checksums of fields.
    pub(super) fn of_fields(&mut self, expected: &FieldDigests, found: &FieldDigests) {
        let names: BTreeSet<_> = expected.fields.keys().chain(found.fields.keys()).collect();
        for name in names {
            let (partition, field) = name;
            match (expected.fields.get(name), found.fields.get(name)) {
                (Some(_), None) => {
                    self.add(format!("partition `{partition}`: field `{field}` is missing at the target"));
                }
                (None, _) => {
                    self.add(format!("partition `{partition}`: field `{field}` is not in the backup"));
                }
                (Some(expected), Some(found)) if expected.rows != found.rows => self.add(format!(
                    "partition `{partition}`: field `{field}` has values of {} rows in the backup and of {} at the \
                     target",
                    expected.rows, found.rows
                )),
                (Some(expected), Some(found)) if expected.sum != found.sum => self.add(format!(
                    "partition `{partition}`: the checksum of field `{field}` over {} rows differs",
                    expected.rows
                )),
                (Some(_), Some(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_bounded_and_say_how_many_are_left_out() {
        for (count, last) in
            [(20, "difference 19"), (21, "and 2 more differences"), (90, "and 71 more differences")]
        {
            let mut differences = Differences::default();
            (0..count).for_each(|number| differences.add(format!("difference {number}")));
            let words = differences.into_words();
            assert_eq!((words.len(), words.last().map(String::as_str)), (20, Some(last)));
        }
    }
}
