//! Milvus's data types and how their values lie in Parquet.

use super::unsupported;
use milvault_domain::error::PortResult;
use milvault_domain::milvus::FieldDescription;
use parquet::basic::Type as Physical;

/// The field that keeps when a row was written.
pub(super) const TIMESTAMP_FIELD_ID: i64 = 1;
/// The timestamps' type.
pub(super) const TIMESTAMPS: ValueType = ValueType::new(5, &[Physical::INT64]);
/// How a delta log's records are stored.
pub(super) const DELETE_RECORDS: &[Physical] = BYTES;

/// An old name of `VarChar`.
const STRING: i32 = 20;
const VARCHAR: i32 = 21;
const BYTES: &[Physical] = &[Physical::BYTE_ARRAY];
/// Dense vectors have a fixed length; where they may be null (2.6 and later) they lie as bytes of any length.
const VECTOR: &[Physical] = &[Physical::FIXED_LEN_BYTE_ARRAY, Physical::BYTE_ARRAY];

/// How the values of a field are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueType {
    /// Milvus's number of the type.
    code: i32,
    /// Distinguishes types in hashes.
    pub(super) tag: u64,
    /// The Parquet types that it may lie in.
    pub(super) physical: &'static [Physical],
}

impl ValueType {
    const fn new(code: i32, physical: &'static [Physical]) -> Self {
        let same = if code == STRING { VARCHAR } else { code };
        Self { code, tag: same.unsigned_abs() as u64, physical }
    }

    /// The type of a field. Those after `FloatVector` are not verified against a live server.
    pub(super) fn of(field: &FieldDescription) -> PortResult<Self> {
        let (code, physical): (i32, &'static [Physical]) = match field.data_type.as_str() {
            "Bool" => (1, &[Physical::BOOLEAN]),
            "Int8" => (2, &[Physical::INT32]),
            "Int16" => (3, &[Physical::INT32]),
            "Int32" => (4, &[Physical::INT32]),
            "Int64" => (5, &[Physical::INT64]),
            "Float" => (10, &[Physical::FLOAT]),
            "Double" => (11, &[Physical::DOUBLE]),
            "String" => (STRING, BYTES),
            "VarChar" => (VARCHAR, BYTES),
            "Array" => (22, BYTES),
            "JSON" => (23, BYTES),
            "BinaryVector" => (100, VECTOR),
            "FloatVector" => (101, VECTOR),
            "Geometry" => (24, BYTES),
            "Text" => (25, BYTES),
            "Timestamptz" => (26, &[Physical::INT64]),
            "Float16Vector" => (102, VECTOR),
            "BFloat16Vector" => (103, VECTOR),
            "SparseFloatVector" => (104, BYTES),
            "Int8Vector" => (105, VECTOR),
            other => return Err(unsupported(format!("values of type {other} cannot be compared"))),
        };
        Ok(Self::new(code, physical))
    }

    /// Whether a binlog that says it holds values of this number holds values of this type.
    pub(super) fn is_stored_as(self, code: i32) -> bool {
        Self::new(code, self.physical).tag == self.tag
    }
}

/// Types that a primary key may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyType {
    /// 64-bit integer.
    Int64,
    /// Text.
    VarChar,
}

impl KeyType {
    pub(super) fn of(field: &FieldDescription) -> PortResult<Self> {
        match field.data_type.as_str() {
            "Int64" => Ok(Self::Int64),
            "VarChar" => Ok(Self::VarChar),
            other => Err(unsupported(format!("primary key {} is of type {other}", field.name))),
        }
    }

    pub(super) const fn value_type(self) -> ValueType {
        match self {
            Self::Int64 => ValueType::new(5, &[Physical::INT64]),
            Self::VarChar => ValueType::new(VARCHAR, BYTES),
        }
    }

    /// Milvus's number of the type.
    pub(super) const fn code(self) -> i32 {
        self.value_type().code
    }
}
