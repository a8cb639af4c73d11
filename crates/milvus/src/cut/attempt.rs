//! One attempt at a cut.

use super::evidence::{DeletePlacement, Evidence, segments_of_cut};
use super::flush::{Flushing, flush_all};
use super::resolve::{Hazard, HazardKind, resolve};
use super::segments::{self, ListedSegment};
use crate::client::{Client, HybridTimestamp};
use crate::error::{CallError, CallResult, Fault};
use crate::listing::{self, CALLS_AT_ONCE, ListedCollection};
use crate::{access, describe};
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::backup::BackupScope;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{CollectionCut, Cut, DatabaseCut, PartitionDescription, Property, ServerInfo};
use milvus::proto::milvus::DescribeDatabaseRequest;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// From the boundary to the flush: gives inserts that have their timestamp time to choose their segments. The cut is
/// right without it, but with it fewer rows land in segments of their own. There is nothing to wait for instead:
/// 2.3.5 tells nobody how far its channels are.
const SETTLE: Duration = Duration::from_millis(100);
/// The clock's milliseconds advance about every 50 ms; this many questions, 10 ms apart, see it stand still.
const CLOCK_QUESTIONS_MAX: usize = 500;

/// What an attempt is made with.
pub(crate) struct Attempt<'a> {
    pub(crate) client: &'a Client,
    pub(crate) server: &'a ServerInfo,
    pub(crate) scope: &'a BackupScope,
}

/// How an attempt ended.
pub(crate) enum Outcome {
    Taken(Box<Cut>),
    /// Ambiguous; never empty.
    Void(Vec<Hazard>),
}

/// The databases and collections at one moment.
struct Listing {
    databases: Vec<String>,
    /// All collections of those databases.
    collections: Vec<ListedCollection>,
}

/// A collection of the first list.
struct Described {
    description: Description,
    before: Vec<ListedSegment>,
}

/// What a collection is made of, shortly before the boundary.
struct Description {
    cut: CollectionCut,
    partitions: Vec<(PartitionDescription, HybridTimestamp)>,
}

