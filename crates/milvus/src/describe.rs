//! What a collection is made of, besides its rows.
//!
//! These are several calls, each of which shows its own moment. A backup's metadata is therefore that of shortly
//! before the cut, not of the cut itself; only rows are exact.

use crate::client::{Client, HybridTimestamp};
use crate::error::{CallError, CallResult, Fault};
use crate::listing::{ListedCollection, call_by_name};
use milvault_domain::milvus::{
    CollectionCut, FieldDescription, FieldFlags, IndexDescription, LoadState, PartitionDescription, Property,
};
use milvus::proto::common::{KeyValuePair, LoadState as ProtoLoadState, Status};
use milvus::proto::milvus::{
    DescribeCollectionRequest, DescribeIndexRequest, GetLoadStateRequest, GetReplicasRequest,
    ListAliasesRequest, ShowPartitionsRequest,
};
use milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use prost::Message;

/// Milvus's `DescribeCollectionResponse` with the schema left encoded: decoding and encoding it again would lose
/// what a newer server knows and this crate's protocol definition does not.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DescribedCollection {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) schema: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(crate) collection_id: i64,
    #[prost(string, repeated, tag = "5")]
    pub(crate) physical_channel_names: Vec<String>,
    #[prost(int32, tag = "8")]
    pub(crate) shards_num: i32,
    #[prost(string, repeated, tag = "9")]
    pub(crate) aliases: Vec<String>,
    #[prost(int32, tag = "11")]
    pub(crate) consistency_level: i32,
    #[prost(message, repeated, tag = "13")]
    pub(crate) properties: Vec<KeyValuePair>,
}

