//! Milvus's files, copied and digested as a restore does.

use crate::server::setting;
use milvault_domain::milvus::{CollectionCut, FieldDescription, SegmentCut};
use milvault_domain::ports::{BinlogReader, KeyFiles, RowChoice, RowDigest, SegmentKeys};
use milvault_milvus::MilvusBinlogReader;
use std::fs;
use std::path::{Path, PathBuf};

/// Copies the segments of a cut as they are now.
pub(crate) fn copy_segments(cut: &CollectionCut, target: &Path) {
    let storage = PathBuf::from(setting("MILVAULT_TEST_MILVUS_STORAGE"));
    for segment in &cut.segments {
        for kind in ["insert_log", "delta_log"] {
            let relative = segment_path(cut, segment, kind);
            if storage.join(&relative).exists() {
                copy_directory(&storage.join(&relative), &target.join(&relative));
            }
        }
    }
}

fn copy_directory(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for path in list(source) {
        let copy = target.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &copy);
        } else {
            fs::copy(&path, copy).unwrap();
        }
    }
}

fn segment_path(cut: &CollectionCut, segment: &SegmentCut, kind: &str) -> String {
    format!("{kind}/{}/{}/{}", cut.collection_id, segment.partition_id, segment.segment_id)
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn files(directory: &Path) -> Vec<Vec<u8>> {
    list(directory).iter().map(|path| fs::read(path).unwrap()).collect()
}

fn keys(cut: &CollectionCut, segment: &SegmentCut, copied: &Path, at_ms: i64) -> SegmentKeys {
    let inserts = copied.join(segment_path(cut, segment, "insert_log"));
    let key = cut.fields.iter().find(|field| field.flags.primary_key).unwrap();
    let files = KeyFiles {
        timestamps: files(&inserts.join("1")),
        keys: files(&inserts.join(key.field_id.to_string())),
        deletes: files(&copied.join(segment_path(cut, segment, "delta_log"))),
    };
    MilvusBinlogReader.segment_keys(cut, &files, at_ms).unwrap()
}

/// Digest of the keys of all segments.
pub(crate) fn key_digest(cut: &CollectionCut, copied: &Path, at_ms: i64) -> RowDigest {
    cut.segments
        .iter()
        .map(|segment| keys(cut, segment, copied, at_ms).digest())
        .fold(RowDigest::default(), RowDigest::plus)
}

/// Digest of the values of a field in all segments.
pub(crate) fn value_digest(
    cut: &CollectionCut,
    field: &FieldDescription,
    copied: &Path,
    at_ms: i64,
    wanted: RowChoice,
) -> RowDigest {
    let mut digest = RowDigest::default();
    for segment in &cut.segments {
        let keys = keys(cut, segment, copied, at_ms);
        let mut first_row = 0;
        let directory =
            copied.join(segment_path(cut, segment, "insert_log")).join(field.field_id.to_string());
        for file in files(&directory) {
            let part = MilvusBinlogReader.field_values(&keys, field, first_row, &file, wanted).unwrap();
            first_row += part.rows_in_file;
            digest = digest.plus(part.values);
        }
        assert_eq!(first_row, keys.rows.len(), "{}", field.name);
    }
    digest
}
