//! The schema as Milvus's own protobuf, which is what a cut carries.
//!
//! The messages are those of Milvus's public `schema.proto` and `common.proto`, with the field numbers given there, as
//! far as milvus-backup keeps them.

use super::meta::{FieldMeta, FunctionMeta, Lenient, Pair, SchemaMeta, StructArrayMeta};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct CollectionSchema {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(bool, tag = "3")]
    pub(super) auto_id: bool,
    #[prost(message, repeated, tag = "4")]
    pub(super) fields: Vec<FieldSchema>,
    #[prost(bool, tag = "5")]
    pub(super) enable_dynamic_field: bool,
    #[prost(message, repeated, tag = "6")]
    pub(super) properties: Vec<KeyValuePair>,
    #[prost(message, repeated, tag = "7")]
    pub(super) functions: Vec<FunctionSchema>,
    #[prost(message, repeated, tag = "9")]
    pub(super) struct_array_fields: Vec<StructArrayFieldSchema>,
}

#[derive(Clone, PartialEq, Message)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent attributes of Milvus's own schema")]
pub(super) struct FieldSchema {
    #[prost(int64, tag = "1")]
    pub(super) field_id: i64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(bool, tag = "3")]
    pub(super) is_primary_key: bool,
    #[prost(string, tag = "4")]
    pub(super) description: String,
    #[prost(int32, tag = "5")]
    pub(super) data_type: i32,
    #[prost(message, repeated, tag = "6")]
    pub(super) type_params: Vec<KeyValuePair>,
    #[prost(message, repeated, tag = "7")]
    pub(super) index_params: Vec<KeyValuePair>,
    #[prost(bool, tag = "8")]
    pub(super) auto_id: bool,
    #[prost(int32, tag = "9")]
    pub(super) state: i32,
    #[prost(int32, tag = "10")]
    pub(super) element_type: i32,
    /// A message of its own, kept as it was encoded: on the wire that is the same.
    #[prost(bytes = "vec", optional, tag = "11")]
    pub(super) default_value: Option<Vec<u8>>,
    #[prost(bool, tag = "12")]
    pub(super) is_dynamic: bool,
    #[prost(bool, tag = "13")]
    pub(super) is_partition_key: bool,
    #[prost(bool, tag = "14")]
    pub(super) is_clustering_key: bool,
    #[prost(bool, tag = "15")]
    pub(super) nullable: bool,
    #[prost(bool, tag = "16")]
    pub(super) is_function_output: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionSchema {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "2")]
    pub(super) id: i64,
    #[prost(string, tag = "3")]
    pub(super) description: String,
    #[prost(int32, tag = "4")]
    pub(super) kind: i32,
    #[prost(string, repeated, tag = "5")]
    pub(super) input_field_names: Vec<String>,
    #[prost(int64, repeated, tag = "6")]
    pub(super) input_field_ids: Vec<i64>,
    #[prost(string, repeated, tag = "7")]
    pub(super) output_field_names: Vec<String>,
    #[prost(int64, repeated, tag = "8")]
    pub(super) output_field_ids: Vec<i64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) params: Vec<KeyValuePair>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StructArrayFieldSchema {
    #[prost(int64, tag = "1")]
    pub(super) field_id: i64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) description: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) fields: Vec<FieldSchema>,
    #[prost(message, repeated, tag = "5")]
    pub(super) type_params: Vec<KeyValuePair>,
    #[prost(bool, tag = "6")]
    pub(super) nullable: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValuePair {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// The schema's protobuf.
///
/// # Errors
/// What is wrong with the collection, to be said behind its name.
pub(super) fn encode(schema: &SchemaMeta) -> Result<Vec<u8>, String> {
    let schema = CollectionSchema {
        name: schema.name.clone(),
        description: schema.description.clone(),
        auto_id: schema.auto_id,
        fields: schema.fields.iter().map(field).collect::<Result<_, _>>()?,
        enable_dynamic_field: schema.enable_dynamic_field,
        properties: pairs(&schema.properties),
        functions: schema.functions.iter().map(function).collect(),
        struct_array_fields: schema.struct_array_fields.iter().map(struct_array).collect::<Result<_, _>>()?,
    };
    Ok(schema.encode_to_vec())
}

fn field(meta: &FieldMeta) -> Result<FieldSchema, String> {
    Ok(FieldSchema {
        field_id: meta.field_id,
        name: meta.name.clone(),
        is_primary_key: meta.is_primary_key,
        description: meta.description.clone(),
        data_type: meta.data_type,
        type_params: pairs(&meta.type_params),
        index_params: pairs(&meta.index_params),
        auto_id: meta.auto_id,
        state: meta.state,
        element_type: meta.element_type,
        default_value: default_value(meta)?,
        is_dynamic: meta.is_dynamic,
        is_partition_key: meta.is_partition_key,
        is_clustering_key: meta.is_clustering_key,
        nullable: meta.nullable,
        is_function_output: meta.is_function_output,
    })
}

fn default_value(meta: &FieldMeta) -> Result<Option<Vec<u8>>, String> {
    let name = &meta.name;
    if !meta.default_value_base64.is_empty() {
        let decoded = STANDARD.decode(&meta.default_value_base64).map(Some);
        return decoded.map_err(|_| {
            format!("has a field `{name}` whose default value cannot be read (`default_value_base64`)")
        });
    }
    if meta.default_value_proto.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!(
            "has a field `{name}` whose default value is lost: what this version of milvus-backup wrote into \
             `default_value_proto` is not what Milvus has; back up again with a version that writes \
             `default_value_base64`"
        ));
    }
    Ok(Some(meta.default_value_proto.clone().into_bytes()).filter(|bytes| !bytes.is_empty()))
}

