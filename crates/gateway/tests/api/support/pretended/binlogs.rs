//! Rows of pretended binlogs: every segment has the same ones.

use super::SEGMENT_ROWS;
use milvault_domain::milvus::{CollectionCut, FieldDescription};
use milvault_domain::ports::{
    BinlogReader, FieldDigest, KeyFiles, PortResult, RowChoice, RowDigest, SegmentKeys,
};

pub(crate) struct PretendedBinlogs;

impl BinlogReader for PretendedBinlogs {
    fn segment_keys(
        &self,
        _collection: &CollectionCut,
        _files: &KeyFiles,
        _cut_at_ms: i64,
    ) -> PortResult<SegmentKeys> {
        Ok(SegmentKeys { rows: (0..SEGMENT_ROWS).map(Some).collect() })
    }

    fn field_values(
        &self,
        keys: &SegmentKeys,
        _field: &FieldDescription,
        _first_row: usize,
        _file: &[u8],
        _wanted: RowChoice,
    ) -> PortResult<FieldDigest> {
        Ok(FieldDigest {
            rows_in_file: keys.rows.len(),
            values: RowDigest { rows: keys.rows.len() as u64, sum: 1 },
        })
    }
}
