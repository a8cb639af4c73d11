//! Collections that between them have every kind of key, field, partition and shard count that Milvus 2.3.5 has.

use anyhow::Result;
use milvault_tests::milvus_client::{CollectionSpec, Column, ColumnValues, FieldSpec, Keys, MilvusClient};
use serde_json::json;
use std::ops::Range;

const DIMENSION: usize = 16;

/// A collection with rows of many types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypedCollection {
    /// Integer keys, three partitions, one shard, all scalars, JSON, arrays, dynamic fields, a TTL.
    Scalars,
    /// Text keys, partition key, two shards.
    Texts,
    /// Keys made by Milvus, three shards, dynamic fields.
    Automatic,
    /// Bit vectors, four shards.
    Bits,
}

impl TypedCollection {
    pub(crate) const ALL: [Self; 4] = [Self::Scalars, Self::Texts, Self::Automatic, Self::Bits];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scalars => "scalars",
            Self::Texts => "texts",
            Self::Automatic => "automatic",
            Self::Bits => "bits",
        }
    }

    /// Makes all of them, with rows, indexes and aliases, loaded.
    pub(crate) async fn create_all(database: &MilvusClient, rows: u64) -> Result<()> {
        for collection in Self::ALL {
            collection.create(database).await?;
            collection.fill(database, rows).await?;
            // Right after a load 2.3.5 may not yet see all rows that are in no file.
            database.flush(&[collection.name()]).await?;
            collection.index(database).await?;
            database.load(collection.name()).await?;
        }
        database.create_alias(Self::Scalars.name(), "scalars_alias").await
    }

    async fn create(self, database: &MilvusClient) -> Result<()> {
        let (fields, shard_count) = match self {
            Self::Scalars => (scalar_fields(), 1),
            Self::Texts => (
                vec![
                    FieldSpec::varchar("name", 64).primary_key(),
                    FieldSpec::varchar("language", 8).partition_key(),
                    FieldSpec::float_vector("embedding", DIMENSION),
                ],
                2,
            ),
            Self::Automatic => (
                vec![
                    FieldSpec::int64("id").automatic_primary_key(),
                    FieldSpec::int64("number"),
                    FieldSpec::float_vector("embedding", DIMENSION),
                ],
                3,
            ),
            Self::Bits => {
                (vec![FieldSpec::int64("id").primary_key(), FieldSpec::binary_vector("embedding", 64)], 4)
            }
        };
        let spec = CollectionSpec {
            name: self.name().to_owned(),
            description: format!("{} of an end-to-end test", self.name()),
            fields,
            dynamic_field: matches!(self, Self::Scalars | Self::Automatic),
            shard_count,
            partition_key_partitions: if self == Self::Texts { 3 } else { 0 },
        };
        database.create_collection(&spec).await?;
        if self == Self::Scalars {
            for partition in ["first", "second"] {
                database.create_partition(self.name(), partition).await?;
            }
            // A thousand years, so that no row of the test ends by it.
            database.set_property(self.name(), "collection.ttl.seconds", "31536000000").await?;
        }
        Ok(())
    }

    /// Inserts in several batches with a flush between, replaces some rows twice, writes some twice, deletes some.
    async fn fill(self, database: &MilvusClient, rows: u64) -> Result<()> {
        let name = self.name();
        let third = rows / 3;
        let keys = self.insert(database, "first", 0..third).await?;
        self.insert(database, "second", third..2 * third).await?;
        database.flush(&[name]).await?;
        self.insert(database, "", 2 * third..rows).await?;
        if let (Self::Automatic, Keys::Int64(keys)) = (self, keys) {
            let some: Vec<String> = keys.iter().take(10).map(ToString::to_string).collect();
            return database.delete(name, &format!("id in [{}]", some.join(", "))).await;
        }
        for _ in 0..2 {
            database.upsert(name, &self.rows(2 * third..2 * third + 20)).await?;
        }
        // The same row a second time: Milvus keeps both.
        self.insert(database, "", 2 * third + 30..2 * third + 35).await?;
        self.delete(database, 2 * third + 10..2 * third + 15).await
    }

    /// Distinct keys after [`Self::create_all`] with so many rows.
    pub(crate) const fn row_count(self, rows: u64) -> u64 {
        match self {
            Self::Automatic => rows - 10,
            Self::Scalars | Self::Texts | Self::Bits => rows - 5,
        }
    }

    /// Inserts rows with these numbers, into a partition where the collection has some.
    pub(crate) async fn insert(
        self,
        database: &MilvusClient,
        partition: &str,
        numbers: Range<u64>,
    ) -> Result<Keys> {
        let partition = if self == Self::Scalars { partition } else { "" };
        database.insert(self.name(), partition, &self.rows(numbers)).await
    }

    /// Deletes rows with these numbers; nothing for keys made by Milvus.
    pub(crate) async fn delete(self, database: &MilvusClient, numbers: Range<u64>) -> Result<()> {
        let expression = match self {
            Self::Automatic => return Ok(()),
            Self::Texts => {
                let keys: Vec<String> = numbers.map(|number| format!("\"{}\"", text_key(number))).collect();
                format!("name in [{}]", keys.join(", "))
            }
            Self::Scalars | Self::Bits => {
                let keys: Vec<String> = numbers.map(|number| number.to_string()).collect();
                format!("id in [{}]", keys.join(", "))
            }
        };
        database.delete(self.name(), &expression).await
    }

    async fn index(self, database: &MilvusClient) -> Result<()> {
        let params = match self {
            Self::Bits => [("index_type", "BIN_FLAT"), ("metric_type", "HAMMING"), ("params", "{}")],
            Self::Texts => [
                ("index_type", "HNSW"),
                ("metric_type", "IP"),
                ("params", "{\"M\": 8, \"efConstruction\": 32}"),
            ],
            Self::Scalars | Self::Automatic => {
                [("index_type", "FLAT"), ("metric_type", "L2"), ("params", "{}")]
            }
        };
        database.create_index(self.name(), "embedding", &params).await
    }

    fn rows(self, numbers: Range<u64>) -> Vec<Column> {
        let embedding = Column::new("embedding", vectors(numbers.clone()));
        let ids = || Column::new("id", ColumnValues::Int64(numbers.clone().map(u64::cast_signed).collect()));
        match self {
            Self::Scalars => {
                let mut columns = scalar_columns(&numbers);
                columns.extend([ids(), embedding]);
                columns
            }
            Self::Texts => {
                let languages = numbers.clone().map(|number| format!("l{}", number % 5)).collect();
                vec![
                    Column::new("name", ColumnValues::VarChar(numbers.map(text_key).collect())),
                    Column::new("language", ColumnValues::VarChar(languages)),
                    embedding,
                ]
            }
            Self::Automatic => {
                let dynamic = numbers.clone().map(|number| json!({ "camera": number % 7 }).to_string());
                vec![
                    Column::new(
                        "number",
                        ColumnValues::Int64(numbers.clone().map(u64::cast_signed).collect()),
                    ),
                    Column::new("", ColumnValues::Dynamic(dynamic.collect())),
                    embedding,
                ]
            }
            Self::Bits => {
                let bytes =
                    numbers.clone().flat_map(|number| (number * 2_654_435_761).to_le_bytes()).collect();
                vec![ids(), Column::new("embedding", ColumnValues::BinaryVector { dimension: 64, bytes })]
            }
        }
    }
}

