//! Collections of every kind that 2.3.5 knows, with rows.

use crate::columns::*;
use crate::server::{Server, key_field, ok, pair, vector_field};
use milvus::proto::common::ConsistencyLevel;
use milvus::proto::milvus::{
    CreateAliasRequest, CreateCollectionRequest, CreateIndexRequest, CreatePartitionRequest,
};
use milvus::proto::schema::{CollectionSchema, DataType, FieldData, FieldSchema};
use std::ops::Range;

pub(crate) const DIMENSION: i64 = 8;

/// A collection to be made, filled, backed up and restored.
pub(crate) struct Kind {
    pub(crate) label: &'static str,
    schema: CollectionSchema,
    shards: i32,
    /// Besides the default one. With a partition key the server makes them.
    partitions: &'static [&'static str],
    default_partitions: i64,
    index: &'static [(&'static str, &'static str)],
    columns: fn(Range<i64>) -> Vec<FieldData>,
    /// Matches the keys from one number up to another.
    pub(crate) keys: fn(Range<i64>) -> String,
    pub(crate) index_count: usize,
}

fn field(name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        data_type: data_type.into(),
        description: format!("about {name}"),
        ..Default::default()
    }
}

fn varchar_field(name: &str) -> FieldSchema {
    FieldSchema { type_params: vec![pair("max_length", "64")], ..field(name, DataType::VarChar) }
}

