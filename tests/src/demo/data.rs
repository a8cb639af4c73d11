//! The data of the demo: two databases with four collections that between them use what Milvus has to offer.

use crate::milvus_client::{CollectionSpec, Column, ColumnValues, FieldSpec, MilvusClient};
use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

/// Floats per vector.
pub(super) const DIMENSION: usize = 128;
/// Rows per insert: about ten megabytes, far below Milvus's limit of a message.
const ROWS_PER_INSERT: u64 = 20_000;
/// Partitions of the products.
const PRODUCT_PARTITIONS: [&str; 3] = ["y2024", "y2025", "y2026"];
/// Values of the reviews' partition key.
const LANGUAGES: [&str; 6] = ["en", "de", "zh", "es", "fr", "ja"];

/// One of the demo's collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoCollection {
    /// Integer keys, partitions, JSON, array, boolean, dynamic fields.
    Products,
    /// Text keys, partition key, two shards.
    Reviews,
    /// Keys made by Milvus, dynamic fields.
    Images,
    /// Text keys, JSON.
    Documents,
}

impl DemoCollection {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Products, Self::Reviews, Self::Images, Self::Documents];
    /// The databases they lie in.
    pub const DATABASES: [&'static str; 2] = ["shop", "media"];

    /// Its database.
    #[must_use]
    pub const fn database(self) -> &'static str {
        match self {
            Self::Products | Self::Reviews => Self::DATABASES[0],
            Self::Images | Self::Documents => Self::DATABASES[1],
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Reviews => "reviews",
            Self::Images => "images",
            Self::Documents => "documents",
        }
    }

    /// Its metric.
    #[must_use]
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Products | Self::Images => "L2",
            Self::Reviews | Self::Documents => "IP",
        }
    }

    /// How many of so many rows it gets.
    #[must_use]
    pub const fn share_of(self, rows: u64) -> u64 {
        let (products, images, documents) = (rows * 35 / 100, rows * 30 / 100, rows * 15 / 100);
        match self {
            Self::Products => products,
            Self::Images => images,
            Self::Documents => documents,
            // The rest, so that nothing is lost in rounding.
            Self::Reviews => rows - products - images - documents,
        }
    }

    /// Its primary key field, where the caller gives the keys.
    #[must_use]
    pub(super) const fn key_field(self) -> Option<&'static str> {
        match self {
            Self::Products => Some("id"),
            Self::Reviews => Some("review_id"),
            Self::Images => None,
            Self::Documents => Some("document_id"),
        }
    }

    fn index(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Products | Self::Images => {
                &[("index_type", "IVF_FLAT"), ("metric_type", "L2"), ("params", "{\"nlist\": 64}")]
            }
            Self::Reviews => &[
                ("index_type", "HNSW"),
                ("metric_type", "IP"),
                ("params", "{\"M\": 8, \"efConstruction\": 64}"),
            ],
            Self::Documents => &[("index_type", "FLAT"), ("metric_type", "IP"), ("params", "{}")],
        }
    }

    fn fields(self) -> Vec<FieldSpec> {
        let embedding = FieldSpec::float_vector("embedding", DIMENSION);
        match self {
            Self::Products => vec![
                FieldSpec::int64("id").primary_key(),
                FieldSpec::double("price"),
                FieldSpec::boolean("in_stock"),
                FieldSpec::json("attributes"),
                FieldSpec::int64_array("ratings", 16),
                embedding,
            ],
            Self::Reviews => vec![
                FieldSpec::varchar("review_id", 32).primary_key(),
                FieldSpec::varchar("language", 8).partition_key(),
                FieldSpec::int64("stars"),
                embedding,
            ],
            Self::Images => vec![
                FieldSpec::int64("image_id").automatic_primary_key(),
                FieldSpec::int64("width"),
                embedding,
            ],
            Self::Documents => {
                vec![FieldSpec::varchar("document_id", 32).primary_key(), FieldSpec::json("body"), embedding]
            }
        }
    }

    fn spec(self) -> CollectionSpec {
        CollectionSpec {
            name: self.name().to_owned(),
            description: format!("{} of the demo", self.name()),
            fields: self.fields(),
            dynamic_field: matches!(self, Self::Products | Self::Images),
            shard_count: if self == Self::Reviews { 2 } else { 1 },
            partition_key_partitions: if self == Self::Reviews { 4 } else { 0 },
        }
    }

    /// Makes rows with the numbers from `first` on; the same number gives the same key.
    pub(super) fn rows(self, first: u64, count: u64, random: &mut SmallRng) -> Vec<Column> {
        let numbers = first..first + count;
        let embedding = ColumnValues::FloatVector {
            dimension: DIMENSION,
            values: (0..count * DIMENSION as u64).map(|_| random.random::<f32>() - 0.5).collect(),
        };
        let mut columns = match self {
            Self::Products => vec![
                Column::new("id", ColumnValues::Int64(numbers.clone().map(u64::cast_signed).collect())),
                Column::new("price", doubles(count, random)),
                Column::new("in_stock", ColumnValues::Bool(numbers.clone().map(|n| n % 3 != 0).collect())),
                Column::new("attributes", attributes(numbers.clone())),
                Column::new("ratings", ratings(count, random)),
                Column::new("", ColumnValues::Dynamic(numbers.map(|n| dynamic("color", n)).collect())),
            ],
            Self::Reviews => vec![
                Column::new("review_id", keys("review", numbers.clone())),
                Column::new("language", ColumnValues::VarChar(numbers.map(language).collect())),
                Column::new(
                    "stars",
                    ColumnValues::Int64((0..count).map(|_| random.random_range(1..=5)).collect()),
                ),
            ],
            Self::Images => vec![
                Column::new(
                    "width",
                    ColumnValues::Int64((0..count).map(|_| random.random_range(64..4096)).collect()),
                ),
                Column::new("", ColumnValues::Dynamic(numbers.map(|n| dynamic("camera", n)).collect())),
            ],
            Self::Documents => vec![
                Column::new("document_id", keys("document", numbers.clone())),
                Column::new("body", attributes(numbers)),
            ],
        };
        columns.push(Column::new("embedding", embedding));
        columns
    }

    /// An expression that selects the rows with these numbers. Only where the caller gives the keys.
    #[must_use]
    pub(super) fn select(self, numbers: std::ops::Range<u64>) -> Option<String> {
        let field = self.key_field()?;
        let keys: Vec<String> = numbers.map(|number| self.key_literal(number)).collect();
        Some(format!("{field} in [{}]", keys.join(", ")))
    }

    fn key_literal(self, number: u64) -> String {
        match self {
            Self::Products | Self::Images => number.to_string(),
            Self::Reviews => format!("\"{}\"", key("review", number)),
            Self::Documents => format!("\"{}\"", key("document", number)),
        }
    }
}