fn function(meta: &FunctionMeta) -> FunctionSchema {
    let ids = |ids: &[Lenient]| ids.iter().map(|id| id.0).collect();
    FunctionSchema {
        name: meta.name.clone(),
        id: meta.id,
        description: meta.description.clone(),
        kind: meta.kind,
        input_field_names: meta.input_field_names.clone(),
        input_field_ids: ids(&meta.input_field_ids),
        output_field_names: meta.output_field_names.clone(),
        output_field_ids: ids(&meta.output_field_ids),
        params: pairs(&meta.params),
    }
}

fn struct_array(meta: &StructArrayMeta) -> Result<StructArrayFieldSchema, String> {
    Ok(StructArrayFieldSchema {
        field_id: meta.field_id,
        name: meta.name.clone(),
        description: meta.description.clone(),
        fields: meta.fields.iter().map(field).collect::<Result<_, _>>()?,
        type_params: pairs(&meta.type_params),
        nullable: meta.nullable,
    })
}

fn pairs(pairs: &[Pair]) -> Vec<KeyValuePair> {
    pairs.iter().map(|pair| KeyValuePair { key: pair.key.clone(), value: pair.value.clone() }).collect()
}

/// A data type as Milvus's protobuf spells it.
pub(super) fn type_name(data_type: i32) -> String {
    let name = match data_type {
        0 => "None",
        1 => "Bool",
        2 => "Int8",
        3 => "Int16",
        4 => "Int32",
        5 => "Int64",
        10 => "Float",
        11 => "Double",
        20 => "String",
        21 => "VarChar",
        22 => "Array",
        23 => "JSON",
        24 => "Geometry",
        25 => "Text",
        26 => "Timestamptz",
        100 => "BinaryVector",
        101 => "FloatVector",
        102 => "Float16Vector",
        103 => "BFloat16Vector",
        104 => "SparseFloatVector",
        105 => "Int8Vector",
        106 => "ArrayOfVector",
        200 => "ArrayOfStruct",
        201 => "Struct",
        other => return format!("Unknown({other})"),
    };
    name.to_owned()
}
