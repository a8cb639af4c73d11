//! Backup repositories and the clusters' storage: files on a local disk or in an object store.
//!
//! [`RepositoryStores`] implements the ports of `milvault_domain::ports` for storage. `docs/format.md` specifies what a
//! repository consists of; the bytes themselves are encoded and decoded in `milvault_domain::manifest`.
//!
//! Invariants: a file is visible under its name only when it is complete and durable; no file but `unfinished` is ever
//! written anew, except a pack whose bytes are known to be damaged; bytes are written before whatever refers to them;
//! memory is bounded by buffers, not by the size or number of files. `object_store` does not leave this crate.

mod backups;
mod catalog_backups;
mod checks;
mod connect;
mod copy;
mod error;
#[cfg(test)]
#[path = "../tests/support/fake_store.rs"]
mod fake_store;
mod foreign;
mod layout;
mod lifecycle;
mod marker;
mod place;
mod policies;
mod probe;
mod records;
mod repository;
mod source;
mod stage;
mod stores;
mod verify;

pub use stores::{RepositoryStores, create_in_memory};
