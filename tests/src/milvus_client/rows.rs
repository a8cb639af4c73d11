//! All rows of a collection, read by primary key: what "the same rows" means.

use super::{MilvusClient, check};
use anyhow::{Context as _, bail};
use milvus::proto::common::ConsistencyLevel;
use milvus::proto::milvus as api;
use milvus::proto::schema::{DataType, FieldData, field_data, scalar_field, vector_field};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Rows that one query asks for: with 128 floats each about two megabytes.
const ROWS_PER_QUERY: usize = 4_000;

/// A primary key, ordered as Milvus orders it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// 64-bit integer.
    Int64(i64),
    /// Text.
    VarChar(String),
}

/// Every row of a collection by its key: a digest of the names and values of all its fields.
pub type Rows = BTreeMap<RowKey, [u8; 32]>;

/// Rows that differ between two collections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RowDifferences {
    /// Keys that only the first has.
    pub missing: Vec<RowKey>,
    /// Keys that only the second has.
    pub extra: Vec<RowKey>,
    /// Keys whose rows have other values.
    pub different: Vec<RowKey>,
}

impl RowDifferences {
    /// Compares two collections' rows.
    #[must_use]
    pub fn between(expected: &Rows, found: &Rows) -> Self {
        let only = |these: &Rows, those: &Rows| -> Vec<RowKey> {
            these.keys().filter(|key| !those.contains_key(key)).cloned().collect()
        };
        let differs = |(key, row): &(&RowKey, &[u8; 32])| found.get(key).is_some_and(|other| other != *row);
        Self {
            missing: only(expected, found),
            extra: only(found, expected),
            different: expected.iter().filter(differs).map(|(key, _)| key.clone()).collect(),
        }
    }

    /// How many rows differ in one way or another.
    #[must_use]
    pub fn count(&self) -> usize {
        self.missing.len() + self.extra.len() + self.different.len()
    }
}

impl RowKey {
    fn literal(&self) -> String {
        match self {
            Self::Int64(key) => key.to_string(),
            Self::VarChar(key) => format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    }
}

impl MilvusClient {
    /// Reads every field of every row of a loaded collection, with everything acknowledged before taken into account.
    ///
    /// # Errors
    /// The collection is not loaded, or the server does not answer.
    pub async fn rows(&self, collection: &str) -> anyhow::Result<Rows> {
        self.rows_in(collection, &[]).await
    }

    /// The same for some partitions only.
    ///
    /// # Errors
    /// As for [`Self::rows`].
    pub async fn rows_in(&self, collection: &str, partitions: &[&str]) -> anyhow::Result<Rows> {
        let key_field = self.key_field(collection).await?;
        let all = match key_field.1 {
            DataType::VarChar => format!("{} >= \"\"", key_field.0),
            _ => format!("{} >= {}", key_field.0, i64::MIN + 1),
        };
        let key_field = key_field.0;
        let answer = self.select(collection, partitions, &all, &key_field).await?;
        let mut keys = keys_of(&answer, &key_field)?;
        keys.sort();
        let mut rows = Rows::new();
        for keys in keys.chunks(ROWS_PER_QUERY) {
            let (Some(first), Some(last)) = (keys.first(), keys.last()) else { break };
            let range = format!("{key_field} >= {} and {key_field} <= {}", first.literal(), last.literal());
            let answer = self.select(collection, partitions, &range, "*").await?;
            let found = keys_of(&answer, &key_field)?;
            for (row, key) in found.into_iter().enumerate() {
                rows.insert(key, digest(&answer, row)?);
            }
        }
        Ok(rows)
    }

    async fn select(
        &self,
        collection: &str,
        partitions: &[&str],
        expression: &str,
        output_field: &str,
    ) -> anyhow::Result<Vec<FieldData>> {
        let request = api::QueryRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            partition_names: partitions.iter().map(|&name| name.to_owned()).collect(),
            expr: expression.to_owned(),
            output_fields: vec![output_field.to_owned()],
            consistency_level: ConsistencyLevel::Strong.into(),
            ..Default::default()
        };
        let answer = self.service.clone().query(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("query {collection}"))?;
        Ok(answer.fields_data)
    }

    async fn key_field(&self, collection: &str) -> anyhow::Result<(String, DataType)> {
        let request = api::DescribeCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        let answer = self.service.clone().describe_collection(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("describe {collection}"))?;
        let fields = answer.schema.context("a collection has a schema")?.fields;
        let key = fields.into_iter().find(|field| field.is_primary_key).context("a primary key")?;
        Ok((key.name.clone(), key.data_type()))
    }
}

