//! The Milvus that rows are given back to, with what a restore adds to the port: repetition, and calls that are never
//! left half way.

use crate::core::Core;
use crate::leases::ClusterLease;
use crate::retry::Retry;
use milvault_domain::backup::CollectionName;
use milvault_domain::cluster::Cluster;
use milvault_domain::milvus::Property;
use milvault_domain::ports::{
    CreatedCollection, ImportRequest, MilvusTarget, NewCollection, PortError, PortErrorKind, PortResult,
};
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A connected target.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) milvus: Arc<dyn MilvusTarget>,
    retry: Retry,
    undivided: TaskTracker,
    io: Handle,
    lease: Option<Arc<ClusterLease>>,
}

impl Target {
    /// Connects. Calls that change something are counted by the tracker until they have ended.
    pub(crate) async fn connect(core: &Core, cluster: &Cluster, undivided: &TaskTracker) -> PortResult<Self> {
        let retry = Retry::of(&core.settings);
        let connect = || core.deps.milvus.connect_target(&cluster.endpoint);
        let milvus = retry.run("connect to the target", connect).await?;
        Ok(Self {
            milvus,
            retry,
            undivided: undivided.clone(),
            io: core.io.clone(),
            lease: core.lease.clone(),
        })
    }

    /// Whoever has this name, also as an alias.
    pub(crate) async fn holder(&self, name: &CollectionName) -> PortResult<Option<CreatedCollection>> {
        match self.retry.run("look for a collection", || self.milvus.find_collection(name)).await {
            // Its database is not there either.
            Err(error) if error.kind() == PortErrorKind::NotFound => Ok(None),
            found => found,
        }
    }

    /// The collection of this very name; aliases do not count.
    pub(crate) async fn find(&self, name: &CollectionName) -> PortResult<Option<CreatedCollection>> {
        Ok(self.holder(name).await?.filter(|found| found.name == name.collection))
    }

    /// Whether the collection of this name has this id.
    pub(crate) async fn has(&self, name: &CollectionName, collection_id: i64) -> PortResult<bool> {
        Ok(self.find(name).await?.is_some_and(|found| found.collection_id == collection_id))
    }

    /// Creates a collection under a name that nobody else uses: what an attempt that was cut off left there is dropped.
    pub(crate) async fn create_anew(&self, new: NewCollection) -> PortResult<CreatedCollection> {
        let new = Arc::new(new);
        let attempt = || async {
            if let Some(left) = self.find(&new.name).await? {
                self.drop_collection(&new.name, left.collection_id).await?;
            }
            let (milvus, new) = (Arc::clone(&self.milvus), Arc::clone(&new));
            self.to_the_end(async move { milvus.create_collection(&new).await }).await
        };
        self.retry.run("create a collection", attempt).await
    }

    /// Drops the collection if the name still belongs to it.
    pub(crate) async fn drop_collection(&self, name: &CollectionName, collection_id: i64) -> PortResult<()> {
        let attempt = || {
            let (milvus, name) = (Arc::clone(&self.milvus), name.clone());
            self.to_the_end(async move { milvus.drop_collection(&name, collection_id).await })
        };
        match self.retry.run("drop a collection", attempt).await {
            Err(error) if error.kind() == PortErrorKind::NotFound => Ok(()),
            dropped => dropped,
        }
    }

    /// Renames a collection. That it has the new name already is fine: an answer may have been lost.
    pub(crate) async fn rename(&self, name: &CollectionName, to: &str, collection_id: i64) -> PortResult<()> {
        let renamed = CollectionName { database: name.database.clone(), collection: to.to_owned() };
        let attempt = || async {
            let (milvus, name, to) = (Arc::clone(&self.milvus), name.clone(), to.to_owned());
            match self.to_the_end(async move { milvus.rename_collection(&name, &to).await }).await {
                Err(error) if matches!(error.kind(), PortErrorKind::NotFound | PortErrorKind::Conflict) => {
                    if self.has(&renamed, collection_id).await? {
                        Ok(())
                    } else {
                        Err(error)
                    }
                }
                answer => answer,
            }
        };
        self.retry.run("rename a collection", attempt).await
    }

    /// Sets properties of a collection.
    pub(crate) async fn set_properties(
        &self,
        name: &CollectionName,
        properties: Vec<Property>,
    ) -> PortResult<()> {
        let properties = Arc::new(properties);
        let attempt = || {
            let (milvus, name, properties) =
                (Arc::clone(&self.milvus), name.clone(), Arc::clone(&properties));
            self.to_the_end(async move { milvus.set_properties(&name, &properties).await })
        };
        self.retry.run("set properties", attempt).await
    }

    /// Makes an alias point to a collection.
    pub(crate) async fn set_alias(&self, name: &CollectionName, alias: &str) -> PortResult<()> {
        let attempt = || {
            let (milvus, name, alias) = (Arc::clone(&self.milvus), name.clone(), alias.to_owned());
            self.to_the_end(async move { milvus.set_alias(&name, &alias).await })
        };
        self.retry.run("set an alias", attempt).await
    }

    /// Begins an import. Never repeated here: if only the answer was lost, a second import would bring the rows twice.
    pub(crate) async fn import(&self, request: ImportRequest) -> PortResult<Vec<i64>> {
        let milvus = Arc::clone(&self.milvus);
        self.to_the_end(async move { milvus.import(&request).await }).await
    }

    /// Runs a call that may be repeated and that nothing is lost by when it is interrupted. Every attempt asks for the
    /// lease.
    pub(crate) async fn repeat<T, Call, Answer>(&self, step: &'static str, call: Call) -> PortResult<T>
    where
        Call: FnMut() -> Answer,
        Answer: Future<Output = PortResult<T>>,
    {
        self.retry.run_while(|| self.check_lease(), step, call).await
    }

    /// Asked right before every call that changes something: `Canceled` when another server may be at work.
    fn check_lease(&self) -> PortResult<()> {
        self.lease.as_ref().map_or(Ok(()), |lease| lease.check())
    }

    /// Runs a call to its end even when the work around it is stopped: what it does at the server would otherwise
    /// happen behind the back of the clean-up, which waits for the tracker.
    async fn to_the_end<T: Send + 'static>(
        &self,
        call: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        self.check_lease()?;
        match self.undivided.spawn_on(call.in_current_span(), &self.io).await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Nobody but a runtime that is being shut down cancels the task.
                Err(error) => Err(PortError::with_source(
                    PortErrorKind::Canceled,
                    "the call to the target was broken off",
                    error,
                )),
            },
        }
    }
}
