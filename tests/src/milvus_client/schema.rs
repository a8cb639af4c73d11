//! Collections to be created, in few words.

use super::pairs;
use milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};

/// A collection to be created.
#[derive(Debug, Clone)]
pub struct CollectionSpec {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Fields.
    pub fields: Vec<FieldSpec>,
    /// Whether rows may carry fields outside the schema.
    pub dynamic_field: bool,
    /// Number of shards.
    pub shard_count: i32,
    /// Partitions to spread the values of the partition key over; 0 without a partition key.
    pub partition_key_partitions: i64,
}

/// A field of a collection to be created.
#[derive(Debug, Clone)]
pub struct FieldSpec(FieldSchema);

impl FieldSpec {
    /// A 64-bit integer.
    #[must_use]
    pub fn int64(name: &str) -> Self {
        Self::of_type(name, DataType::Int64, &[])
    }

    /// An integer of 8, 16 or 32 bits.
    ///
    /// # Panics
    /// Another width was asked for.
    #[must_use]
    pub fn small_integer(name: &str, bits: u8) -> Self {
        let data_type = match bits {
            8 => DataType::Int8,
            16 => DataType::Int16,
            32 => DataType::Int32,
            _ => panic!("Milvus has no small integers of {bits} bits"),
        };
        Self::of_type(name, data_type, &[])
    }

    /// A float.
    #[must_use]
    pub fn float(name: &str) -> Self {
        Self::of_type(name, DataType::Float, &[])
    }

    /// A double.
    #[must_use]
    pub fn double(name: &str) -> Self {
        Self::of_type(name, DataType::Double, &[])
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(name: &str) -> Self {
        Self::of_type(name, DataType::Bool, &[])
    }

    /// A text of at most so many bytes.
    #[must_use]
    pub fn varchar(name: &str, bytes_max: u32) -> Self {
        Self::of_type(name, DataType::VarChar, &[("max_length", &bytes_max.to_string())])
    }

    /// A JSON document.
    #[must_use]
    pub fn json(name: &str) -> Self {
        Self::of_type(name, DataType::Json, &[])
    }

    /// An array of at most so many 64-bit integers.
    #[must_use]
    pub fn int64_array(name: &str, capacity: u32) -> Self {
        let mut field = Self::of_type(name, DataType::Array, &[("max_capacity", &capacity.to_string())]);
        field.0.set_element_type(DataType::Int64);
        field
    }

    /// An array of at most so many texts of at most 64 bytes.
    #[must_use]
    pub fn varchar_array(name: &str, capacity: u32) -> Self {
        let params = [("max_capacity", &*capacity.to_string()), ("max_length", "64")];
        let mut field = Self::of_type(name, DataType::Array, &params);
        field.0.set_element_type(DataType::VarChar);
        field
    }

    /// A vector of so many bits, a multiple of 8.
    #[must_use]
    pub fn binary_vector(name: &str, dimension: usize) -> Self {
        Self::of_type(name, DataType::BinaryVector, &[("dim", &dimension.to_string())])
    }

    /// A vector of so many floats.
    #[must_use]
    pub fn float_vector(name: &str, dimension: usize) -> Self {
        Self::of_type(name, DataType::FloatVector, &[("dim", &dimension.to_string())])
    }

    /// Makes it the primary key, with values given by the caller.
    #[must_use]
    pub fn primary_key(mut self) -> Self {
        self.0.is_primary_key = true;
        self
    }

    /// Makes it the primary key, with values made by Milvus.
    #[must_use]
    pub fn automatic_primary_key(mut self) -> Self {
        self.0.is_primary_key = true;
        self.0.auto_id = true;
        self
    }

    /// Makes Milvus spread the rows over partitions by it.
    #[must_use]
    pub fn partition_key(mut self) -> Self {
        self.0.is_partition_key = true;
        self
    }

    fn of_type(name: &str, data_type: DataType, params: &[(&str, &str)]) -> Self {
        Self(FieldSchema {
            name: name.to_owned(),
            data_type: data_type.into(),
            type_params: pairs(params),
            ..Default::default()
        })
    }
}

impl CollectionSpec {
    pub(super) fn to_schema(&self) -> CollectionSchema {
        CollectionSchema {
            name: self.name.clone(),
            description: self.description.clone(),
            fields: self.fields.iter().map(|field| field.0.clone()).collect(),
            enable_dynamic_field: self.dynamic_field,
            ..Default::default()
        }
    }
}