fn scalar_fields() -> Vec<FieldSpec> {
    vec![
        FieldSpec::int64("id").primary_key(),
        FieldSpec::boolean("flag"),
        FieldSpec::small_integer("tiny", 8),
        FieldSpec::small_integer("small", 16),
        FieldSpec::small_integer("medium", 32),
        FieldSpec::float("ratio"),
        FieldSpec::double("price"),
        FieldSpec::varchar("title", 256),
        FieldSpec::json("document"),
        FieldSpec::int64_array("numbers", 8),
        FieldSpec::varchar_array("tags", 8),
        FieldSpec::float_vector("embedding", DIMENSION),
    ]
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "any values will do")]
fn scalar_columns(numbers: &Range<u64>) -> Vec<Column> {
    let each = || numbers.clone();
    let small = |bits: u8, modulus: u64, offset: i32| ColumnValues::SmallInteger {
        bits,
        values: each().map(|number| (number % modulus) as i32 - offset).collect(),
    };
    let tags = |number: u64| (0..number % 3).map(|tag| format!("tag {tag} ü\"{number}")).collect();
    vec![
        Column::new("flag", ColumnValues::Bool(each().map(|number| number % 3 == 0).collect())),
        Column::new("tiny", small(8, 256, 128)),
        Column::new("small", small(16, 65_536, 32_768)),
        Column::new("medium", small(32, 1 << 31, 7)),
        Column::new("ratio", ColumnValues::Float(each().map(|number| 1.0 / (number as f32 + 1.0)).collect())),
        Column::new("price", ColumnValues::Double(each().map(|number| (number as f64).sqrt()).collect())),
        Column::new(
            "title",
            ColumnValues::VarChar(each().map(|number| format!("title \u{1f4be} \"{number}\"\n")).collect()),
        ),
        Column::new("document", ColumnValues::Json(each().map(document).collect())),
        Column::new(
            "numbers",
            ColumnValues::Int64Array(
                each().map(|number| (0..(number % 8).cast_signed()).collect()).collect(),
            ),
        ),
        Column::new("tags", ColumnValues::VarCharArray(each().map(tags).collect())),
        Column::new(
            "",
            ColumnValues::Dynamic(
                each().map(|number| json!({ "outside": number, "list": [1, "x"] }).to_string()).collect(),
            ),
        ),
    ]
}

fn document(number: u64) -> String {
    match number % 4 {
        0 => json!({ "a": number, "b": { "c": [number, "ü", null, 1.5] } }).to_string(),
        1 => json!({}).to_string(),
        2 => json!({ "list": [number, [number]] }).to_string(),
        _ => json!({ "text": "x".repeat((number % 50) as usize) }).to_string(),
    }
}

fn text_key(number: u64) -> String {
    format!("name {number:06} é")
}

fn vectors(numbers: Range<u64>) -> ColumnValues {
    let mut values = Vec::new();
    for number in numbers {
        let mut state = number + 1;
        for _ in 0..DIMENSION {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            values.push(f32::from_bits(0x3f80_0000 | (state >> 41) as u32) - 1.5);
        }
    }
    ColumnValues::FloatVector { dimension: DIMENSION, values }
}
