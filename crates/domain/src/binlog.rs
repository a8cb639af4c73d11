//! Keys of the files that Milvus writes, below its root path.
//!
//! Layout of the binlog format, Milvus 2.2 to 2.6 (run on 2.3.5):
//! `insert_log/<collection>/<partition>/<segment>/<field>/<log>` and
//! `delta_log/<collection>/<partition, -1 for all>/<segment>/<log>`. Statistics and index files are not part of a
//! backup: Milvus makes them again when rows are imported.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a binlog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BinlogKind {
    /// Inserted values of one field.
    Insert,
    /// Deleted keys with their timestamps.
    Delta,
}

impl BinlogKind {
    /// Name of the directory below the root path.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Insert => "insert_log",
            Self::Delta => "delta_log",
        }
    }
}

/// The key of one binlog file. Milvus never reuses a key, so it identifies the content within a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BinlogKey {
    /// Insert or delta log.
    pub kind: BinlogKind,
    /// Milvus's collection id.
    pub collection_id: i64,
    /// Milvus's partition id; -1 stands for all partitions (delta logs of newer versions).
    pub partition_id: i64,
    /// Milvus's segment id.
    pub segment_id: i64,
    /// Field id: 0 is the row id, 1 the timestamp, user fields from 100. 0 for delta logs, which have none.
    pub field_id: i64,
    /// Milvus's log id.
    pub log_id: i64,
}

impl BinlogKey {
    /// Reads a key relative to Milvus's root path. Anything of another shape is `None`: stores hold other files too.
    #[must_use]
    pub fn parse(relative_key: &str) -> Option<Self> {
        let mut parts = relative_key.split('/');
        let kind = match parts.next()? {
            "insert_log" => BinlogKind::Insert,
            "delta_log" => BinlogKind::Delta,
            _ => return None,
        };
        let mut number = || parse_id(parts.next()?);
        let (collection_id, partition_id, segment_id) = (number()?, number()?, number()?);
        let field_id = if kind == BinlogKind::Insert { number()? } else { 0 };
        let log_id = number()?;
        if parts.next().is_some() {
            return None;
        }
        Some(Self { kind, collection_id, partition_id, segment_id, field_id, log_id })
    }
}

/// Only the canonical decimal form, so that printing a parsed key gives back the same key.
fn parse_id(text: &str) -> Option<i64> {
    let canonical = matches!(text.as_bytes(), [b'0'] | [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..]);
    let number: i64 = text.parse().ok()?;
    (canonical && -1 <= number).then_some(number)
}

impl fmt::Display for BinlogKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, collection_id, partition_id, segment_id, field_id, log_id } = self;
        let directory = kind.directory();
        write!(formatter, "{directory}/{collection_id}/{partition_id}/{segment_id}/")?;
        match kind {
            BinlogKind::Insert => write!(formatter, "{field_id}/{log_id}"),
            BinlogKind::Delta => write!(formatter, "{log_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_and_print_back() {
        for text in ["insert_log/449/450/451/100/7", "delta_log/449/450/451/8", "delta_log/449/-1/451/8"] {
            assert_eq!(BinlogKey::parse(text).map(|key| key.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn other_files_are_not_binlogs() {
        for text in [
            "stats_log/1/2/3/100/4",
            "insert_log/1/2/3/4",
            "insert_log/1/2/3/4/5/6",
            "insert_log/1/2/3/4/x",
            "insert_log/01/2/3/4/5",
            "insert_log/+1/2/3/4/5",
            "insert_log/-0/2/3/4/5",
            "insert_log/../2/3/4/5",
            "delta_log/1/2/3/4/5",
            "delta_log/1/-2/3/4",
            "",
        ] {
            assert_eq!(BinlogKey::parse(text), None, "{text}");
        }
    }
}
