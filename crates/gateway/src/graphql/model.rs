//! Views of domain types: what the schema shows of them. Domain types know nothing of GraphQL.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod catalog_backups;
pub(crate) mod check;
pub(crate) mod checks;
pub(crate) mod cluster;
pub(crate) mod collection;
pub(crate) mod compare;
pub(crate) mod contents;
pub(crate) mod copies;
pub(crate) mod foreign;
pub(crate) mod identity;
pub(crate) mod job;
pub(crate) mod leases;
pub(crate) mod lifecycle;
pub(crate) mod node;
pub(crate) mod repository;
pub(crate) mod restore;
pub(crate) mod schedules;
pub(crate) mod secret;
pub(crate) mod sign_in;
pub(crate) mod storage;
pub(crate) mod verify;
pub(crate) mod viewer;
pub(crate) mod webhooks;