/// Makes databases and collections, fills them with `rows` rows in all, writes them out, builds their indexes and
/// loads them. `on_rows` hears of every batch.
///
/// # Errors
/// Milvus refuses something or does not get ready in time.
pub async fn fill(milvus: &MilvusClient, rows: u64, on_rows: impl Fn(u64)) -> anyhow::Result<()> {
    let mut random = SmallRng::seed_from_u64(20_261_122);
    for database in DemoCollection::DATABASES {
        milvus.create_database(database).await?;
    }
    for collection in DemoCollection::ALL {
        create(milvus, collection).await?;
        insert(milvus, collection, 0..collection.share_of(rows), &mut random, &on_rows).await?;
    }
    for database in DemoCollection::DATABASES {
        let names: Vec<&str> = DemoCollection::ALL
            .into_iter()
            .filter(|collection| collection.database() == database)
            .map(DemoCollection::name)
            .collect();
        milvus.in_database(database).flush(&names).await?;
    }
    for collection in DemoCollection::ALL {
        let database = milvus.in_database(collection.database());
        database.create_index(collection.name(), "embedding", collection.index()).await?;
        database.load(collection.name()).await?;
    }
    milvus.in_database(DemoCollection::Products.database()).create_alias("products", "catalogue").await
}

async fn create(milvus: &MilvusClient, collection: DemoCollection) -> anyhow::Result<()> {
    let database = milvus.in_database(collection.database());
    database.create_collection(&collection.spec()).await?;
    if collection == DemoCollection::Products {
        for partition in PRODUCT_PARTITIONS {
            database.create_partition(collection.name(), partition).await?;
        }
    }
    Ok(())
}

/// Inserts the rows with these numbers in large batches.
///
/// # Errors
/// Milvus refuses something.
pub async fn insert(
    milvus: &MilvusClient,
    collection: DemoCollection,
    numbers: std::ops::Range<u64>,
    random: &mut SmallRng,
    on_rows: impl Fn(u64),
) -> anyhow::Result<()> {
    let database = milvus.in_database(collection.database());
    let mut first = numbers.start;
    while first < numbers.end {
        let count = ROWS_PER_INSERT.min(numbers.end - first);
        let partition = match collection {
            DemoCollection::Products => {
                let batch = usize::try_from(first / ROWS_PER_INSERT)?;
                PRODUCT_PARTITIONS[batch % PRODUCT_PARTITIONS.len()]
            }
            _ => "",
        };
        let columns = collection.rows(first, count, random);
        database
            .insert(collection.name(), partition, &columns)
            .await
            .with_context(|| format!("rows {first} to {}", first + count))?;
        on_rows(count);
        first += count;
    }
    Ok(())
}

fn doubles(count: u64, random: &mut SmallRng) -> ColumnValues {
    ColumnValues::Double((0..count).map(|_| random.random_range(1.0..1000.0)).collect())
}

fn ratings(count: u64, random: &mut SmallRng) -> ColumnValues {
    let mut array = || (0..random.random_range(0..8)).map(|_| random.random_range(1..=5)).collect();
    ColumnValues::Int64Array((0..count).map(|_| array()).collect())
}

fn attributes(numbers: impl Iterator<Item = u64>) -> ColumnValues {
    let document = |number| json!({ "size": number % 50, "tags": ["demo", number % 7] }).to_string();
    ColumnValues::Json(numbers.map(document).collect())
}

fn dynamic(name: &str, number: u64) -> String {
    json!({ name: format!("{name}-{}", number % 11) }).to_string()
}

fn keys(prefix: &str, numbers: impl Iterator<Item = u64>) -> ColumnValues {
    ColumnValues::VarChar(numbers.map(|number| key(prefix, number)).collect())
}

fn key(prefix: &str, number: u64) -> String {
    format!("{prefix}-{number:012}")
}

fn language(number: u64) -> String {
    LANGUAGES.get((number % 6) as usize).copied().unwrap_or("en").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_all_rows() {
        for rows in [0, 1, 7, 999, 300_000] {
            assert_eq!(
                DemoCollection::ALL.map(|collection| collection.share_of(rows)).iter().sum::<u64>(),
                rows
            );
        }
    }

    #[test]
    fn rows_are_selected_by_their_keys() {
        assert_eq!(DemoCollection::Products.select(3..5).as_deref(), Some("id in [3, 4]"));
        assert_eq!(
            DemoCollection::Reviews.select(7..8).as_deref(),
            Some("review_id in [\"review-000000000007\"]")
        );
        assert_eq!(DemoCollection::Images.select(0..1), None);
    }
}
