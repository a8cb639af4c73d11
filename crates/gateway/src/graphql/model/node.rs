//! Anything with an id.

use super::backup::Backup;
use super::cluster::Cluster;
use super::job::Job;
use super::repository::Repository;
use async_graphql::{ID, Interface};

/// Anything with an id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "&ID", desc = "Identity; its prefix says what it is."))]
#[allow(clippy::large_enum_variant, reason = "one at a time lives for the length of an answer")]
pub(crate) enum Node {
    Cluster(Cluster),
    Repository(Repository),
    Backup(Backup),
    Job(Job),
}
