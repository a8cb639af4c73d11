//! The values of the rows: the pass over the fields.

use super::budget::{decode, reserve};
use super::keys::{ExpectedRows, RowsOfSegment, SEGMENTS_AT_ONCE, segment_keys};
use super::side::{File, SegmentFiles, Side};
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::milvus::FieldDescription;
use milvault_domain::ports::{
    FieldDigest, PortError, PortErrorKind, PortResult, RowChoice, RowDigest, SegmentKeys,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Which rows to digest whole.
pub(super) enum ChosenRows {
    All,
    Some(HashMap<i64, RowsOfSegment>),
}

/// Numbers and checksums of values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FieldDigests {
    /// Rows that were digested.
    pub(super) rows: u64,
    /// By names of partition and field.
    pub(super) fields: BTreeMap<(String, String), RowDigest>,
}

impl ChosenRows {
    /// The rows with these keys.
    pub(super) fn of(rows: &ExpectedRows, keys: &HashSet<u64>) -> Self {
        let segments = rows.with_keys(keys).into_iter();
        Self::Some(segments.map(|segment| (segment.segment_id, segment)).collect())
    }
}

/// Digests the fields of the chosen rows in some partitions. Of each segment that is at work one file is in memory.
pub(super) async fn field_digests(
    side: &Side<'_>,
    chosen: &ChosenRows,
    partitions: &BTreeSet<String>,
) -> PortResult<FieldDigests> {
    let shared_deletes = match chosen {
        ChosenRows::All => side.read_shared_deletes().await?,
        ChosenRows::Some(_) => HashMap::new(),
    };
    let fields = side.fields();
    let mut reads = Vec::new();
    for segment in &side.segments {
        let partition = side.partition_name(segment.partition_id);
        let Some(partition) = partition.filter(|name| partitions.contains(*name)) else { continue };
        let (shared_deletes, fields) = (&shared_deletes, &fields);
        let read = async move {
            let keys = match chosen {
                ChosenRows::All => Some(segment_keys(side, segment, shared_deletes).await?),
                ChosenRows::Some(segments) => segments.get(&segment.segment_id).map(RowsOfSegment::keys),
            };
            let Some(keys) = keys else { return Ok((partition, Vec::new())) };
            let reader = SegmentReader { side, segment, keys: Arc::new(keys) };
            let digests = reader.digest(fields).await.map_err(|error| {
                let of = format!("segment {} of collection {}", segment.segment_id, side.collection.name);
                error.context(of)
            })?;
            Ok::<_, PortError>((partition, digests))
        };
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        reads.push(read.boxed());
    }
    let primary_key = &side.primary_key()?.name;
    let mut all = FieldDigests::default();
    let mut reads = futures::stream::iter(reads).buffer_unordered(SEGMENTS_AT_ONCE);
    while let Some((partition, digests)) = reads.try_next().await? {
        for (field, digest) in digests {
            if field == *primary_key {
                all.rows += digest.rows;
            }
            let sum = all.fields.entry((partition.to_owned(), field)).or_default();
            *sum = sum.plus(digest);
        }
    }
    Ok(all)
}

struct SegmentReader<'a> {
    side: &'a Side<'a>,
    segment: &'a SegmentFiles<'a>,
    keys: Arc<SegmentKeys>,
}

impl SegmentReader<'_> {
    /// Digests all fields. The primary key comes first: it tells how many rows each file has, and Milvus writes the
    /// files of all fields together. So files without a chosen row are not read.
    async fn digest(&self, fields: &[Arc<FieldDescription>]) -> PortResult<Vec<(String, RowDigest)>> {
        let primary_key = Arc::new(self.side.primary_key()?.clone());
        let (key_digest, files_rows) = self.digest_primary_key(&primary_key).await?;
        let mut digests = vec![(primary_key.name.clone(), key_digest)];
        for field in fields.iter().filter(|field| field.field_id != primary_key.field_id) {
            let files = self.segment.of_field(field.field_id);
            if files.is_empty() {
                continue;
            }
            if files.len() != files_rows.len() {
                return Err(disagree(&field.name, files.len(), files_rows.len(), "files"));
            }
            let mut sum = RowDigest::default();
            for (file, rows) in files.iter().zip(&files_rows) {
                if self.has_chosen_rows(rows) {
                    let digest = self.digest_file(field, *file, rows.start).await?;
                    if digest.rows_in_file != rows.len() {
                        return Err(disagree(&field.name, digest.rows_in_file, rows.len(), "rows in a file"));
                    }
                    sum = sum.plus(digest.values);
                }
            }
            digests.push((field.name.clone(), sum));
        }
        Ok(digests)
    }

    /// Also tells which rows each file has.
    async fn digest_primary_key(
        &self,
        field: &Arc<FieldDescription>,
    ) -> PortResult<(RowDigest, Vec<Range<usize>>)> {
        let (mut sum, mut files_rows, mut first_row) = (RowDigest::default(), Vec::new(), 0);
        for file in self.segment.of_field(field.field_id) {
            let digest = self.digest_file(field, *file, first_row).await?;
            files_rows.push(first_row..first_row + digest.rows_in_file);
            first_row += digest.rows_in_file;
            sum = sum.plus(digest.values);
        }
        if first_row != self.keys.rows.len() {
            return Err(disagree(&field.name, first_row, self.keys.rows.len(), "rows"));
        }
        Ok((sum, files_rows))
    }

    fn has_chosen_rows(&self, rows: &Range<usize>) -> bool {
        self.keys.rows.get(rows.clone()).is_some_and(|rows| rows.iter().any(Option::is_some))
    }

    async fn digest_file(
        &self,
        field: &Arc<FieldDescription>,
        file: File<'_>,
        first_row: usize,
    ) -> PortResult<FieldDigest> {
        let reserved = reserve(file.size_bytes).await?;
        let content = self.side.read(file).await?;
        let binlogs = Arc::clone(&self.side.run.core.deps.binlogs);
        let (keys, field) = (Arc::clone(&self.keys), Arc::clone(field));
        let digest = move || binlogs.field_values(&keys, &field, first_row, &content, RowChoice::All);
        decode(reserved, digest).await.map_err(|error| error.context(file.key))
    }
}

fn disagree(field: &str, found: usize, expected: usize, what: &str) -> PortError {
    PortError::new(
        PortErrorKind::Corrupt,
        format!("field `{field}` has {found} {what} where the primary key has {expected}"),
    )
}
