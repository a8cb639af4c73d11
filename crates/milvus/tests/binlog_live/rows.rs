//! Rows of all types, written, changed and deleted before and after a cut.

use crate::server::{Server, unique};
use milvus::proto::common::KeyValuePair;
use milvus::proto::schema::field_data::Field;
use milvus::proto::schema::{
    ArrayArray, BoolArray, CollectionSchema, DataType, DoubleArray, FieldData, FieldSchema, FloatArray,
    IntArray, JsonArray, LongArray, ScalarField, StringArray, VectorField, scalar_field::Data, vector_field,
};
use std::ops::Range;

const PARTITION: &str = "other";
const BITS: i64 = 64;
const NUMBERS: i64 = 16;

/// Types of primary keys; integers come with float vectors, texts with binary ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Int64,
    VarChar,
}

/// One collection, and how many rows it has.
pub(crate) struct Workload {
    server: Server,
    keys: Keys,
    pub(crate) name: String,
    rows: u64,
}

impl Workload {
    pub(crate) async fn start(server: &Server, keys: Keys) -> Self {
        let name = unique("digests");
        server.create(schema(keys, &name), PARTITION).await;
        Self { server: server.clone(), keys, name, rows: 0 }
    }

    pub(crate) fn row_count(&self) -> u64 {
        self.rows
    }

    pub(crate) async fn before_the_cut(&mut self) {
        self.insert("", 0..1500, 1).await;
        self.insert(PARTITION, 1500..2500, 1).await;
        self.upsert("", 100..200, 2).await;
        self.delete(&[3, 4, 5, 1501]).await;
        self.insert("", 4..5, 3).await;
        self.server.flush(&self.name).await;
        self.insert("", 2500..2700, 1).await;
        // Duplicates of keys of the first flush and of this one.
        self.insert("", 10..13, 4).await;
        self.insert("", 2600..2602, 4).await;
        self.upsert("", 150..160, 5).await;
        self.upsert("", 150..155, 6).await;
        self.delete(&[700, 2601, 2601]).await;
        // Two rows had that key.
        self.rows -= 1;
    }

    pub(crate) async fn after_the_cut(&mut self) {
        self.upsert("", 1000..1100, 7).await;
        self.delete(&[0, 1, 2, 1600]).await;
        self.insert("", 3000..3010, 1).await;
        self.server.flush(&self.name).await;
        // Flushed before it returns, so that its deletes are in the files of the segments of the cut.
        crate::take_cut(&self.server, &self.name).await;
    }

    async fn insert(&mut self, partition: &str, ids: Range<i32>, version: i32) {
        let (columns, rows) = self.columns(ids, version);
        self.server.insert(&self.name, partition, columns, rows).await;
        self.rows += u64::from(rows);
    }

    /// Of rows that are there once.
    async fn upsert(&mut self, partition: &str, ids: Range<i32>, version: i32) {
        let (columns, rows) = self.columns(ids, version);
        self.server.upsert(&self.name, partition, columns, rows).await;
    }

    /// Of rows that are there; a key that is given twice is deleted once.
    async fn delete(&mut self, ids: &[i32]) {
        let keys: Vec<String> = match self.keys {
            Keys::Int64 => ids.iter().map(ToString::to_string).collect(),
            Keys::VarChar => ids.iter().map(|id| format!("{:?}", text_key(*id))).collect(),
        };
        self.server.delete(&self.name, format!("id in [{}]", keys.join(","))).await;
        let mut distinct = ids.to_vec();
        distinct.dedup();
        self.rows -= u64::try_from(distinct.len()).unwrap();
    }

    fn columns(&self, ids: Range<i32>, version: i32) -> (Vec<FieldData>, u32) {
        let ids: Vec<i32> = ids.collect();
        (columns(self.keys, &ids, version), u32::try_from(ids.len()).unwrap())
    }
}

fn text_key(id: i32) -> String {
    format!("key <{id}> \u{e9}")
}

fn schema(keys: Keys, name: &str) -> CollectionSchema {
    let field = |name: &str, data_type: DataType| FieldSchema {
        name: name.to_owned(),
        data_type: data_type.into(),
        ..Default::default()
    };
    let with = |mut field: FieldSchema, key: &str, value: &str| {
        field.type_params.push(KeyValuePair { key: key.to_owned(), value: value.to_owned() });
        field
    };
    let (key, vector) = match keys {
        Keys::Int64 => {
            (field("id", DataType::Int64), with(field("vector", DataType::FloatVector), "dim", "16"))
        }
        Keys::VarChar => (
            with(field("id", DataType::VarChar), "max_length", "64"),
            with(field("vector", DataType::BinaryVector), "dim", "64"),
        ),
    };
    let numbers = FieldSchema { element_type: DataType::Int64.into(), ..field("numbers", DataType::Array) };
    let words = FieldSchema { element_type: DataType::VarChar.into(), ..field("words", DataType::Array) };
    CollectionSchema {
        name: name.to_owned(),
        enable_dynamic_field: true,
        fields: vec![
            FieldSchema { is_primary_key: true, ..key },
            field("flag", DataType::Bool),
            field("tiny", DataType::Int8),
            field("small", DataType::Int16),
            field("medium", DataType::Int32),
            field("large", DataType::Int64),
            field("single", DataType::Float),
            field("double", DataType::Double),
            with(field("text", DataType::VarChar), "max_length", "200"),
            field("document", DataType::Json),
            with(numbers, "max_capacity", "8"),
            with(with(words, "max_capacity", "8"), "max_length", "32"),
            vector,
        ],
        ..Default::default()
    }
}

