//! Headers that claim what is not so.

use super::crafted::{Column, binlog, parquet, zigzag};
use super::fixture::{KEY_FIELD, field};
use crate::binlog::MilvusBinlogReader;
use crate::binlog::footer::metadata;
use crate::binlog::hashing::FieldHasher;
use crate::binlog::pages::{ColumnPages, PageLimits};
use crate::binlog::{column_types::ValueType, payload::column_count};
use bytes::Bytes;
use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::ports::{BinlogReader, FieldDigest, RowChoice, RowDigest, SegmentKeys};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;

/// A page of 64-bit numbers: kind 0 data, 2 dictionary.
fn page(kind: i32, claimed_bytes: i32, count: i32, encoding: i32, stored: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x15];
    bytes.extend(zigzag(kind));
    bytes.push(0x15);
    bytes.extend(zigzag(claimed_bytes));
    bytes.push(0x15);
    bytes.extend(zigzag(i32::try_from(stored.len()).unwrap()));
    bytes.push(if kind == 0 { 0x2c } else { 0x4c });
    bytes.push(0x15);
    bytes.extend(zigzag(count));
    bytes.push(0x15);
    bytes.extend(zigzag(encoding));
    bytes.extend([0, 0]);
    bytes.extend(stored);
    bytes
}

fn pages(bytes: Vec<u8>, limit: usize) -> Result<Vec<Page>, PortErrorKind> {
    limited_pages(bytes, PageLimits { page_bytes: limit, column_bytes: limit })
}

fn limited_pages(bytes: Vec<u8>, limits: PageLimits) -> Result<Vec<Page>, PortErrorKind> {
    let column = metadata(&parquet(&[Column::Int64(&[1])])).unwrap().file_metadata().schema_descr().column(0);
    let mut pages =
        ColumnPages::new(Bytes::from(bytes), Compression::ZSTD(ZstdLevel::default()), column, limits);
    let mut found = Vec::new();
    while let Some(page) = pages.get_next_page().map_err(kind_of)? {
        found.push(page);
    }
    Ok(found)
}