impl Attempt<'_> {
    /// Makes the attempt. Hazards for which `tolerated` is true lead to a collection being left out, or to either of
    /// its names, instead of a void attempt.
    pub(crate) async fn run(&self, tolerated: impl Fn(&Hazard) -> bool) -> PortResult<Outcome> {
        let blocking = |hazards: Vec<Hazard>| -> Vec<Hazard> {
            let (tolerable, blocking): (Vec<_>, _) = hazards.into_iter().partition(&tolerated);
            for hazard in &tolerable {
                tracing::info!(%hazard, "a collection is left out of the cut, or shown under either name");
            }
            blocking
        };
        let started_at = self.client.allocate_timestamp().await?;
        let first = self.first_listing().await?;
        let mut described = self.describe(&first.collections).await?;
        let boundary = self.boundary(started_at).await?;
        let cut_at_ms = boundary.physical_ms() - 1;
        tokio::time::sleep(SETTLE).await;

        let second = self.list().await?;
        let collections = resolve(&first.collections, &second.collections, self.scope, started_at, cut_at_ms);
        let hazards = blocking(collections.hazards);
        if !hazards.is_empty() {
            return Ok(Outcome::Void(hazards));
        }
        let late = self.describe(&collections.late).await?;
        // A late one was empty at the boundary or is younger than any compaction: nothing of it can have been
        // replaced, so its list before the boundary is the empty one.
        described.extend(late.into_iter().map(|(id, late)| (id, Described { before: Vec::new(), ..late })));

        let (mut flushing, mut undescribed) = (Vec::new(), Vec::new());
        for collection in collections.kept.into_iter().chain(collections.late) {
            match described.remove(&collection.id) {
                Some(Described { description, before }) => {
                    let evidence = Evidence { before, ..Evidence::default() };
                    flushing.push(Flushing::new(collection, evidence, description));
                }
                // It was not there to be described, but is now.
                None if collection.created_at < started_at => {
                    undescribed.push(Hazard::new(&collection, HazardKind::MovedIn));
                }
                None => undescribed.push(Hazard::new(&collection, HazardKind::Dropped)),
            }
        }
        let hazards = blocking(undescribed);
        if !hazards.is_empty() {
            return Ok(Outcome::Void(hazards));
        }
        let (flushed, gone) = flush_all(self.client, flushing).await?;
        let hazards = blocking(gone);
        if !hazards.is_empty() {
            return Ok(Outcome::Void(hazards));
        }
        let (collections, hazards) = self.assemble(flushed, cut_at_ms).await?;
        if !hazards.is_empty() {
            return Ok(Outcome::Void(hazards));
        }
        Ok(Outcome::Taken(Box::new(self.cut(first, collections, cut_at_ms).await?)))
    }

    async fn list(&self) -> PortResult<Listing> {
        let databases = listing::databases(self.client, self.server.capabilities, self.scope).await?;
        let collections = listing::collections_of(self.client, &databases).await?;
        Ok(Listing { databases, collections })
    }

    /// Lists what is in the scope; what the scope names must be there.
    async fn first_listing(&self) -> PortResult<Listing> {
        let mut listing = self.list().await?;
        let is_there = |name: &str| listing.databases.iter().any(|database| database == name);
        let missing_database = match self.scope {
            BackupScope::Cluster => None,
            BackupScope::Databases(names) => names.iter().find(|name| !is_there(name)),
            BackupScope::Collections(names) => {
                names.iter().map(|name| &name.database).find(|name| !is_there(name))
            }
        };
        if let Some(name) = missing_database {
            let message = format!("there is no database `{name}` in this cluster");
            return Err(PortError::new(PortErrorKind::NotFound, message));
        }
        listing.collections.retain(|c| self.scope.includes_collection(&c.database, &c.name));
        if let BackupScope::Collections(names) = self.scope {
            let there: HashSet<_> =
                listing.collections.iter().map(|c| (c.database.as_str(), c.name.as_str())).collect();
            let is_missing = |name: &&_| {
                let milvault_domain::backup::CollectionName { database, collection } = name;
                !there.contains(&(database.as_str(), collection.as_str()))
            };
            if let Some(name) = names.iter().find(is_missing) {
                let message =
                    format!("there is no collection `{}` in database `{}`", name.collection, name.database);
                return Err(PortError::new(PortErrorKind::NotFound, message));
            }
        }
        Ok(listing)
    }

    /// Describes collections and lists their segments. Those that are gone are left out: the second list decides
    /// what that means.
    async fn describe(&self, collections: &[ListedCollection]) -> PortResult<HashMap<i64, Described>> {
        // Owned, because the compiler cannot yet prove borrowed ones fit for `Send` futures.
        let described = collections.iter().cloned().map(|collection| describe_one(self.client, collection));
        let described: Vec<_> = stream::iter(described).buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
        Ok(described.into_iter().flatten().collect())
    }

    /// The first timestamp whose millisecond is past that of `started_at`.
    async fn boundary(&self, started_at: HybridTimestamp) -> CallResult<HybridTimestamp> {
        for _ in 0..CLOCK_QUESTIONS_MAX {
            let timestamp = self.client.allocate_timestamp().await?;
            if timestamp.physical_ms() > started_at.physical_ms() {
                return Ok(timestamp);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(CallError::new(Fault::Unavailable, "AllocTimestamp", "the cluster's clock does not advance"))
    }

    /// Puts descriptions, partitions and segments together, or tells what is ambiguous.
    async fn assemble(
        &self,
        flushed: Vec<Flushing<Description>>,
        cut_at_ms: i64,
    ) -> PortResult<(Vec<(String, CollectionCut)>, Vec<Hazard>)> {
        let placement = if self.server.capabilities.l0_segments {
            DeletePlacement::LevelZero
        } else {
            DeletePlacement::WithRows
        };
        let assembled =
            flushed.into_iter().map(|flushed| assemble_one(self.client, flushed, placement, cut_at_ms));
        let assembled: Vec<_> = stream::iter(assembled).buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
        let (mut collections, mut hazards) = (Vec::new(), Vec::new());
        for result in assembled {
            match result {
                Ok(collection) => collections.push(collection),
                Err(hazard) => hazards.push(hazard),
            }
        }
        Ok((collections, hazards))
    }

    async fn cut(
        &self,
        listing: Listing,
        collections: Vec<(String, CollectionCut)>,
        cut_at_ms: i64,
    ) -> PortResult<Cut> {
        let access_control = match self.scope {
            BackupScope::Cluster => access::read(self.client, &listing.databases).await?,
            BackupScope::Databases(_) | BackupScope::Collections(_) => None,
        };
        let mut by_database: BTreeMap<String, Vec<CollectionCut>> =
            listing.databases.into_iter().map(|name| (name, Vec::new())).collect();
        for (database, collection) in collections {
            by_database.entry(database).or_default().push(collection);
        }
        let databases =
            by_database.into_iter().map(|(name, collections)| database_cut(self.client, name, collections));
        let databases = stream::iter(databases).buffered(CALLS_AT_ONCE).try_collect().await?;
        Ok(Cut { cut_at_ms, server: self.server.clone(), databases, access_control })
    }
}

async fn describe_one(client: &Client, collection: ListedCollection) -> PortResult<Option<(i64, Described)>> {
    let described: CallResult<_> = async {
        let Some(cut) = describe::describe(client, &collection).await? else { return Ok(None) };
        let Some(partitions) = describe::partitions(client, &collection).await? else { return Ok(None) };
        let Some(before) = segments::list(client, &collection).await? else { return Ok(None) };
        Ok(Some((collection.id, Described { description: Description { cut, partitions }, before })))
    }
    .await;
    described.map_err(|error| in_collection(error, &collection))
}

/// The outer result is a failed call, the inner one a hazard.
async fn assemble_one(
    client: &Client,
    flushed: Flushing<Description>,
    placement: DeletePlacement,
    cut_at_ms: i64,
) -> PortResult<Result<(String, CollectionCut), Hazard>> {
    let Flushing { collection, evidence, context: Description { mut cut, partitions }, .. } = flushed;
    let partitions_now =
        describe::partitions(client, &collection).await.map_err(|error| in_collection(error, &collection))?;
    // All is written: that the collection is gone by now does no harm any more.
    let partitions_now = partitions_now.unwrap_or(partitions);
    let (at_cut, later): (Vec<_>, Vec<_>) =
        partitions_now.into_iter().partition(|(_, created_at)| created_at.physical_ms() <= cut_at_ms);
    cut.partitions = at_cut.into_iter().map(|(partition, _)| partition).collect();
    let later = later.iter().map(|(partition, _)| partition.partition_id).collect();
    let evidence = evidence.without_partitions(&later);
    cut.name.clone_from(&collection.name);
    Ok(match segments_of_cut(&evidence, placement, &cut.partitions) {
        Ok(segments) => Ok((collection.database, CollectionCut { segments, ..cut })),
        Err(kind) => Err(Hazard::new(&collection, kind)),
    })
}

async fn database_cut(
    client: &Client,
    name: String,
    mut collections: Vec<CollectionCut>,
) -> CallResult<DatabaseCut> {
    collections.sort_by(|a, b| a.name.cmp(&b.name));
    let properties = database_properties(client, &name).await?;
    Ok(DatabaseCut { name, properties, collections })
}

fn in_collection(error: CallError, collection: &ListedCollection) -> PortError {
    PortError::from(error).context(format!("collection `{}`", collection.full_name()))
}

/// None where the server has no such call or does not tell this user, or the database is gone by now.
async fn database_properties(client: &Client, name: &str) -> CallResult<Vec<Property>> {
    let request = DescribeDatabaseRequest { db_name: name.to_owned(), ..Default::default() };
    match client.call(request).await {
        Ok(answer) => Ok(describe::properties(answer.properties)),
        Err(error)
            if matches!(error.fault, Fault::Unimplemented | Fault::PermissionDenied | Fault::NotFound) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
