//! What is read from the files of a real Milvus is what was written to it.

use super::crafted::binlog;
use super::fixture::{FIXTURES, KEY_FIELD, Known, Side, TIMESTAMP_FIELD, field};
use crate::binlog::MilvusBinlogReader;
use crate::binlog::column_types::{KeyType, ValueType};
use crate::binlog::container::insert_events;
use crate::binlog::hashing::{FieldHasher, key_hash};
use milvault_domain::error::PortErrorKind;
use milvault_domain::milvus::FieldDescription;
use milvault_domain::ports::{BinlogReader, RowChoice, RowDigest};
use milvus::proto::schema::{LongArray, ScalarField, StringArray, scalar_field};
use prost::Message;
use serde_json::Value;

fn key_of(row: &Value) -> u64 {
    match &row["id"] {
        Value::String(text) => key_hash(KeyType::VarChar, text.as_bytes()),
        number => key_hash(KeyType::Int64, &number.as_i64().unwrap().to_ne_bytes()),
    }
}

/// The bytes that Milvus keeps of a value.
fn stored(field: &FieldDescription, row: &Value) -> Vec<u8> {
    let value = &row[&field.name];
    let i32_bytes = || i32::try_from(value.as_i64().unwrap()).unwrap().to_ne_bytes().to_vec();
    match field.data_type.as_str() {
        "Bool" => vec![u8::from(value.as_bool().unwrap())],
        "Int8" | "Int16" | "Int32" => i32_bytes(),
        "Int64" => value.as_i64().unwrap().to_ne_bytes().to_vec(),
        #[expect(clippy::cast_possible_truncation, reason = "it was a 32-bit number before it became JSON")]
        "Float" => (value.as_f64().unwrap() as f32).to_ne_bytes().to_vec(),
        "Double" => value.as_f64().unwrap().to_ne_bytes().to_vec(),
        "VarChar" | "JSON" => value.as_str().unwrap().as_bytes().to_vec(),
        "Array" => array(field, value).encode_to_vec(),
        #[expect(clippy::cast_possible_truncation, reason = "as above")]
        "FloatVector" => {
            let numbers = value.as_array().unwrap().iter();
            numbers.flat_map(|number| (number.as_f64().unwrap() as f32).to_le_bytes()).collect()
        }
        "BinaryVector" => {
            let digits = value.as_str().unwrap();
            (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect()
        }
        other => panic!("no {other} in the fixtures"),
    }
}

fn array(field: &FieldDescription, value: &Value) -> ScalarField {
    let values = value.as_array().unwrap().iter();
    let data = match field.name.as_str() {
        "numbers" => scalar_field::Data::LongData(LongArray {
            data: values.map(|value| value.as_i64().unwrap()).collect(),
        }),
        _ => scalar_field::Data::StringData(StringArray {
            data: values.map(|value| value.as_str().unwrap().to_owned()).collect(),
        }),
    };
    ScalarField { data: Some(data), ..ScalarField::default() }
}

fn digest(hashes: impl Iterator<Item = u64>) -> RowDigest {
    hashes.fold(RowDigest::default(), |sum, hash| sum.plus(RowDigest { rows: 1, sum: u128::from(hash) }))
}

#[test]
fn the_keys_at_an_instant_are_those_that_were_there() {
    for keys in FIXTURES {
        let (known, source) = (Known::load(keys), Side::load(keys, "source"));
        for (instant, at_ms, count) in [("at_cut", known.cut_at_ms, 28), ("later", known.later_ms, 30)] {
            let expected = digest(known.rows(instant).map(key_of));
            assert_eq!(expected.rows, count);
            assert_eq!(source.key_digest(at_ms), expected, "{keys} {instant}");
        }
    }
}

#[test]
fn every_value_is_the_one_that_was_written() {
    for keys in FIXTURES {
        let (known, source) = (Known::load(keys), Side::load(keys, "source"));
        for (instant, at_ms) in [("at_cut", known.cut_at_ms), ("later", known.later_ms)] {
            for field in &source.collection.fields {
                let hasher = FieldHasher::new(field.field_id, ValueType::of(field).unwrap());
                let expected =
                    known.rows(instant).map(|row| hasher.hash(key_of(row), Some(&stored(field, row))));
                assert_eq!(
                    source.value_digest(field, at_ms, RowChoice::All),
                    digest(expected),
                    "{keys} {instant} {}",
                    field.name
                );
            }
        }
    }
}

#[test]
fn a_restored_collection_has_the_digests_of_its_source() {
    for keys in FIXTURES {
        let known = Known::load(keys);
        let (source, restored) = (Side::load(keys, "source"), Side::load(keys, "restored"));
        // An import writes its rows anew, at the time of the import.
        let (cut, now) = (known.cut_at_ms, i64::MAX);
        assert_eq!(source.key_digest(cut), restored.key_digest(now));
        for field in &source.collection.fields {
            for wanted in [RowChoice::All, RowChoice::OneIn(3)] {
                assert_eq!(
                    source.value_digest(field, cut, wanted),
                    restored.value_digest(field, now, wanted),
                    "{keys} {} {wanted:?}",
                    field.name
                );
            }
        }
    }
}

#[test]
fn nothing_is_there_before_the_first_row() {
    let source = Side::load("int64", "source");
    for before in [0, -1, i64::MIN] {
        assert_eq!(source.key_digest(before), RowDigest::default());
    }
}

/// The fixture's first segment has row -3 twice: inserted, and upserted before the first flush, so that the delete of
/// the first and the second row itself have one timestamp.
#[test]
fn an_upserted_row_survives_the_delete_that_came_with_it() {
    let source = Side::load("int64", "source");
    let keys = source.keys(&source.segments[0], i64::MAX);
    let upserted = key_hash(KeyType::Int64, &(-3_i64).to_ne_bytes());
    assert_eq!(keys.rows.iter().flatten().filter(|key| **key == upserted).count(), 1);
    assert_eq!(keys.rows[2], None, "the row that the upsert replaced");
}

#[test]
fn duplicates_of_a_key_count_each() {
    let source = Side::load("int64", "source");
    let duplicate = key_hash(KeyType::Int64, &4_i64.to_ne_bytes());
    let found: usize = source
        .segments
        .iter()
        .map(|segment| {
            let keys = source.keys(segment, i64::MAX);
            keys.rows.iter().flatten().filter(|key| **key == duplicate).count()
        })
        .sum();
    assert_eq!(found, 3);
}

#[test]
fn a_sample_is_of_the_rows_whose_key_says_so() {
    let (known, source) = (Known::load("varchar"), Side::load("varchar", "source"));
    let text = &source.collection.fields[8];
    for count in 1..6 {
        let expected = known.rows("at_cut").map(key_of).filter(|key| key % count == 0).count();
        let sample = source.value_digest(text, known.cut_at_ms, RowChoice::OneIn(count));
        assert_eq!(sample.rows, u64::try_from(expected).unwrap());
    }
    let segment = &source.segments[0];
    let keys = source.keys(segment, known.cut_at_ms);
    let refused = MilvusBinlogReader
        .field_values(&keys, text, 0, &segment.fields[&text.field_id][0], RowChoice::OneIn(0))
        .unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::InvalidInput);
}

