//! Which databases and collections there are, and how to call by name what may be renamed at any moment.

use crate::call::Call;
use crate::client::{Client, HybridTimestamp};
use crate::error::{CallError, CallResult, Fault};
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::backup::BackupScope;
use milvault_domain::milvus::Capabilities;
use milvus::proto::milvus::{ListDatabasesRequest, ShowCollectionsRequest};
use std::time::Duration;
use tokio::time::Instant;

/// Calls of one kind that are under way at once.
pub(crate) const CALLS_AT_ONCE: usize = 8;
/// Time in which a call by name catches up with a collection. A program that does nothing but rename gives about a
/// hundred names a second; on a busy machine most calls miss theirs.
const NAME_PATIENCE: Duration = Duration::from_mins(1);
/// The database of servers that know no databases.
const DEFAULT_DATABASE: &str = "default";

/// A collection as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedCollection {
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) id: i64,
    pub(crate) created_at: HybridTimestamp,
}

impl ListedCollection {
    /// `database.collection`, for messages.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// Databases of the scope that exist, sorted.
pub(crate) async fn databases(
    client: &Client,
    capabilities: Capabilities,
    scope: &BackupScope,
) -> CallResult<Vec<String>> {
    let mut names = if capabilities.databases {
        client.call(ListDatabasesRequest::default()).await?.db_names
    } else {
        vec![String::from(DEFAULT_DATABASE)]
    };
    names.retain(|name| scope.includes_database(name));
    names.sort();
    names.dedup();
    Ok(names)
}

/// Collections of one database, sorted by name; `None` when the database is gone.
pub(crate) async fn collections(
    client: &Client,
    database: &str,
) -> CallResult<Option<Vec<ListedCollection>>> {
    let request = ShowCollectionsRequest { db_name: database.to_owned(), ..Default::default() };
    let answer = match client.call(request).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let count = answer.collection_names.len();
    if answer.collection_ids.len() != count || answer.created_timestamps.len() != count {
        let message = format!("{count} names came with another number of ids or creation times");
        return Err(CallError::new(Fault::Other, ShowCollectionsRequest::METHOD, message));
    }
    let mut listed: Vec<_> = answer
        .collection_names
        .into_iter()
        .zip(answer.collection_ids)
        .zip(answer.created_timestamps)
        .map(|((name, id), created_at)| ListedCollection {
            database: database.to_owned(),
            name,
            id,
            created_at: HybridTimestamp(created_at),
        })
        .collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(listed))
}

/// Collections of many databases. Databases that are gone are left out.
pub(crate) async fn collections_of(
    client: &Client,
    databases: &[String],
) -> CallResult<Vec<ListedCollection>> {
    let list = async |database: String| collections(client, &database).await;
    let lists: Vec<_> =
        stream::iter(databases.iter().cloned().map(list)).buffered(CALLS_AT_ONCE).try_collect().await?;
    Ok(lists.into_iter().flatten().flatten().collect())
}

/// The time left for calls by the name of one collection.
pub(crate) struct NameChase<'a> {
    collection: &'a ListedCollection,
    until: Instant,
}

impl<'a> NameChase<'a> {
    pub(crate) fn new(collection: &'a ListedCollection) -> Self {
        Self { collection, until: Instant::now() + NAME_PATIENCE }
    }

    /// To be asked before another name is tried.
    ///
    /// # Errors
    ///
    /// `method` could not keep up with the names. Leaving the collection out instead would be wrong: it is there.
    pub(crate) fn go_on(&self, method: &'static str) -> CallResult<()> {
        if Instant::now() < self.until {
            return Ok(());
        }
        let message = format!("{} is renamed faster than it can be asked about", self.collection.full_name());
        Err(CallError::new(Fault::Unavailable, method, message))
    }
}

/// Makes a call that needs a collection's name; follows the collection when it is renamed meanwhile. `None` when
/// it is gone. Also gives the name that worked.
pub(crate) async fn call_by_name<C: Call>(
    client: &Client,
    collection: &ListedCollection,
    request: impl Fn(String) -> C,
) -> CallResult<Option<(String, C::Answer)>> {
    let chase = NameChase::new(collection);
    let mut name = collection.name.clone();
    loop {
        match client.call(request(name.clone())).await {
            Ok(answer) => return Ok(Some((name, answer))),
            Err(error) if error.is_not_found() => match current_name(client, collection).await? {
                Some(current) => name = current,
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        }
        chase.go_on(C::METHOD)?;
    }
}

/// The name that a collection has now; `None` when it is gone.
pub(crate) async fn current_name(
    client: &Client,
    collection: &ListedCollection,
) -> CallResult<Option<String>> {
    let listed = collections(client, &collection.database).await?.unwrap_or_default();
    Ok(listed.into_iter().find(|other| other.id == collection.id).map(|other| other.name))
}
