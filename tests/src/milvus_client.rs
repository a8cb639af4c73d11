//! A thin client of Milvus for the demo and for tests: what an application does with a cluster, and nothing else.
//!
//! Written on the generated gRPC messages, so that it exercises the server exactly as it is told to. The product's own
//! connection to Milvus is another one; the two share no code.

mod access;
mod columns;
mod credentials;
mod internals;
mod loading;
mod rows;
mod schema;

pub use access::Privilege;
pub use columns::{Column, ColumnValues, Keys};
pub use rows::{RowDifferences, RowKey, Rows};
pub use schema::{CollectionSpec, FieldSpec};

use anyhow::{Context as _, bail};
use credentials::Credentials;
use milvus::proto::common::{
    CompactionState, ConsistencyLevel, DslType, ErrorCode, KeyValuePair, PlaceholderGroup, PlaceholderType,
    PlaceholderValue, Status,
};
use milvus::proto::milvus as api;
use milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use milvus::proto::schema::{field_data, scalar_field};
use prost::Message as _;
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// Longest time that one call may take.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time that a flush, an index or a load may take to be done.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
/// Pause between two looks at something that is not ready yet; Milvus tells no events.
const READY_POLL: Duration = Duration::from_millis(100);
/// Largest message, either way.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection to a Milvus, bound to one of its databases.
#[derive(Clone)]
pub struct MilvusClient {
    service: MilvusServiceClient<InterceptedService<Channel, Credentials>>,
    database: String,
}

/// What a search looks for.
#[derive(Debug, Clone)]
pub struct SearchSpec<'a> {
    /// Collection.
    pub collection: &'a str,
    /// Vector field.
    pub field: &'a str,
    /// Metric of its index.
    pub metric: &'a str,
    /// The vector to look for.
    pub vector: &'a [f32],
    /// Neighbours wanted.
    pub limit: usize,
}