#[test]
fn values_and_types_and_nothing_differ_in_their_hashes() {
    let hasher = |id, data_type| FieldHasher::new(id, ValueType::of(&field(id, "f", data_type)).unwrap());
    let plain = hasher(101, "VarChar");
    let found = [
        plain.hash(1, Some(b"a")),
        plain.hash(1, Some(b"b")),
        plain.hash(2, Some(b"a")),
        plain.hash(1, Some(b"")),
        plain.hash(1, None),
        hasher(102, "VarChar").hash(1, Some(b"a")),
        hasher(101, "JSON").hash(1, Some(b"a")),
    ];
    for (index, hash) in found.iter().enumerate() {
        assert!(!found[index + 1..].contains(hash), "{index}");
    }
    assert_eq!(plain.hash(1, Some(b"a")), hasher(101, "String").hash(1, Some(b"a")));
    assert_ne!(key_hash(KeyType::VarChar, &[0; 8]), key_hash(KeyType::Int64, &[0; 8]));
}

#[test]
fn all_events_of_a_file_are_read() {
    let source = Side::load("int64", "source");
    let [first, second, ..] = source.segments.as_slice() else { panic!("segments") };
    let joined = |field_id| {
        let field = field(field_id, "f", "Int64");
        let events: Vec<&[u8]> = [first, second]
            .iter()
            .flat_map(|segment| {
                insert_events(&segment.fields[&field_id][0], field_id, ValueType::of(&field).unwrap())
                    .unwrap()
            })
            .collect();
        vec![binlog(field_id, 5, 1, &events)]
    };
    let mut files = first.key_files();
    files.timestamps = joined(TIMESTAMP_FIELD);
    files.keys = joined(KEY_FIELD);
    files.deletes.extend(second.deletes.clone());
    let both = MilvusBinlogReader.segment_keys(&source.collection, &files, i64::MAX).unwrap();
    let apart = source.keys(first, i64::MAX).digest().plus(source.keys(second, i64::MAX).digest());
    assert_eq!(both.digest(), apart);
}
