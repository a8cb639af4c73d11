//! `full_meta.json` of milvus-backup and the level files beside it, as far as a restore needs them.
//!
//! Keys are protobuf field names, enums are integers, zero values are left out, and numbers of 64 bits are written as
//! numbers by some versions and as strings by JSON writers that fear for their precision. Unknown keys are passed
//! over: every version of the tool adds some.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, Unexpected, Visitor};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BackupMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    /// What holds the rows. Left out for binlogs.
    #[serde(deserialize_with = "or_default")]
    pub(super) format: String,
    /// 2 is success. Versions from 0.5 on leave it at 0, since they write the file when everything else is done.
    #[serde(deserialize_with = "integer")]
    pub(super) state_code: i64,
    #[serde(rename = "errorMessage", deserialize_with = "or_default")]
    pub(super) error_message: String,
    /// Milliseconds since 1970 UTC; versions before 0.5 only.
    #[serde(deserialize_with = "integer")]
    pub(super) start_time: i64,
    /// Milliseconds since 1970 UTC; versions before 0.5 only.
    #[serde(deserialize_with = "integer")]
    pub(super) end_time: i64,
    #[serde(deserialize_with = "integer")]
    pub(super) size: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) milvus_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) collection_backups: Vec<CollectionMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) database_backups: Vec<DatabaseMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) rbac_meta: Option<AccessMeta>,
    /// Whether there is a key that protobuf's own JSON would have: all keys that count would be passed over.
    #[serde(rename = "collectionBackups", deserialize_with = "present")]
    pub(super) camel_case: bool,
}

/// A level file: all that the backup has of one kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LevelMeta<T> {
    #[serde(deserialize_with = "or_default", bound(deserialize = "T: Deserialize<'de>"))]
    pub(super) infos: Vec<T>,
}

/// A database.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DatabaseMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) db_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) properties: Vec<Pair>,
}

/// A collection.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CollectionMeta {
    #[serde(deserialize_with = "integer")]
    pub(super) collection_id: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) db_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) collection_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) schema: Option<SchemaMeta>,
    #[serde(deserialize_with = "integer")]
    pub(super) shards_num: i32,
    #[serde(deserialize_with = "integer")]
    pub(super) consistency_level: i32,
    #[serde(deserialize_with = "or_default")]
    pub(super) partition_backups: Vec<PartitionMeta>,
    /// Latest checkpoint of the channels as a hybrid timestamp, or the second of the flush in its place; missing where
    /// Milvus did not tell it.
    #[serde(deserialize_with = "unsigned")]
    pub(super) backup_timestamp: u64,
    /// Seconds since 1970 UTC of the flush.
    #[serde(deserialize_with = "unsigned")]
    pub(super) backup_physical_timestamp: u64,
    #[serde(deserialize_with = "integer")]
    pub(super) size: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) index_infos: Vec<IndexMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) load_state: String,
    /// Segments that hold deletes of all partitions.
    #[serde(deserialize_with = "or_default")]
    pub(super) l0_segments: Vec<SegmentMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) properties: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) virtual_channel_names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) aliases: Vec<String>,
    /// Keys that are not known here.
    #[serde(flatten)]
    #[allow(clippy::zero_sized_map_values, reason = "serde flattens maps only")]
    pub(super) others: HashMap<String, IgnoredAny>,
}

/// A partition.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartitionMeta {
    #[serde(deserialize_with = "integer")]
    pub(super) collection_id: i64,
    #[serde(deserialize_with = "integer")]
    pub(super) partition_id: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) partition_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) segment_backups: Vec<SegmentMeta>,
}

/// A segment.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SegmentMeta {
    #[serde(deserialize_with = "integer")]
    pub(super) collection_id: i64,
    #[serde(deserialize_with = "integer")]
    pub(super) partition_id: i64,
    #[serde(deserialize_with = "integer")]
    pub(super) segment_id: i64,
    #[serde(deserialize_with = "integer")]
    pub(super) num_of_rows: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) binlogs: Vec<FieldLogs>,
    #[serde(deserialize_with = "or_default")]
    pub(super) deltalogs: Vec<FieldLogs>,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_l0: bool,
    /// 0 and 1 are binlogs.
    #[serde(deserialize_with = "integer")]
    pub(super) storage_version: i64,
}

/// The files of one field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FieldLogs {
    #[serde(rename = "fieldID", deserialize_with = "integer")]
    pub(super) field_id: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) binlogs: Vec<LogMeta>,
}

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogMeta {
    /// Where it was in Milvus's storage. Its last part is the log's id.
    #[serde(deserialize_with = "or_default")]
    pub(super) log_path: String,
    #[serde(deserialize_with = "integer")]
    pub(super) log_id: i64,
}