const HNSW: &[(&str, &str)] =
    &[("index_type", "HNSW"), ("metric_type", "COSINE"), ("params", r#"{"M":8,"efConstruction":64}"#)];

pub(crate) fn all() -> [Kind; 4] {
    [rich(), varchar_key(), auto_id(), partition_key()]
}

/// Int64 key, all scalar types, JSON, array, dynamic fields, three partitions, two shards.
pub(crate) fn rich() -> Kind {
    let array = FieldSchema {
        element_type: DataType::Int32.into(),
        type_params: vec![pair("max_capacity", "16")],
        ..field("numbers", DataType::Array)
    };
    Kind {
        label: "rich",
        schema: CollectionSchema {
            enable_dynamic_field: true,
            description: String::from("all sorts of fields"),
            fields: vec![
                key_field("id"),
                varchar_field("title"),
                field("flag", DataType::Bool),
                field("small", DataType::Int8),
                field("ratio", DataType::Float),
                field("score", DataType::Double),
                field("document", DataType::Json),
                array,
                vector_field("v"),
            ],
            ..Default::default()
        },
        shards: 2,
        partitions: &["east", "west"],
        default_partitions: 0,
        index: HNSW,
        columns: |keys| {
            let documents: Vec<_> =
                keys.clone().map(|k| format!(r#"{{"n":{k},"odd":{}}}"#, k % 2 == 1)).collect();
            let small = keys.clone().map(|k| i32::try_from(k % 100).unwrap());
            vec![
                int64("id", keys.clone().collect()),
                varchar("title", keys.clone().map(|k| format!("title {k}")).collect()),
                boolean("flag", keys.clone().map(|k| k % 3 == 0).collect()),
                int8("small", small.clone().collect()),
                float("ratio", keys.clone().map(fraction).collect()),
                double("score", keys.clone().map(|k| f64::from(fraction(k)) * 3.0).collect()),
                json("document", &documents),
                int32_arrays("numbers", small.map(|n| vec![n, n + 1]).collect()),
                float_vectors("v", DIMENSION, vectors(keys.clone())),
                dynamic(&keys.map(|k| format!(r#"{{"extra":"e{k}"}}"#)).collect::<Vec<_>>()),
            ]
        },
        keys: |keys| format!("id >= {} and id < {}", keys.start, keys.end),
        index_count: 2,
    }
}

/// Text as key, bits as vectors.
fn varchar_key() -> Kind {
    let key = FieldSchema { is_primary_key: true, ..varchar_field("code") };
    let bits = FieldSchema { type_params: vec![pair("dim", "16")], ..field("bits", DataType::BinaryVector) };
    Kind {
        label: "varchar_key",
        schema: CollectionSchema { fields: vec![key, bits], ..Default::default() },
        shards: 1,
        partitions: &[],
        default_partitions: 0,
        index: &[("index_type", "BIN_FLAT"), ("metric_type", "HAMMING")],
        columns: |keys| {
            let bits = keys.clone().flat_map(|k| u16::try_from(k).unwrap().to_le_bytes()).collect();
            vec![varchar("code", keys.map(code).collect()), binary_vectors("bits", 16, bits)]
        },
        keys: |keys| {
            let codes: Vec<_> = keys.map(code).collect();
            format!("code in {codes:?}")
        },
        index_count: 1,
    }
}

/// Keys that Milvus makes: they have to stay what they were.
fn auto_id() -> Kind {
    Kind {
        label: "auto_id",
        schema: CollectionSchema {
            fields: vec![
                FieldSchema { auto_id: true, ..key_field("id") },
                field("n", DataType::Int64),
                vector_field("v"),
            ],
            ..Default::default()
        },
        shards: 1,
        partitions: &[],
        default_partitions: 0,
        index: HNSW,
        columns: |keys| {
            vec![int64("n", keys.clone().collect()), float_vectors("v", DIMENSION, vectors(keys))]
        },
        keys: |keys| format!("n >= {} and n < {}", keys.start, keys.end),
        index_count: 1,
    }
}

/// Five partitions that Milvus makes, rows spread over them by a field.
fn partition_key() -> Kind {
    Kind {
        label: "partition_key",
        schema: CollectionSchema {
            fields: vec![
                key_field("id"),
                FieldSchema { is_partition_key: true, ..varchar_field("tenant") },
                vector_field("v"),
            ],
            ..Default::default()
        },
        shards: 2,
        partitions: &[],
        default_partitions: 5,
        index: HNSW,
        columns: |keys| {
            vec![
                int64("id", keys.clone().collect()),
                varchar("tenant", keys.clone().map(|k| format!("tenant {}", k % 11)).collect()),
                float_vectors("v", DIMENSION, vectors(keys)),
            ]
        },
        keys: |keys| format!("id >= {} and id < {}", keys.start, keys.end),
        index_count: 1,
    }
}

fn code(key: i64) -> String {
    format!("code-{key:06}")
}

/// Some number between 0 and 1 that a float holds exactly.
fn fraction(key: i64) -> f32 {
    f32::from(u16::try_from(key % 1024).unwrap()) / 1024.0
}

fn vectors(keys: Range<i64>) -> Vec<f32> {
    keys.flat_map(|key| (0..DIMENSION).map(move |axis| fraction(key * 31 + axis * 7) + 0.5)).collect()
}

impl Kind {
    /// Creates it with partitions, an alias and indexes.
    pub(crate) async fn create(&self, server: &Server, database: &str, name: &str) {
        let request = CreateCollectionRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            shards_num: self.shards,
            consistency_level: ConsistencyLevel::Bounded.into(),
            properties: vec![pair("collection.ttl.seconds", "86400")],
            num_partitions: self.default_partitions,
            ..Default::default()
        };
        let schema = CollectionSchema { name: name.to_owned(), ..self.schema.clone() };
        server.create(request, schema).await;
        for partition in self.partitions {
            let request = CreatePartitionRequest {
                db_name: database.to_owned(),
                collection_name: name.to_owned(),
                partition_name: (*partition).to_owned(),
                ..Default::default()
            };
            ok(Some(server.raw().create_partition(request).await.unwrap().into_inner()));
        }
        let request = CreateAliasRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            alias: format!("{name}_alias"),
            ..Default::default()
        };
        ok(Some(server.raw().create_alias(request).await.unwrap().into_inner()));
        let vector = self.schema.fields.last().unwrap().name.clone();
        index(server, database, name, &vector, self.index).await;
        if self.index_count > 1 {
            index(server, database, name, "title", &[]).await;
        }
    }

    /// Inserts rows, spread over the partitions that were created.
    pub(crate) async fn insert(&self, server: &Server, database: &str, name: &str, keys: Range<i64>) {
        let partitions: Vec<_> = if self.partitions.is_empty() {
            vec![""]
        } else {
            std::iter::once("_default").chain(self.partitions.iter().copied()).collect()
        };
        let each = (keys.end - keys.start) / i64::try_from(partitions.len()).unwrap();
        let mut from = keys.start;
        for (number, partition) in partitions.iter().enumerate() {
            let to = if number + 1 == partitions.len() { keys.end } else { from + each };
            let columns = (self.columns)(from..to);
            let rows = usize::try_from(to - from).unwrap();
            server.insert_columns(database, name, partition, columns, rows).await;
            from = to;
        }
    }
}

async fn index(server: &Server, database: &str, name: &str, field: &str, params: &[(&str, &str)]) {
    let request = CreateIndexRequest {
        db_name: database.to_owned(),
        collection_name: name.to_owned(),
        field_name: field.to_owned(),
        index_name: format!("{field}_index"),
        extra_params: params.iter().map(|(key, value)| pair(key, value)).collect(),
        ..Default::default()
    };
    ok(Some(server.raw().create_index(request).await.unwrap().into_inner()));
}
