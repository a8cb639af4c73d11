//! Giving rows back: everything by which this crate changes a cluster.
//!
//! Milvus knows collections by name only where it changes them, so every change looks first at what is behind the
//! name. Between the look and the change somebody else may rename; names that a restore works under are its own, so
//! nobody should.

mod access;
mod alias;
mod collection;
mod database;
mod import;
mod index;
mod inventory;
mod load;
mod lookup;
mod rename;
mod rest_import;
mod rows;
mod schema;

pub(crate) use rest_import::RestImport;

use crate::connector::ConnectedCluster;
use async_trait::async_trait;
use milvault_domain::backup::CollectionName;
use milvault_domain::error::PortResult;
use milvault_domain::milvus::{AccessControl, IndexDescription, LoadState, Property};
use milvault_domain::ports::{
    CreatedCollection, ImportProgress, ImportRequest, Inventory, MilvusTarget, NewCollection,
};
use milvault_domain::restore::UserPassword;

#[async_trait]
impl MilvusTarget for ConnectedCluster {
    async fn inventory(&self) -> PortResult<Inventory> {
        inventory::read(&self.client, &self.server).await
    }

    async fn create_database(&self, name: &str, properties: &[Property]) -> PortResult<()> {
        database::create(&self.client, &self.server, name, properties).await
    }

    async fn drop_empty_database(&self, name: &str) -> PortResult<bool> {
        database::drop_empty(&self.client, &self.server, name).await
    }

    async fn create_collection(&self, new: &NewCollection) -> PortResult<CreatedCollection> {
        collection::create(&self.client, &self.server, new).await
    }

    async fn set_properties(&self, name: &CollectionName, properties: &[Property]) -> PortResult<()> {
        collection::set_properties(&self.client, name, properties).await
    }

    async fn find_collection(&self, name: &CollectionName) -> PortResult<Option<CreatedCollection>> {
        Ok(lookup::find(&self.client, name).await?)
    }

    async fn drop_collection(&self, name: &CollectionName, collection_id: i64) -> PortResult<()> {
        collection::drop(&self.client, name, collection_id).await
    }

    async fn rename_collection(&self, name: &CollectionName, to: &str) -> PortResult<()> {
        rename::rename(&self.client, name, to).await
    }

    async fn import(&self, request: &ImportRequest) -> PortResult<Vec<i64>> {
        import::begin(&self.client, self.rest_import.as_ref(), &self.server, request).await
    }

    async fn import_progress(&self, import_id: i64) -> PortResult<ImportProgress> {
        Ok(import::progress(&self.client, import_id).await?)
    }

    async fn flush(&self, name: &CollectionName) -> PortResult<()> {
        rows::flush(&self.client, name).await
    }

    async fn row_counts(&self, name: &CollectionName) -> PortResult<Vec<(String, u64)>> {
        rows::counts(&self.client, name).await
    }

    async fn create_index(&self, name: &CollectionName, index: &IndexDescription) -> PortResult<()> {
        index::create(&self.client, name, index).await
    }

    async fn indexes_built(&self, name: &CollectionName) -> PortResult<bool> {
        index::built(&self.client, name).await
    }

    async fn load(&self, name: &CollectionName, replica_count: u32) -> PortResult<()> {
        load::load(&self.client, name, replica_count).await
    }

    async fn release(&self, name: &CollectionName) -> PortResult<()> {
        load::release(&self.client, name).await
    }

    async fn load_state(&self, name: &CollectionName) -> PortResult<LoadState> {
        load::state(&self.client, name).await
    }

    async fn set_alias(&self, name: &CollectionName, alias: &str) -> PortResult<()> {
        alias::set(&self.client, name, alias).await
    }

    async fn restore_access(
        &self,
        access: &AccessControl,
        passwords: &[UserPassword],
    ) -> PortResult<Vec<String>> {
        access::restore(self, access, passwords).await
    }
}
