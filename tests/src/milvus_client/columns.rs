//! Rows as columns, in the form that Milvus takes them.

use anyhow::{Context as _, bail, ensure};
use milvus::proto::schema::{
    ArrayArray, BoolArray, DataType, DoubleArray, FieldData, FloatArray, IDs, IntArray, JsonArray, LongArray,
    ScalarField, StringArray, VectorField, field_data, i_ds, scalar_field, vector_field,
};

/// The values of one field for some rows.
#[derive(Debug, Clone)]
pub struct Column {
    /// Field.
    pub name: String,
    /// Values, one per row.
    pub values: ColumnValues,
}

/// Values of a column.
#[derive(Debug, Clone)]
pub enum ColumnValues {
    /// 64-bit integers.
    Int64(Vec<i64>),
    /// Integers of 8, 16 or 32 bits.
    SmallInteger {
        /// Which of them.
        bits: u8,
        /// Values.
        values: Vec<i32>,
    },
    /// Floats.
    Float(Vec<f32>),
    /// Doubles.
    Double(Vec<f64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Texts.
    VarChar(Vec<String>),
    /// JSON documents.
    Json(Vec<String>),
    /// JSON objects with the fields outside the schema; the column's name does not matter.
    Dynamic(Vec<String>),
    /// Arrays of 64-bit integers.
    Int64Array(Vec<Vec<i64>>),
    /// Arrays of texts.
    VarCharArray(Vec<Vec<String>>),
    /// Bit vectors, one after the other.
    BinaryVector {
        /// Bits of one vector.
        dimension: usize,
        /// All bytes.
        bytes: Vec<u8>,
    },
    /// Vectors, one after the other.
    FloatVector {
        /// Floats of one vector.
        dimension: usize,
        /// All floats.
        values: Vec<f32>,
    },
}

impl Column {
    /// Names values.
    #[must_use]
    pub fn new(name: &str, values: ColumnValues) -> Self {
        Self { name: name.to_owned(), values }
    }

    fn row_count(&self) -> usize {
        match &self.values {
            ColumnValues::Int64(values) => values.len(),
            ColumnValues::SmallInteger { values, .. } => values.len(),
            ColumnValues::Float(values) => values.len(),
            ColumnValues::Double(values) => values.len(),
            ColumnValues::Bool(values) => values.len(),
            ColumnValues::VarChar(values) | ColumnValues::Json(values) | ColumnValues::Dynamic(values) => {
                values.len()
            }
            ColumnValues::Int64Array(values) => values.len(),
            ColumnValues::VarCharArray(values) => values.len(),
            ColumnValues::BinaryVector { dimension, bytes } => bytes.len() / (dimension / 8),
            ColumnValues::FloatVector { dimension, values } => values.len() / dimension,
        }
    }

    pub(super) fn to_field_data(&self) -> FieldData {
        let (data_type, field) = self.values.to_proto();
        FieldData {
            r#type: data_type.into(),
            field_name: self.name.clone(),
            is_dynamic: matches!(self.values, ColumnValues::Dynamic(_)),
            field: Some(field),
            ..Default::default()
        }
    }
}

impl ColumnValues {
    fn to_proto(&self) -> (DataType, field_data::Field) {
        let (data_type, data) = match self {
            Self::FloatVector { dimension, values } => {
                let data = vector_field::Data::FloatVector(FloatArray { data: values.clone() });
                let dim = i64::try_from(*dimension).unwrap_or(i64::MAX);
                let vectors = VectorField { dim, data: Some(data), ..Default::default() };
                return (DataType::FloatVector, field_data::Field::Vectors(vectors));
            }
            Self::BinaryVector { dimension, bytes } => {
                let data = vector_field::Data::BinaryVector(bytes.clone());
                let dim = i64::try_from(*dimension).unwrap_or(i64::MAX);
                let vectors = VectorField { dim, data: Some(data), ..Default::default() };
                return (DataType::BinaryVector, field_data::Field::Vectors(vectors));
            }
            Self::Int64(values) => (DataType::Int64, longs(values)),
            Self::SmallInteger { bits, values } => {
                let data_type = match bits {
                    8 => DataType::Int8,
                    16 => DataType::Int16,
                    _ => DataType::Int32,
                };
                (data_type, scalar_field::Data::IntData(IntArray { data: values.clone() }))
            }
            Self::Float(values) => {
                (DataType::Float, scalar_field::Data::FloatData(FloatArray { data: values.clone() }))
            }
            Self::Double(values) => {
                (DataType::Double, scalar_field::Data::DoubleData(DoubleArray { data: values.clone() }))
            }
            Self::Bool(values) => {
                (DataType::Bool, scalar_field::Data::BoolData(BoolArray { data: values.clone() }))
            }
            Self::VarChar(values) => {
                (DataType::VarChar, scalar_field::Data::StringData(StringArray { data: values.clone() }))
            }
            Self::Json(texts) | Self::Dynamic(texts) => {
                let data = texts.iter().map(|text| text.clone().into_bytes()).collect();
                (DataType::Json, scalar_field::Data::JsonData(JsonArray { data }))
            }
            Self::Int64Array(arrays) => {
                let element =
                    |array: &Vec<i64>| ScalarField { data: Some(longs(array)), ..Default::default() };
                let data = arrays.iter().map(element).collect();
                let arrays = ArrayArray { data, element_type: DataType::Int64.into() };
                (DataType::Array, scalar_field::Data::ArrayData(arrays))
            }
            Self::VarCharArray(arrays) => {
                let element = |array: &Vec<String>| {
                    let texts = StringArray { data: array.clone() };
                    ScalarField { data: Some(scalar_field::Data::StringData(texts)), ..Default::default() }
                };
                let data = arrays.iter().map(element).collect();
                let arrays = ArrayArray { data, element_type: DataType::VarChar.into() };
                (DataType::Array, scalar_field::Data::ArrayData(arrays))
            }
        };
        (data_type, field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() }))
    }
}

fn longs(values: &[i64]) -> scalar_field::Data {
    scalar_field::Data::LongData(LongArray { data: values.to_vec() })
}

/// Rows of the columns, which all have the same number.
pub(super) fn row_count(columns: &[Column]) -> anyhow::Result<u32> {
    let count = columns.first().context("no columns given")?.row_count();
    for column in columns {
        ensure!(column.row_count() == count, "column {} has another number of rows", column.name);
    }
    Ok(u32::try_from(count)?)
}

/// Primary keys of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// 64-bit integers.
    Int64(Vec<i64>),
    /// Texts.
    VarChar(Vec<String>),
}

impl Keys {
    pub(super) fn from_proto(ids: Option<IDs>) -> anyhow::Result<Self> {
        match ids.and_then(|ids| ids.id_field) {
            Some(i_ds::IdField::IntId(keys)) => Ok(Self::Int64(keys.data)),
            Some(i_ds::IdField::StrId(keys)) => Ok(Self::VarChar(keys.data)),
            Some(i_ds::IdField::UuidId(_)) => bail!("keys of type UUID are not supported here"),
            None => bail!("the answer has no keys"),
        }
    }
}