/// Describes a collection; partitions and segments are left empty. `None` when it is gone.
pub(crate) async fn describe(
    client: &Client,
    collection: &ListedCollection,
) -> CallResult<Option<CollectionCut>> {
    let request = DescribeCollectionRequest {
        db_name: collection.database.clone(),
        collection_id: collection.id,
        ..Default::default()
    };
    let described = match client.call(request).await {
        Ok(described) => described,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(indexes) = indexes(client, collection).await? else { return Ok(None) };
    let Some(more_aliases) = aliases(client, collection).await? else { return Ok(None) };
    let Some(load_state) = load_state(client, collection).await? else { return Ok(None) };
    let replica_count = match load_state {
        LoadState::NotLoaded => 0,
        LoadState::Loading | LoadState::Loaded => replica_count(client, collection).await?,
    };
    let mut cut = collection_cut(collection, described)?;
    cut.aliases.extend(more_aliases);
    cut.aliases.sort();
    cut.aliases.dedup();
    Ok(Some(CollectionCut { indexes, load_state, replica_count, ..cut }))
}

/// Partitions that existed at a moment, sorted by name; `None` when the collection is gone.
pub(crate) async fn partitions(
    client: &Client,
    collection: &ListedCollection,
) -> CallResult<Option<Vec<(PartitionDescription, HybridTimestamp)>>> {
    let answer = call_by_name(client, collection, |name| ShowPartitionsRequest {
        db_name: collection.database.clone(),
        collection_name: name,
        ..Default::default()
    })
    .await?;
    let Some((_, answer)) = answer else { return Ok(None) };
    let created_at = answer.created_timestamps.into_iter().chain(std::iter::repeat(0)).map(HybridTimestamp);
    let mut partitions: Vec<_> = answer
        .partition_names
        .into_iter()
        .zip(answer.partition_i_ds)
        .map(|(name, partition_id)| PartitionDescription { partition_id, name })
        .zip(created_at)
        .collect();
    partitions.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(Some(partitions))
}

fn collection_cut(
    collection: &ListedCollection,
    described: DescribedCollection,
) -> CallResult<CollectionCut> {
    let schema = CollectionSchema::decode(described.schema.as_slice()).map_err(|error| {
        let message = format!("the schema of {} cannot be read: {error}", collection.full_name());
        CallError::new(Fault::Other, "DescribeCollection", message)
    })?;
    // Servers before 2.4 leave the number of shards out when it is theirs to choose.
    let shard_count = match described.shards_num {
        0 => i32::try_from(described.physical_channel_names.len()).unwrap_or(i32::MAX),
        count => count,
    };
    let mut properties = properties(described.properties);
    for property in self::properties(schema.properties) {
        if !properties.iter().any(|known| known.key == property.key) {
            properties.push(property);
        }
    }
    properties.sort();
    Ok(CollectionCut {
        collection_id: collection.id,
        name: collection.name.clone(),
        description: schema.description,
        shard_count,
        consistency_level: described.consistency_level,
        schema_proto: described.schema,
        fields: schema.fields.into_iter().map(field).collect(),
        dynamic_field: schema.enable_dynamic_field,
        properties,
        partitions: Vec::new(),
        indexes: Vec::new(),
        aliases: described.aliases,
        load_state: LoadState::NotLoaded,
        replica_count: 0,
        segments: Vec::new(),
    })
}

fn field(field: FieldSchema) -> FieldDescription {
    FieldDescription {
        field_id: field.field_id,
        data_type: type_name(field.data_type),
        element_type: match field.element_type {
            0 => String::new(),
            element_type => type_name(element_type),
        },
        flags: FieldFlags {
            primary_key: field.is_primary_key,
            auto_id: field.auto_id,
            partition_key: field.is_partition_key,
            dynamic: field.is_dynamic,
            nullable: field.nullable,
        },
        name: field.name,
        description: field.description,
        type_params: properties(field.type_params),
    }
}

fn type_name(data_type: i32) -> String {
    match DataType::try_from(data_type) {
        Ok(known) => known.as_str_name().to_owned(),
        Err(_) => format!("Unknown({data_type})"),
    }
}

/// Sorted by key.
pub(crate) fn properties(pairs: Vec<KeyValuePair>) -> Vec<Property> {
    let mut properties: Vec<_> =
        pairs.into_iter().map(|pair| Property { key: pair.key, value: pair.value }).collect();
    properties.sort();
    properties
}

async fn indexes(
    client: &Client,
    collection: &ListedCollection,
) -> CallResult<Option<Vec<IndexDescription>>> {
    let answer = call_by_name(client, collection, |name| DescribeIndexRequest {
        db_name: collection.database.clone(),
        collection_name: name,
        ..Default::default()
    })
    .await;
    let descriptions = match answer {
        Ok(Some((_, answer))) => answer.index_descriptions,
        Ok(None) => return Ok(None),
        Err(error) if error.fault == Fault::Nothing => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut indexes: Vec<_> = descriptions
        .into_iter()
        .map(|index| IndexDescription {
            name: index.index_name,
            field_name: index.field_name,
            params: properties(index.params),
        })
        .collect();
    indexes.sort_by(|a, b| (&a.field_name, &a.name).cmp(&(&b.field_name, &b.name)));
    Ok(Some(indexes))
}

/// Aliases where they have a call of their own. 2.3.5 answers it with an empty list and tells the aliases with the
/// collection, so both are asked.
async fn aliases(client: &Client, collection: &ListedCollection) -> CallResult<Option<Vec<String>>> {
    let answer = call_by_name(client, collection, |name| ListAliasesRequest {
        db_name: collection.database.clone(),
        collection_name: name,
        ..Default::default()
    })
    .await;
    match answer {
        Ok(answer) => Ok(answer.map(|(_, answer)| answer.aliases)),
        Err(error) if error.fault == Fault::Unimplemented => Ok(Some(Vec::new())),
        Err(error) => Err(error),
    }
}

/// A collection whose load has failed is not loaded: 2.3 answers with the failure instead of a state. A backup does not
/// need the query nodes, so it does not fail for them.
async fn load_state(client: &Client, collection: &ListedCollection) -> CallResult<Option<LoadState>> {
    let answer = call_by_name(client, collection, |name| GetLoadStateRequest {
        db_name: collection.database.clone(),
        collection_name: name,
        ..Default::default()
    })
    .await;
    let answer = match answer {
        Err(error) if matches!(error.fault, Fault::Other | Fault::Nothing) => {
            tracing::info!(%error, collection = collection.name, "the load state is unknown, so it counts as not loaded");
            return Ok(Some(LoadState::NotLoaded));
        }
        answer => answer?,
    };
    Ok(answer.map(|(_, answer)| match answer.state() {
        ProtoLoadState::NotExist | ProtoLoadState::NotLoad => LoadState::NotLoaded,
        ProtoLoadState::Loading => LoadState::Loading,
        ProtoLoadState::Loaded => LoadState::Loaded,
    }))
}

/// 0 when the collection was released or dropped since its load state was read. One that is loaded has a replica, also
/// while a query node that holds it is away.
async fn replica_count(client: &Client, collection: &ListedCollection) -> CallResult<u32> {
    let request = GetReplicasRequest {
        db_name: collection.database.clone(),
        collection_id: collection.id,
        ..Default::default()
    };
    match client.call(request).await {
        Ok(answer) => Ok(u32::try_from(answer.replicas.len()).unwrap_or(u32::MAX)),
        Err(error) if matches!(error.fault, Fault::Nothing | Fault::NotFound) => Ok(0),
        Err(error) if matches!(error.fault, Fault::Unavailable | Fault::Other) => {
            tracing::info!(%error, collection = collection.name, "the number of replicas is unknown, so it counts as one");
            Ok(1)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvus::proto::milvus::DescribeCollectionResponse;

    fn listed() -> ListedCollection {
        ListedCollection {
            database: String::from("default"),
            name: String::from("books"),
            id: 7,
            created_at: HybridTimestamp::default(),
        }
    }

    fn pair(key: &str, value: &str) -> KeyValuePair {
        KeyValuePair { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_schema_keeps_what_is_not_known_here() {
        let schema = CollectionSchema {
            name: String::from("books"),
            fields: vec![FieldSchema { field_id: 100, data_type: 999, ..Default::default() }],
            ..Default::default()
        };
        let mut schema_bytes = schema.encode_to_vec();
        // Field 1000, a varint.
        schema_bytes.extend([0xc0, 0x3e, 42]);
        let mut answer =
            DescribeCollectionResponse { collection_id: 7, ..Default::default() }.encode_to_vec();
        answer.extend([2 << 3 | 2, u8::try_from(schema_bytes.len()).unwrap()]);
        answer.extend(&schema_bytes);

        let cut = collection_cut(&listed(), DescribedCollection::decode(answer.as_slice()).unwrap()).unwrap();
        assert_eq!(cut.schema_proto, schema_bytes);
        assert_eq!(cut.fields.first().unwrap().data_type, "Unknown(999)");
    }

    #[test]
    fn properties_come_from_both_places_and_those_of_the_answer_win() {
        let schema = CollectionSchema {
            properties: vec![pair("b", "schema"), pair("a", "schema")],
            ..Default::default()
        };
        let described = DescribedCollection {
            schema: schema.encode_to_vec(),
            properties: vec![pair("c", "answer"), pair("b", "answer")],
            physical_channel_names: vec![String::from("x"), String::from("y")],
            ..Default::default()
        };
        let cut = collection_cut(&listed(), described).unwrap();
        let found: Vec<_> = cut.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(found, [("a", "schema"), ("b", "answer"), ("c", "answer")]);
        assert_eq!(cut.shard_count, 2);
    }
}
