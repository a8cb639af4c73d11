//! Deletes in all forms that Milvus has had.

use super::crafted::{Column, binlog, parquet};
use super::fixture::{KEY_FIELD, TIMESTAMP_FIELD, collection};
use crate::binlog::MilvusBinlogReader;
use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::ports::{BinlogReader, KeyFiles};

const CUT_MS: i64 = 1_000;
const fn at(ms: i64, logical: i64) -> i64 {
    ms << 18 | logical
}

/// Which of the rows 1, 2, 3, written at 500 ms, are there at the cut.
fn rows_left(deletes: &[Column<'_>]) -> PortResult<Vec<bool>> {
    let written = at(500, 7);
    let files = KeyFiles {
        timestamps: vec![binlog(TIMESTAMP_FIELD, 5, 1, &[&parquet(&[Column::Int64(&[written; 3])])])],
        keys: vec![binlog(KEY_FIELD, 5, 1, &[&parquet(&[Column::Int64(&[1, 2, 3])])])],
        deletes: vec![binlog(-1, 20, 2, &[&parquet(deletes)])],
    };
    let keys = MilvusBinlogReader.segment_keys(&collection("int64"), &files, CUT_MS)?;
    Ok(keys.rows.iter().map(Option::is_some).collect())
}

/// The same for keys that are text.
fn texts_left(deletes: &[&str]) -> PortResult<Vec<bool>> {
    let written = at(500, 7);
    let files = KeyFiles {
        timestamps: vec![binlog(TIMESTAMP_FIELD, 5, 1, &[&parquet(&[Column::Int64(&[written; 3])])])],
        keys: vec![binlog(KEY_FIELD, 21, 1, &[&parquet(&[Column::Text(&["1", "a\"b", "<ü>"])])])],
        deletes: vec![binlog(-1, 20, 2, &[&parquet(&[Column::Text(deletes)])])],
    };
    let keys = MilvusBinlogReader.segment_keys(&collection("varchar"), &files, CUT_MS)?;
    Ok(keys.rows.iter().map(Option::is_some).collect())
}

fn record(key: &str, timestamp: i64, key_type: i32) -> String {
    format!(r#"{{"pk":{key},"ts":{timestamp},"pkType":{key_type}}}"#)
}

#[test]
fn a_delete_counts_when_it_is_later_than_the_row_and_not_later_than_the_cut() {
    for (timestamp, stays) in [
        (at(499, 0), true),
        (at(500, 6), true),
        (at(500, 7), true),
        (at(500, 8), false),
        (at(1_000, 0), false),
        (at(1_000, 262_143), false),
        (at(1_001, 0), true),
    ] {
        let left = rows_left(&[Column::Text(&[&record("2", timestamp, 5)])]).unwrap();
        assert_eq!(left, [true, stays, true], "{timestamp}");
    }
}

#[test]
fn any_delete_of_a_key_suffices() {
    let (early, right, late) =
        (record("3", at(1, 0), 5), record("3", at(900, 0), 5), record("3", at(2_000, 0), 5));
    for order in [[&early, &right, &late], [&late, &right, &early], [&right, &late, &early]] {
        let records = order.map(String::as_str);
        assert_eq!(rows_left(&[Column::Text(&records)]).unwrap(), [true, true, false]);
    }
}

#[test]
fn the_form_of_2_0_is_read() {
    let pair = format!("1,{}", at(600, 0));
    assert_eq!(rows_left(&[Column::Text(&[&pair])]).unwrap(), [false, true, true]);
    assert_eq!(texts_left(&[&pair]).unwrap_err().kind(), PortErrorKind::Corrupt);
}

#[test]
fn keys_that_are_text_are_read_with_their_escapes() {
    let records = [
        record(r#""a\"b""#, at(600, 0), 21),
        record(r#""\u003cü\u003e""#, at(600, 0), 21),
        record(r#""no""#, at(600, 0), 21),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    assert_eq!(texts_left(&records).unwrap(), [true, false, false]);
}

#[test]
fn odd_keys_are_told_apart_however_they_are_escaped() {
    // As Go writes JSON: control characters and line separators escaped, other characters as they are.
    let keys = [
        ("'", r#""'""#),
        ("\\", r#""\\""#),
        ("\\\"", r#""\\\"""#),
        ("\\n", r#""\\n""#),
        ("\n\t\r\0\u{1f}", r#""\n\t\r\u0000\u001f""#),
        ("\u{2028}&", r#""\u2028\u0026""#),
        ("鍵🔑", r#""鍵🔑""#),
        ("1,2", r#""1,2""#),
        ("", r#""""#),
    ];
    let texts = keys.map(|(key, _)| key);
    let written = parquet(&[Column::Int64(&[at(500, 7); 9])]);
    for (deleted, (key, escaped)) in keys.into_iter().enumerate() {
        let delete = record(escaped, at(600, 0), 21);
        let files = KeyFiles {
            timestamps: vec![binlog(TIMESTAMP_FIELD, 5, 1, &[&written])],
            keys: vec![binlog(KEY_FIELD, 21, 1, &[&parquet(&[Column::Text(&texts)])])],
            deletes: vec![binlog(-1, 20, 2, &[&parquet(&[Column::Text(&[&delete])])])],
        };
        let found = MilvusBinlogReader.segment_keys(&collection("varchar"), &files, CUT_MS).unwrap();
        let gone: Vec<usize> = (0..texts.len()).filter(|row| found.rows[*row].is_none()).collect();
        assert_eq!(gone, [deleted], "{key:?}");
    }
}

#[test]
fn two_columns_are_read() {
    let timestamps = [at(600, 0), at(2_000, 0), at(700, 0)];
    let left = rows_left(&[Column::Int64(&[3, 1, 99]), Column::Int64(&timestamps)]).unwrap();
    assert_eq!(left, [true, true, false]);
}

#[test]
fn deletes_that_cannot_be_are_refused() {
    let good = at(600, 0);
    for bad in [
        String::new(),
        String::from("{"),
        String::from("1"),
        format!("1,{good},1"),
        record("1", -1, 5),
        record("\"1\"", good, 5),
        record("1", good, 21),
        record("1.5", good, 5),
        record("null", good, 5),
        format!(r#"{{"pk":1,"ts":{good}}}"#),
    ] {
        let refused = rows_left(&[Column::Text(&[&bad])]).unwrap_err();
        assert_eq!(refused.kind(), PortErrorKind::Corrupt, "{bad}");
    }
    let uneven = rows_left(&[Column::Text(&["1"]), Column::Int64(&[good])]).unwrap_err();
    assert_eq!(uneven.kind(), PortErrorKind::Corrupt, "keys of another type");
    let three = [Column::Int64(&[1]), Column::Int64(&[good]), Column::Int64(&[1])];
    assert_eq!(rows_left(&three).unwrap_err().kind(), PortErrorKind::Unsupported);
}