impl MilvusClient {
    /// Connects to `http://host:port`, in database `default`, as nobody in particular.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connect(uri: &str) -> anyhow::Result<Self> {
        Self::open(uri, Credentials::none()).await
    }

    /// The same with a token, `user:password`. The server looks at it when it is called.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connect_with_token(uri: &str, token: &str) -> anyhow::Result<Self> {
        Self::open(uri, Credentials::of_token(token)?).await
    }

    async fn open(uri: &str, credentials: Credentials) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(uri.to_owned())?
            .connect_timeout(Duration::from_secs(10))
            .timeout(CALL_TIMEOUT);
        let channel =
            endpoint.connect().await.with_context(|| format!("cannot connect to Milvus at {uri}"))?;
        let service = MilvusServiceClient::with_interceptor(channel, credentials)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { service, database: String::from("default") })
    }

    /// The same connection, bound to another database.
    #[must_use]
    pub fn in_database(&self, database: &str) -> Self {
        Self { service: self.service.clone(), database: database.to_owned() }
    }

    /// Name of the database it is bound to.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Creates a database and returns a client bound to it.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_database(&self, database: &str) -> anyhow::Result<Self> {
        let request = api::CreateDatabaseRequest { db_name: database.to_owned(), ..Default::default() };
        check(Some(&self.service.clone().create_database(request).await?.into_inner()), "create database")?;
        Ok(self.in_database(database))
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_collection(&self, spec: &CollectionSpec) -> anyhow::Result<()> {
        let request = api::CreateCollectionRequest {
            db_name: self.database.clone(),
            collection_name: spec.name.clone(),
            schema: spec.to_schema().encode_to_vec(),
            shards_num: spec.shard_count,
            consistency_level: ConsistencyLevel::Bounded.into(),
            num_partitions: spec.partition_key_partitions,
            ..Default::default()
        };
        let status = self.service.clone().create_collection(request).await?.into_inner();
        check(Some(&status), &format!("create collection {}", spec.name))
    }

    /// Drops a collection. One that does not exist is no error for Milvus.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn drop_collection(&self, collection: &str) -> anyhow::Result<()> {
        let request = api::DropCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        check(Some(&self.service.clone().drop_collection(request).await?.into_inner()), "drop collection")
    }

    /// Renames a collection.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn rename_collection(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let request = api::RenameCollectionRequest {
            db_name: self.database.clone(),
            old_name: from.to_owned(),
            new_name: to.to_owned(),
            ..Default::default()
        };
        check(Some(&self.service.clone().rename_collection(request).await?.into_inner()), "rename collection")
    }

    /// Creates a partition.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_partition(&self, collection: &str, partition: &str) -> anyhow::Result<()> {
        let request = api::CreatePartitionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            partition_name: partition.to_owned(),
            ..Default::default()
        };
        check(Some(&self.service.clone().create_partition(request).await?.into_inner()), "create partition")
    }

    /// Creates an alias of a collection.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_alias(&self, collection: &str, alias: &str) -> anyhow::Result<()> {
        let request = api::CreateAliasRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            alias: alias.to_owned(),
            ..Default::default()
        };
        check(Some(&self.service.clone().create_alias(request).await?.into_inner()), "create alias")
    }

    /// Sets a property of a collection, e.g. `collection.ttl.seconds`.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn set_property(&self, collection: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let request = api::AlterCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            properties: pairs(&[(key, value)]),
            ..Default::default()
        };
        check(Some(&self.service.clone().alter_collection(request).await?.into_inner()), "alter collection")
    }

    /// Names of all databases.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn database_names(&self) -> anyhow::Result<Vec<String>> {
        let answer =
            self.service.clone().list_databases(api::ListDatabasesRequest::default()).await?.into_inner();
        check(answer.status.as_ref(), "list databases")?;
        Ok(answer.db_names)
    }

    /// Names of the collections in its database, sorted.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn collection_names(&self) -> anyhow::Result<Vec<String>> {
        let request = api::ShowCollectionsRequest { db_name: self.database.clone(), ..Default::default() };
        let answer = self.service.clone().show_collections(request).await?.into_inner();
        check(answer.status.as_ref(), "show collections")?;
        let mut names = answer.collection_names;
        names.sort();
        Ok(names)
    }

    /// Creates an index on a field. It is built in the background.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_index(
        &self,
        collection: &str,
        field: &str,
        params: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let request = api::CreateIndexRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            field_name: field.to_owned(),
            extra_params: pairs(params),
            ..Default::default()
        };
        let status = self.service.clone().create_index(request).await?.into_inner();
        check(Some(&status), &format!("create index on {collection}.{field}"))
    }

    /// Inserts rows given as columns into a partition (empty: the default one, or what the partition key says).
    /// Returns the keys of the rows, in their order.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn insert(
        &self,
        collection: &str,
        partition: &str,
        columns: &[Column],
    ) -> anyhow::Result<Keys> {
        let request = api::InsertRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            partition_name: partition.to_owned(),
            fields_data: columns.iter().map(Column::to_field_data).collect(),
            num_rows: columns::row_count(columns)?,
            ..Default::default()
        };
        let result = self.service.clone().insert(request).await?.into_inner();
        check(result.status.as_ref(), &format!("insert into {collection}"))?;
        Keys::from_proto(result.i_ds)
    }

    /// Inserts rows, replacing those with the same keys.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn upsert(&self, collection: &str, columns: &[Column]) -> anyhow::Result<()> {
        let request = api::UpsertRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            fields_data: columns.iter().map(Column::to_field_data).collect(),
            num_rows: columns::row_count(columns)?,
            ..Default::default()
        };
        let result = self.service.clone().upsert(request).await?.into_inner();
        check(result.status.as_ref(), &format!("upsert into {collection}"))
    }

    /// Deletes the rows that a boolean expression selects, e.g. `id in [1, 2]`.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn delete(&self, collection: &str, expression: &str) -> anyhow::Result<()> {
        let request = api::DeleteRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            expr: expression.to_owned(),
            ..Default::default()
        };
        let result = self.service.clone().delete(request).await?.into_inner();
        check(result.status.as_ref(), &format!("delete from {collection}"))
    }

    /// Searches nearest neighbours of one vector; returns how many were found.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn search(&self, search: &SearchSpec<'_>) -> anyhow::Result<usize> {
        let placeholder = PlaceholderValue {
            tag: String::from("$0"),
            r#type: PlaceholderType::FloatVector.into(),
            values: vec![search.vector.iter().flat_map(|value| value.to_le_bytes()).collect()],
            ..Default::default()
        };
        let group = PlaceholderGroup { placeholders: vec![placeholder] };
        let request = api::SearchRequest {
            db_name: self.database.clone(),
            collection_name: search.collection.to_owned(),
            search_input: Some(api::search_request::SearchInput::PlaceholderGroup(group.encode_to_vec())),
            dsl_type: DslType::BoolExprV1.into(),
            search_params: pairs(&[
                ("anns_field", search.field),
                ("topk", &search.limit.to_string()),
                ("metric_type", search.metric),
                ("params", "{\"nprobe\": 16, \"ef\": 64}"),
                ("round_decimal", "-1"),
            ]),
            nq: 1,
            use_default_consistency: true,
            ..Default::default()
        };
        let answer = self.service.clone().search(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("search in {}", search.collection))?;
        Ok(answer.results.map_or(0, |results| results.scores.len()))
    }

    /// Counts the rows that an expression selects (empty: all), with everything acknowledged before taken into
    /// account.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn count(&self, collection: &str, expression: &str) -> anyhow::Result<u64> {
        let request = api::QueryRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            expr: expression.to_owned(),
            output_fields: vec![String::from("count(*)")],
            consistency_level: ConsistencyLevel::Strong.into(),
            ..Default::default()
        };
        let answer = self.service.clone().query(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("count {collection}"))?;
        let Some(field_data::Field::Scalars(scalars)) = answer.fields_data.into_iter().find_map(|f| f.field)
        else {
            bail!("the count of {collection} has no value");
        };
        match scalars.data {
            Some(scalar_field::Data::LongData(values)) if values.data.len() == 1 => {
                Ok(u64::try_from(values.data[0])?)
            }
            other => bail!("the count of {collection} is not one number: {other:?}"),
        }
    }

    /// Writes all rows of the collections to binlogs and waits until that is done.
    ///
    /// # Errors
    /// The server refuses, or it is not done in time.
    pub async fn flush(&self, collections: &[&str]) -> anyhow::Result<()> {
        let request = api::FlushRequest {
            db_name: self.database.clone(),
            collection_names: collections.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        };
        let answer = self.service.clone().flush(request).await?.into_inner();
        check(answer.status.as_ref(), "flush")?;
        for (collection, flush_ts) in &answer.coll_flush_ts {
            let segments = answer.coll_seg_i_ds.get(collection).cloned().unwrap_or_default();
            wait_until(&format!("{collection} is flushed"), || async {
                let request = api::GetFlushStateRequest {
                    segment_i_ds: segments.data.clone(),
                    flush_ts: *flush_ts,
                    db_name: self.database.clone(),
                    collection_name: collection.clone(),
                };
                let answer = self.service.clone().get_flush_state(request).await?.into_inner();
                check(answer.status.as_ref(), "get flush state")?;
                Ok(answer.flushed)
            })
            .await?;
        }
        Ok(())
    }

    /// Merges the segments of a collection now and waits until that is done.
    ///
    /// # Errors
    /// The server refuses, or it is not done in time.
    pub async fn compact(&self, collection: &str) -> anyhow::Result<()> {
        let request = api::ManualCompactionRequest {
            collection_id: self.collection_id(collection).await?,
            ..Default::default()
        };
        let answer = self.service.clone().manual_compaction(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("compact {collection}"))?;
        if answer.compaction_id <= 0 {
            return Ok(());
        }
        wait_until(&format!("{collection} is compacted"), || async {
            let request = api::GetCompactionStateRequest { compaction_id: answer.compaction_id };
            let state = self.service.clone().get_compaction_state(request).await?.into_inner();
            check(state.status.as_ref(), "get compaction state")?;
            Ok(state.state() == CompactionState::Completed)
        })
        .await
    }
}

/// Milvus spells failure in two places, of which versions fill one or both.
fn check(status: Option<&Status>, what: &str) -> anyhow::Result<()> {
    let status = status.with_context(|| format!("{what}: the answer has no status"))?;
    #[allow(deprecated, reason = "2.3 fills it in beside the newer code")]
    let error_code = status.error_code;
    if status.code == 0 && error_code == i32::from(ErrorCode::Success) {
        return Ok(());
    }
    bail!("{what}: {} (code {}, error code {error_code})", status.reason, status.code)
}

async fn wait_until<F>(what: &str, mut ready: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let polling = async {
        while !ready().await? {
            tokio::time::sleep(READY_POLL).await;
        }
        anyhow::Ok(())
    };
    let limit = READY_TIMEOUT.as_secs();
    tokio::time::timeout(READY_TIMEOUT, polling)
        .await
        .with_context(|| format!("waited {limit} s until {what}"))?
}

fn pairs(params: &[(&str, &str)]) -> Vec<KeyValuePair> {
    params.iter().map(|&(key, value)| KeyValuePair { key: key.to_owned(), value: value.to_owned() }).collect()
}
