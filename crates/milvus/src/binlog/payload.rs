//! The values of a Parquet file's column.

use super::footer::metadata;
use super::pages::{ColumnPages, PageLimits, failure};
use super::{corrupt, unsupported};
use bytes::Bytes;
use milvault_domain::error::PortResult;
use parquet::basic::Type as Physical;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{AsBytes, DataType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Values decoded at once.
const BATCH_ROWS: usize = 4096;
/// Bytes of one page, which are in memory at once, that are accepted whatever the size of a file. Milvus ends a page
/// after 1 MiB, but only every 1024 values.
const PAGE_BYTES_MIN: usize = 128 << 20;
/// How many times its file's size a page may have beyond that.
const PAGE_BYTES_PER_BYTE: usize = 64;
/// Bytes of all pages, one after another, that are accepted whatever the size of a file. Milvus writes files for 16 to
/// 64 MiB of values; texts were seen to shrink 150 times.
const COLUMN_BYTES_MIN: usize = 2 << 30;
/// How many times its file's size a column may have beyond that.
const COLUMN_BYTES_PER_BYTE: usize = 256;

/// Takes a value, as the bytes that it has in memory; `None` where it is null.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> PortResult<()>;

/// Number of columns of a file.
pub(super) fn column_count(file: &[u8]) -> PortResult<usize> {
    guarded(|| Ok(metadata(file)?.file_metadata().schema_descr().num_columns()))
}

/// Visits the values of a file of one column, which must be of one of the given types.
pub(super) fn read_column(file: &[u8], expected: &[Physical], visit: Visit<'_>) -> PortResult<()> {
    match column_count(file)? {
        1 => read_column_at(file, 0, expected, visit),
        other => Err(unsupported(format!("a Parquet file of {other} columns"))),
    }
}

/// Visits the values of a column, which must be of one of the given types.
pub(super) fn read_column_at(
    file: &[u8],
    column: usize,
    expected: &[Physical],
    visit: Visit<'_>,
) -> PortResult<()> {
    guarded(|| {
        let metadata = metadata(file)?;
        let physical = metadata.file_metadata().schema_descr().column(column).physical_type();
        if !expected.contains(&physical) {
            return Err(corrupt(format!("its values are stored as {physical}")));
        }
        let file = Bytes::copy_from_slice(file);
        metadata
            .row_groups()
            .iter()
            .try_for_each(|row_group| read_row_group(&file, &metadata, row_group, column, visit))
    })
}

/// The library panics on some files that no writer makes, such as a text that ends after its dictionary does. Nothing
/// that was half done is used afterwards.
fn guarded<T>(read: impl FnOnce() -> PortResult<T>) -> PortResult<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(corrupt("the Parquet file in it contradicts itself")))
}

fn read_row_group(
    file: &Bytes,
    metadata: &ParquetMetaData,
    row_group: &RowGroupMetaData,
    column: usize,
    visit: Visit<'_>,
) -> PortResult<()> {
    let chunk = row_group.columns().get(column).ok_or_else(|| corrupt("a Parquet column is missing"))?;
    let descriptor = metadata.file_metadata().schema_descr().column(column);
    let limits = PageLimits {
        page_bytes: grown(PAGE_BYTES_MIN, PAGE_BYTES_PER_BYTE, file.len()),
        column_bytes: grown(COLUMN_BYTES_MIN, COLUMN_BYTES_PER_BYTE, file.len()),
    };
    let pages = ColumnPages::new(chunk_bytes(file, chunk)?, chunk.compression(), descriptor.clone(), limits);
    let nullable = descriptor.max_def_level() > 0;
    let rows = match get_column_reader(descriptor, Box::new(pages)) {
        ColumnReader::BoolColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::Int32ColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::Int64ColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::FloatColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::DoubleColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::ByteArrayColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => read_values(reader, nullable, visit),
        ColumnReader::Int96ColumnReader(_) => Err(unsupported("a Parquet column of type INT96")),
    }?;
    if i64::try_from(rows) == Ok(row_group.num_rows()) {
        Ok(())
    } else {
        Err(corrupt(format!("{rows} values are there, {} should be", row_group.num_rows())))
    }
}

fn grown(least: usize, per_byte: usize, bytes: usize) -> usize {
    bytes.saturating_mul(per_byte).saturating_add(least)
}

fn chunk_bytes(file: &Bytes, chunk: &ColumnChunkMetaData) -> PortResult<Bytes> {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let start = usize::try_from(start).ok();
    let length = usize::try_from(chunk.compressed_size()).ok();
    let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
    match (start, end) {
        (Some(start), Some(end)) if end <= file.len() => Ok(file.slice(start..end)),
        _ => Err(corrupt("a Parquet column lies outside its file")),
    }
}

/// Number of rows that were there.
fn read_values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    nullable: bool,
    visit: Visit<'_>,
) -> PortResult<usize> {
    let mut values: Vec<T::T> = Vec::with_capacity(BATCH_ROWS);
    let mut levels: Vec<i16> = Vec::new();
    let mut rows = 0;
    loop {
        values.clear();
        levels.clear();
        let (count, ..) = reader
            .read_records(BATCH_ROWS, nullable.then_some(&mut levels), None, &mut values)
            .map_err(failure)?;
        if count == 0 {
            return Ok(rows);
        }
        rows += count;
        let mut present = values.iter().map(AsBytes::as_bytes);
        if !nullable {
            present.try_for_each(|value| visit(Some(value)))?;
            continue;
        }
        for level in &levels {
            match level {
                0 => visit(None)?,
                _ => visit(Some(present.next().ok_or_else(|| corrupt("a Parquet page lacks values"))?))?,
            }
        }
    }
}
