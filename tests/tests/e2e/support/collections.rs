//! Collections that are quickly made and filled.

use anyhow::Result;
use milvault_tests::milvus_client::{CollectionSpec, Column, ColumnValues, FieldSpec, MilvusClient};

/// Bytes of vectors per insert, below Milvus's limit of a message.
const INSERT_BYTES: u64 = 16 << 20;

/// Makes a collection of a key, a label and a vector, and fills it with rows numbered from 0.
pub(crate) async fn plain_collection(
    database: &MilvusClient,
    name: &str,
    rows: u64,
    dimension: usize,
) -> Result<()> {
    let spec = CollectionSpec {
        name: name.to_owned(),
        description: format!("{name} of an end-to-end test"),
        fields: vec![
            FieldSpec::int64("id").primary_key(),
            FieldSpec::varchar("label", 64),
            FieldSpec::float_vector("embedding", dimension),
        ],
        dynamic_field: false,
        shard_count: 1,
        partition_key_partitions: 0,
    };
    database.create_collection(&spec).await?;
    insert_plain(database, name, 0..rows, dimension).await
}

/// Makes rows of a plain collection readable.
pub(crate) async fn index_and_load(database: &MilvusClient, name: &str) -> Result<()> {
    let params = [("index_type", "FLAT"), ("metric_type", "L2"), ("params", "{}")];
    database.create_index(name, "embedding", &params).await?;
    database.load(name).await
}

/// Inserts rows with these numbers.
pub(crate) async fn insert_plain(
    database: &MilvusClient,
    name: &str,
    numbers: std::ops::Range<u64>,
    dimension: usize,
) -> Result<()> {
    let rows_per_insert = (INSERT_BYTES / (dimension as u64 * 4)).clamp(1, 20_000);
    let mut first = numbers.start;
    while first < numbers.end {
        let count = rows_per_insert.min(numbers.end - first);
        database.insert(name, "", &plain_rows(first, count, dimension)).await?;
        first += count;
    }
    Ok(())
}

/// Rows with the numbers from `first` on. No two floats are alike, so that nothing packs them.
pub(crate) fn plain_rows(first: u64, count: u64, dimension: usize) -> Vec<Column> {
    let numbers = first..first + count;
    let mut state = first + 1;
    let mut next = || {
        // A linear congruential generator: tens of millions of floats are wanted from an unoptimised build.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from_bits(0x3f80_0000 | (state >> 41) as u32) - 1.5
    };
    let floats = usize::try_from(count).unwrap_or(usize::MAX) * dimension;
    vec![
        Column::new("id", ColumnValues::Int64(numbers.clone().map(u64::cast_signed).collect())),
        Column::new("label", ColumnValues::VarChar(numbers.map(|number| format!("row {number}")).collect())),
        Column::new(
            "embedding",
            ColumnValues::FloatVector { dimension, values: (0..floats).map(|_| next()).collect() },
        ),
    ]
}