fn keys_of(fields: &[FieldData], key_field: &str) -> anyhow::Result<Vec<RowKey>> {
    let Some(field) = fields.iter().find(|field| field.field_name == key_field) else {
        // Milvus answers without columns when there are no rows.
        return Ok(Vec::new());
    };
    match scalars(field) {
        Some(scalar_field::Data::LongData(keys)) => {
            Ok(keys.data.iter().map(|key| RowKey::Int64(*key)).collect())
        }
        Some(scalar_field::Data::StringData(keys)) => {
            Ok(keys.data.iter().map(|key| RowKey::VarChar(key.clone())).collect())
        }
        None => Ok(Vec::new()),
        Some(other) => bail!("a primary key of another type: {other:?}"),
    }
}

fn scalars(field: &FieldData) -> Option<&scalar_field::Data> {
    match field.field.as_ref()? {
        field_data::Field::Scalars(scalars) => scalars.data.as_ref(),
        _ => None,
    }
}

fn digest(fields: &[FieldData], row: usize) -> anyhow::Result<[u8; 32]> {
    let mut values = BTreeMap::new();
    for field in fields {
        let value = value(field, row).with_context(|| format!("row {row} of {}", field.field_name))?;
        values.insert(&field.field_name, value);
    }
    let mut hasher = blake3::Hasher::new();
    for (name, value) in values {
        for part in [name.as_bytes(), &value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

/// One value, spelled so that equal values give equal bytes.
fn value(field: &FieldData, row: usize) -> anyhow::Result<Vec<u8>> {
    use scalar_field::Data;
    match field.field.as_ref().context("no values")? {
        field_data::Field::Scalars(scalars) => match scalars.data.as_ref().context("no values")? {
            Data::BoolData(values) => spelled(&values.data, row),
            Data::IntData(values) => spelled(&values.data, row),
            Data::LongData(values) => spelled(&values.data, row),
            // Bits, so that no rounding hides a difference.
            Data::FloatData(values) => {
                Ok(values.data.get(row).context("too few")?.to_bits().to_le_bytes().to_vec())
            }
            Data::DoubleData(values) => {
                Ok(values.data.get(row).context("too few")?.to_bits().to_le_bytes().to_vec())
            }
            Data::StringData(values) => spelled(&values.data, row),
            // Milvus may order the members of an object anew.
            Data::JsonData(values) => {
                let json: serde_json::Value =
                    serde_json::from_slice(values.data.get(row).context("too few")?)?;
                Ok(json.to_string().into_bytes())
            }
            Data::ArrayData(values) => spelled(&values.data, row),
            other => bail!("values of a type that is not read here: {other:?}"),
        },
        field_data::Field::Vectors(vectors) => {
            let dimension = usize::try_from(vectors.dim)?;
            match vectors.data.as_ref().context("no vectors")? {
                vector_field::Data::FloatVector(values) => {
                    let values =
                        values.data.get(row * dimension..(row + 1) * dimension).context("too few")?;
                    Ok(values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect())
                }
                vector_field::Data::BinaryVector(bytes) => {
                    let width = dimension / 8;
                    Ok(bytes.get(row * width..(row + 1) * width).context("too few")?.to_vec())
                }
                other => bail!("vectors of a type that is not read here: {other:?}"),
            }
        }
        other @ field_data::Field::StructArrays(_) => {
            bail!("a field of a kind that is not read here: {other:?}")
        }
    }
}

fn spelled<T: std::fmt::Debug>(values: &[T], row: usize) -> anyhow::Result<Vec<u8>> {
    let mut text = String::new();
    write!(text, "{:?}", values.get(row).context("too few")?)?;
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_apart() {
        let rows = |keys: &[(i64, u8)]| -> Rows {
            keys.iter().map(|(key, value)| (RowKey::Int64(*key), [*value; 32])).collect()
        };
        let found =
            RowDifferences::between(&rows(&[(1, 1), (2, 2), (3, 3)]), &rows(&[(2, 2), (3, 4), (5, 5)]));
        assert_eq!(found.missing, [RowKey::Int64(1)]);
        assert_eq!(found.extra, [RowKey::Int64(5)]);
        assert_eq!(found.different, [RowKey::Int64(3)]);
        assert_eq!(found.count(), 3);
    }

    #[test]
    fn text_keys_are_quoted() {
        assert_eq!(RowKey::VarChar("a\"b\\".to_owned()).literal(), r#""a\"b\\""#);
    }
}
