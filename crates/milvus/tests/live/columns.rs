//! Columns of rows to insert.

use milvus::proto::schema::field_data::Field;
use milvus::proto::schema::{
    ArrayArray, BoolArray, DataType, DoubleArray, FieldData, FloatArray, IntArray, JsonArray, LongArray,
    ScalarField, StringArray, VectorField, scalar_field, vector_field,
};

fn scalar(name: &str, data_type: DataType, data: scalar_field::Data) -> FieldData {
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field: Some(Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

fn vector(name: &str, data_type: DataType, dim: i64, data: vector_field::Data) -> FieldData {
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field: Some(Field::Vectors(VectorField { dim, data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

pub(crate) fn int64(name: &str, data: Vec<i64>) -> FieldData {
    scalar(name, DataType::Int64, scalar_field::Data::LongData(LongArray { data }))
}

pub(crate) fn int8(name: &str, data: Vec<i32>) -> FieldData {
    scalar(name, DataType::Int8, scalar_field::Data::IntData(IntArray { data }))
}

pub(crate) fn boolean(name: &str, data: Vec<bool>) -> FieldData {
    scalar(name, DataType::Bool, scalar_field::Data::BoolData(BoolArray { data }))
}

pub(crate) fn float(name: &str, data: Vec<f32>) -> FieldData {
    scalar(name, DataType::Float, scalar_field::Data::FloatData(FloatArray { data }))
}

pub(crate) fn double(name: &str, data: Vec<f64>) -> FieldData {
    scalar(name, DataType::Double, scalar_field::Data::DoubleData(DoubleArray { data }))
}

pub(crate) fn varchar(name: &str, data: Vec<String>) -> FieldData {
    scalar(name, DataType::VarChar, scalar_field::Data::StringData(StringArray { data }))
}

pub(crate) fn json(name: &str, documents: &[String]) -> FieldData {
    let data = documents.iter().map(|document| document.as_bytes().to_vec()).collect();
    scalar(name, DataType::Json, scalar_field::Data::JsonData(JsonArray { data }))
}

/// Fields outside the schema.
pub(crate) fn dynamic(documents: &[String]) -> FieldData {
    FieldData { is_dynamic: true, ..json("", documents) }
}

pub(crate) fn int32_arrays(name: &str, arrays: Vec<Vec<i32>>) -> FieldData {
    let row = |data| ScalarField {
        data: Some(scalar_field::Data::IntData(IntArray { data })),
        ..Default::default()
    };
    let data =
        ArrayArray { data: arrays.into_iter().map(row).collect(), element_type: DataType::Int32.into() };
    scalar(name, DataType::Array, scalar_field::Data::ArrayData(data))
}

pub(crate) fn float_vectors(name: &str, dim: i64, data: Vec<f32>) -> FieldData {
    vector(name, DataType::FloatVector, dim, vector_field::Data::FloatVector(FloatArray { data }))
}

pub(crate) fn binary_vectors(name: &str, dim: i64, data: Vec<u8>) -> FieldData {
    vector(name, DataType::BinaryVector, dim, vector_field::Data::BinaryVector(data))
}