fn kind_of(error: ParquetError) -> PortErrorKind {
    match error {
        ParquetError::External(error) => error.downcast::<PortError>().unwrap().kind(),
        other => panic!("{other}"),
    }
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

#[test]
fn pages_that_are_what_they_say_are_read() {
    let mut bytes = page(2, 16, 2, 0, &zstd(&[7; 16]));
    bytes.extend(page(0, 3, 8, 8, &zstd(&[1, 2, 3])));
    let found = pages(bytes, 19).unwrap();
    assert!(matches!(&found[0], Page::DictionaryPage { num_values: 2, buf, .. } if buf[..] == [7; 16]));
    assert!(matches!(&found[1], Page::DataPage { num_values: 8, buf, .. } if buf[..] == [1, 2, 3]));
}

#[test]
fn a_page_holds_no_more_than_its_file_has_room_for() {
    let bomb = zstd(&vec![0; 1 << 20]);
    assert!(bomb.len() < 200);
    assert_eq!(pages(page(0, 1 << 20, 1, 0, &bomb), (1 << 20) - 1).unwrap_err(), PortErrorKind::Corrupt);
    assert_eq!(pages(page(0, i32::MAX, 1, 0, &bomb), 1 << 20).unwrap_err(), PortErrorKind::Corrupt);
    let two = [page(0, 1 << 20, 1, 0, &bomb), page(0, 1 << 20, 1, 0, &bomb)].concat();
    let limits = |column_bytes| PageLimits { page_bytes: 1 << 20, column_bytes };
    assert_eq!(limited_pages(two.clone(), limits((2 << 20) - 1)).unwrap_err(), PortErrorKind::Corrupt);
    assert_eq!(limited_pages(two, limits(2 << 20)).unwrap().len(), 2);
}

#[test]
fn a_page_that_is_longer_or_shorter_than_it_says_is_refused() {
    for claimed in [15, 17, 0, -1] {
        let lie = page(0, claimed, 2, 0, &zstd(&[7; 16]));
        assert_eq!(pages(lie, 1 << 20).unwrap_err(), PortErrorKind::Corrupt, "{claimed}");
    }
}

#[test]
fn a_dictionary_has_no_more_values_than_bytes_for_them() {
    for count in [3, i32::MAX, -1] {
        let lie = page(2, 16, count, 0, &zstd(&[7; 16]));
        assert_eq!(pages(lie, 1 << 20).unwrap_err(), PortErrorKind::Corrupt, "{count}");
    }
}

#[test]
fn what_milvus_does_not_write_is_refused() {
    let one = page(2, 8, 1, 0, &zstd(&[7; 8]));
    assert_eq!(
        pages([one.clone(), one].concat(), 99).unwrap_err(),
        PortErrorKind::Corrupt,
        "two dictionaries"
    );
    assert_eq!(
        pages(page(0, 1, 1, 8, &zstd(&[1])), 99).unwrap_err(),
        PortErrorKind::Corrupt,
        "no dictionary"
    );
    assert_eq!(pages(page(0, 1, 1, 5, &zstd(&[1])), 99).unwrap_err(), PortErrorKind::Unsupported, "delta");
    assert_eq!(
        pages(page(0, 1, 1, 3, &zstd(&[1])), 99).unwrap_err(),
        PortErrorKind::Corrupt,
        "bits of numbers"
    );
}

/// Root and groups in groups, each with one child.
fn nested(depth: usize, children: i32) -> Vec<u8> {
    let mut footer = vec![0x15, 2, 0x19, 0xfc];
    let mut rest = depth;
    while rest > 0x7f {
        footer.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    footer.push(u8::try_from(rest).unwrap());
    for _ in 0..depth {
        footer.extend([0x35, 0, 0x18, 0, 0x15]);
        footer.extend(zigzag(children));
        footer.push(0);
    }
    footer.push(0);
    [b"PAR1".as_slice(), &footer, &u32::try_from(footer.len()).unwrap().to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn a_schema_is_neither_deep_nor_wide() {
    for file in [nested(100_000, 1), nested(2, i32::MAX), nested(3, 2), nested(1, 0), nested(2, -1)] {
        assert_eq!(column_count(&file).unwrap_err().kind(), PortErrorKind::Unsupported);
    }
    let mut long = vec![0; 2 << 20];
    long.extend((2_u32 << 20).to_le_bytes());
    let long = [b"PAR1".as_slice(), &long, b"PAR1"].concat();
    assert_eq!(column_count(&long).unwrap_err().kind(), PortErrorKind::Corrupt);
}

#[test]
fn values_may_be_null() {
    let rows = [Some(5), None, Some(-1), None];
    let file = binlog(101, 5, 1, &[&parquet(&[Column::MaybeInt64(&rows)])]);
    let field = field(101, "large", "Int64");
    let keys = SegmentKeys { rows: vec![Some(10), Some(11), None, Some(13)] };
    let found = MilvusBinlogReader.field_values(&keys, &field, 0, &file, RowChoice::All).unwrap();
    let hasher = FieldHasher::new(101, ValueType::of(&field).unwrap());
    let digests = [hasher.hash(10, Some(&5_i64.to_ne_bytes())), hasher.hash(11, None), hasher.hash(13, None)];
    let sum = digests.into_iter().map(u128::from).sum();
    assert_eq!(found, FieldDigest { rows_in_file: 4, values: RowDigest { rows: 3, sum } });
}

#[test]
fn values_are_of_rows_of_the_segment() {
    let file = binlog(101, 5, 1, &[&parquet(&[Column::Int64(&[1, 2])])]);
    let field = field(101, "large", "Int64");
    let keys = SegmentKeys { rows: vec![Some(10), Some(11), Some(12)] };
    for (first_row, fits) in [(0, true), (1, true), (2, false), (3, false), (4, false), (usize::MAX, false)] {
        let found = MilvusBinlogReader.field_values(&keys, &field, first_row, &file, RowChoice::All);
        assert_eq!(
            found.map_err(|error| error.kind()).map(|found| found.rows_in_file),
            if fits { Ok(2) } else { Err(PortErrorKind::Corrupt) }
        );
    }
}

#[test]
fn a_key_may_not_be_null() {
    let files = milvault_domain::ports::KeyFiles {
        timestamps: vec![binlog(1, 5, 1, &[&parquet(&[Column::Int64(&[1, 2])])])],
        keys: vec![binlog(KEY_FIELD, 5, 1, &[&parquet(&[Column::MaybeInt64(&[Some(1), None])])])],
        deletes: Vec::new(),
    };
    let refused =
        MilvusBinlogReader.segment_keys(&super::fixture::collection("int64"), &files, 9).unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Corrupt);
}
