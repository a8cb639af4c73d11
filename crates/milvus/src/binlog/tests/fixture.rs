//! Files that a real Milvus 2.3.5 wrote, with the rows they were written from; see the README beside them.

use crate::binlog::MilvusBinlogReader;
use milvault_domain::milvus::{CollectionCut, FieldDescription, FieldFlags, LoadState};
use milvault_domain::ports::{BinlogReader, KeyFiles, RowChoice, RowDigest, SegmentKeys};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const TIMESTAMP_FIELD: i64 = 1;
pub(super) const KEY_FIELD: i64 = 100;

/// Files of a segment.
pub(super) struct Segment {
    pub(super) fields: BTreeMap<i64, Vec<Vec<u8>>>,
    pub(super) deletes: Vec<Vec<u8>>,
}

impl Segment {
    pub(super) fn key_files(&self) -> KeyFiles {
        KeyFiles {
            timestamps: self.fields[&TIMESTAMP_FIELD].clone(),
            keys: self.fields[&KEY_FIELD].clone(),
            deletes: self.deletes.clone(),
        }
    }
}

/// One side of a fixture: the collection that was written, or the one that it was restored into.
pub(super) struct Side {
    pub(super) collection: CollectionCut,
    pub(super) segments: Vec<Segment>,
}

impl Side {
    pub(super) fn load(keys: &str, side: &str) -> Self {
        let directory = directory(keys).join(side);
        let segments = list(&directory.join("insert_log"))
            .map(|segment| {
                let deletes = directory.join("delta_log").join(segment.file_name().unwrap());
                Segment {
                    fields: list(&segment)
                        .map(|field| {
                            (field.file_name().unwrap().to_str().unwrap().parse().unwrap(), files(&field))
                        })
                        .collect(),
                    deletes: if deletes.exists() { files(&deletes) } else { Vec::new() },
                }
            })
            .collect();
        Self { collection: collection(keys), segments }
    }

    pub(super) fn keys(&self, segment: &Segment, cut_at_ms: i64) -> SegmentKeys {
        MilvusBinlogReader.segment_keys(&self.collection, &segment.key_files(), cut_at_ms).unwrap()
    }

    /// Digest of the keys of all segments.
    pub(super) fn key_digest(&self, cut_at_ms: i64) -> RowDigest {
        self.segments
            .iter()
            .map(|segment| self.keys(segment, cut_at_ms).digest())
            .fold(RowDigest::default(), RowDigest::plus)
    }

    /// Digest of a field's values in all segments.
    pub(super) fn value_digest(
        &self,
        field: &FieldDescription,
        cut_at_ms: i64,
        wanted: RowChoice,
    ) -> RowDigest {
        let mut digest = RowDigest::default();
        for segment in &self.segments {
            let keys = self.keys(segment, cut_at_ms);
            let mut first_row = 0;
            for file in &segment.fields[&field.field_id] {
                let part = MilvusBinlogReader.field_values(&keys, field, first_row, file, wanted).unwrap();
                first_row += part.rows_in_file;
                digest = digest.plus(part.values);
            }
            assert_eq!(first_row, keys.rows.len());
        }
        digest
    }
}

/// The rows that the fixture was written from.
pub(super) struct Known {
    pub(super) cut_at_ms: i64,
    /// After all that was written.
    pub(super) later_ms: i64,
    rows: Vec<Value>,
}

impl Known {
    pub(super) fn load(keys: &str) -> Self {
        let text = fs::read_to_string(directory(keys).join("rows.json")).unwrap();
        let known: Value = serde_json::from_str(&text).unwrap();
        Self {
            cut_at_ms: known["cut_at_ms"].as_i64().unwrap(),
            later_ms: known["later_ms"].as_i64().unwrap(),
            rows: known["rows"].as_array().unwrap().clone(),
        }
    }

    /// The rows at an instant: `at_cut` or `later`.
    pub(super) fn rows(&self, instant: &str) -> impl Iterator<Item = &Value> {
        self.rows.iter().filter(move |row| row[instant].as_bool().unwrap())
    }
}

pub(super) const FIXTURES: [&str; 2] = ["int64", "varchar"];

fn directory(keys: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/binlog/2.3.5").join(keys)
}

fn list(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter()
}

fn files(directory: &Path) -> Vec<Vec<u8>> {
    list(directory).map(|path| fs::read(path).unwrap()).collect()
}

pub(super) fn field(field_id: i64, name: &str, data_type: &str) -> FieldDescription {
    FieldDescription {
        field_id,
        name: name.to_owned(),
        description: String::new(),
        data_type: data_type.to_owned(),
        element_type: String::new(),
        type_params: Vec::new(),
        flags: FieldFlags { primary_key: field_id == KEY_FIELD, ..FieldFlags::default() },
    }
}

/// The collection of a fixture.
pub(super) fn collection(keys: &str) -> CollectionCut {
    let (key, vector) = match keys {
        "int64" => ("Int64", "FloatVector"),
        _ => ("VarChar", "BinaryVector"),
    };
    let fields = [
        ("id", key),
        ("flag", "Bool"),
        ("tiny", "Int8"),
        ("small", "Int16"),
        ("medium", "Int32"),
        ("large", "Int64"),
        ("single", "Float"),
        ("double", "Double"),
        ("text", "VarChar"),
        ("document", "JSON"),
        ("numbers", "Array"),
        ("words", "Array"),
        ("vector", vector),
        ("$meta", "JSON"),
    ];
    CollectionCut {
        collection_id: 1,
        name: keys.to_owned(),
        description: String::new(),
        shard_count: 1,
        consistency_level: 0,
        schema_proto: Vec::new(),
        fields: (KEY_FIELD..).zip(fields).map(|(id, (name, data_type))| field(id, name, data_type)).collect(),
        dynamic_field: true,
        properties: Vec::new(),
        partitions: Vec::new(),
        indexes: Vec::new(),
        aliases: Vec::new(),
        load_state: LoadState::NotLoaded,
        replica_count: 0,
        segments: Vec::new(),
    }
}