impl LogMeta {
    /// The log's id. Versions before 2025 have it only in the path.
    pub(super) fn id(&self) -> i64 {
        self.log_path.rsplit('/').next().and_then(|name| name.parse().ok()).unwrap_or(self.log_id)
    }
}

/// An index.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IndexMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) field_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) index_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) index_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) params: BTreeMap<String, String>,
}

/// A collection's schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SchemaMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(rename = "autoID", deserialize_with = "or_default")]
    pub(super) auto_id: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) fields: Vec<FieldMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) enable_dynamic_field: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) properties: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) functions: Vec<FunctionMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) struct_array_fields: Vec<StructArrayMeta>,
}

/// A field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent attributes of Milvus's own schema")]
pub(super) struct FieldMeta {
    #[serde(rename = "fieldID", deserialize_with = "integer")]
    pub(super) field_id: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_primary_key: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(deserialize_with = "integer")]
    pub(super) data_type: i32,
    #[serde(deserialize_with = "or_default")]
    pub(super) type_params: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) index_params: Vec<Pair>,
    #[serde(rename = "autoID", deserialize_with = "or_default")]
    pub(super) auto_id: bool,
    #[serde(deserialize_with = "integer")]
    pub(super) state: i32,
    #[serde(deserialize_with = "integer")]
    pub(super) element_type: i32,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_dynamic: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_partition_key: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_clustering_key: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) nullable: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_function_output: bool,
    /// The protobuf of the default value.
    #[serde(deserialize_with = "or_default")]
    pub(super) default_value_base64: String,
    /// The same as text, in older versions: bytes that are no text did not survive.
    #[serde(deserialize_with = "or_default")]
    pub(super) default_value_proto: String,
}

/// A function that fills fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "integer")]
    pub(super) id: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(rename = "type", deserialize_with = "integer")]
    pub(super) kind: i32,
    #[serde(deserialize_with = "or_default")]
    pub(super) input_field_names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) input_field_ids: Vec<Lenient>,
    #[serde(deserialize_with = "or_default")]
    pub(super) output_field_names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) output_field_ids: Vec<Lenient>,
    #[serde(deserialize_with = "or_default")]
    pub(super) params: Vec<Pair>,
}

/// A field of structures.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StructArrayMeta {
    #[serde(rename = "fieldID", deserialize_with = "integer")]
    pub(super) field_id: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) fields: Vec<FieldMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) type_params: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) nullable: bool,
}

/// A name with a value.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    #[serde(deserialize_with = "or_default")]
    pub(super) key: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: String,
}

/// Users, roles and grants. Passwords are in the file too, encrypted; they are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccessMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) users: Vec<UserMeta>,
    #[serde(deserialize_with = "or_default")]
    pub(super) roles: Vec<Named>,
    #[serde(deserialize_with = "or_default")]
    pub(super) grants: Vec<GrantMeta>,
    /// Groups of privileges that people made. Only their number is of interest.
    #[serde(deserialize_with = "or_default")]
    pub(super) privilege_groups: Vec<IgnoredAny>,
}

/// A user.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) roles: Vec<Named>,
}

/// Something that only has a name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
}

/// A grant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GrantMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) role: Named,
    #[serde(deserialize_with = "or_default")]
    pub(super) object: Named,
    #[serde(deserialize_with = "or_default")]
    pub(super) object_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) grantor: GrantorMeta,
    #[serde(deserialize_with = "or_default")]
    pub(super) db_name: String,
}

/// Who granted what.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GrantorMeta {
    #[serde(deserialize_with = "or_default")]
    pub(super) user: Named,
    #[serde(deserialize_with = "or_default")]
    pub(super) privilege: Named,
}

/// A number that may be written as a string.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Lenient(#[serde(deserialize_with = "integer")] pub(super) i64);

fn integer<'de, D: Deserializer<'de>, T: TryFrom<i128> + Default>(deserializer: D) -> Result<T, D::Error> {
    let Some(number) = deserializer.deserialize_any(NumberVisitor)? else {
        return Ok(T::default());
    };
    T::try_from(number).map_err(|_| D::Error::custom(format!("the number {number} is out of range")))
}

fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    integer(deserializer)
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Reads a number, a number in a string, or nothing.
struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Option<i128>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number, which may be in quotes")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