fn scalar(name: &str, data_type: DataType, data: Data) -> FieldData {
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field: Some(Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

fn columns(keys: Keys, ids: &[i32], version: i32) -> Vec<FieldData> {
    let each = || ids.iter().copied();
    let (key, vector) = match keys {
        Keys::Int64 => (longs(each().map(i64::from)), float_vectors(ids, version)),
        Keys::VarChar => (strings(each().map(text_key)), binary_vectors(ids, version)),
    };
    let key_type = if keys == Keys::Int64 { DataType::Int64 } else { DataType::VarChar };
    // Not what a serializer would write: spaces, keys out of order, escapes, numbers with exponents.
    let document = |id| format!("{{\"v\": {version}, \"b\":[{id},1e2,-0.0,null],\n\"a\":\"\\u00e9\"}}");
    let dynamic = |id| format!("{{\"extra\":{id},\"extra_{}\":{{\"deep\":[{version}]}}}}", id % 3);
    let jsons = |document: &dyn Fn(i32) -> String| {
        Data::JsonData(JsonArray { data: each().map(|id| document(id).into_bytes()).collect() })
    };
    vec![
        scalar("id", key_type, key),
        scalar(
            "flag",
            DataType::Bool,
            Data::BoolData(BoolArray { data: each().map(|id| (id + version) % 2 == 0).collect() }),
        ),
        scalar("tiny", DataType::Int8, ints(each().map(|id| id % 256 - 128))),
        scalar("small", DataType::Int16, ints(each().map(|id| version * 1000 - id * 7))),
        scalar("medium", DataType::Int32, ints(each().map(|id| -id * 100_003))),
        scalar("large", DataType::Int64, longs(each().map(|id| i64::from(id - 40) << 40))),
        scalar("single", DataType::Float, Data::FloatData(FloatArray { data: floats(ids, version, 1) })),
        scalar(
            "double",
            DataType::Double,
            Data::DoubleData(DoubleArray { data: each().map(|id| f64::from(id) / 7.0).collect() }),
        ),
        scalar(
            "text",
            DataType::VarChar,
            strings(each().map(|id| "\u{df}".repeat(usize::try_from(id % 50).unwrap()))),
        ),
        scalar("document", DataType::Json, jsons(&document)),
        scalar(
            "numbers",
            DataType::Array,
            arrays(DataType::Int64, ids, |id| longs((0..i64::from(id % 5)).map(|n| -n))),
        ),
        scalar(
            "words",
            DataType::Array,
            arrays(DataType::VarChar, ids, |id| strings((0..id % 3).map(|n| format!("w{n}")))),
        ),
        vector,
        FieldData { is_dynamic: true, ..scalar("", DataType::Json, jsons(&dynamic)) },
    ]
}

fn longs(data: impl Iterator<Item = i64>) -> Data {
    Data::LongData(LongArray { data: data.collect() })
}

fn ints(data: impl Iterator<Item = i32>) -> Data {
    Data::IntData(IntArray { data: data.collect() })
}

fn strings(data: impl Iterator<Item = String>) -> Data {
    Data::StringData(StringArray { data: data.collect() })
}

fn arrays(element_type: DataType, ids: &[i32], array: impl Fn(i32) -> Data) -> Data {
    let row = |id: &i32| ScalarField { data: Some(array(*id)), ..Default::default() };
    Data::ArrayData(ArrayArray { data: ids.iter().map(row).collect(), element_type: element_type.into() })
}

/// Some numbers for each row.
fn floats(ids: &[i32], version: i32, each: i64) -> Vec<f32> {
    let number = |id: i32, n: i64| {
        f32::from(i16::try_from((i64::from(id) * 31 + n * i64::from(version)) % 3001).unwrap()) / 17.0
    };
    ids.iter().flat_map(|id| (0..each).map(move |n| number(*id, n + 1))).collect()
}

fn vector(data_type: DataType, dim: i64, data: vector_field::Data) -> FieldData {
    FieldData {
        r#type: data_type.into(),
        field_name: String::from("vector"),
        field: Some(Field::Vectors(VectorField { dim, data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

fn float_vectors(ids: &[i32], version: i32) -> FieldData {
    let data = vector_field::Data::FloatVector(FloatArray { data: floats(ids, version, NUMBERS) });
    vector(DataType::FloatVector, NUMBERS, data)
}

fn binary_vectors(ids: &[i32], version: i32) -> FieldData {
    let data = ids.iter().flat_map(|id| [*id, version]).flat_map(i32::to_le_bytes).collect();
    vector(DataType::BinaryVector, BITS, vector_field::Data::BinaryVector(data))
}
