//! The work of Milvault: one `ClusterActor` per cluster decides what runs, `CopyActor`s carry units of a copy, a
//! `RetentionActor` ends backups whose time is over.
//!
//! Invariants, absences included:
//! - Actors are shells: a handler decides in microseconds and does nothing that can fail. All work is plain async
//!   functions (`run`, `retention::expire`) on the caller's runtime, which can be understood without actix.
//! - No type of actix is in the public interface; everything goes through [`Service`].
//! - The catalog is the truth. A row is written first, an actor is told afterwards; a message that is lost delays
//!   work until the next look at the catalog and loses nothing.
//! - Nothing here touches a network, a disk or a database except through the ports of `milvault-domain`.

mod catalog_backups;
mod checks;
mod cluster;
mod copy;
mod core;
mod error;
#[cfg(test)]
#[path = "../tests/support/fakes.rs"]
mod fakes;
mod found;
mod host;
mod job_pruning;
mod leases;
mod live;
mod messages;
mod news;
mod rebuild;
mod records;
mod request;
mod retention;
mod retry;
mod run;
mod runtime;
mod schedules;
mod service;
mod settle;
mod sweep;
mod takeover;
mod telemetry;
mod webhooks;

pub use crate::core::{Deps, Settings};
pub use catalog_backups::{CatalogBackupSettings, catalog_backup_is_at_work};
pub use checks::{DrillPolicyChange, DrillPolicyInForce, VerifyPolicyChange, VerifyPolicyInForce};
pub use error::{ServiceError, StartError};
pub use live::{JobChange, LiveJob};
pub use rebuild::{
    PolicyReturn, RebuildRequest, Rebuilt, RebuiltCluster, RebuiltPolicy, RebuiltRepository, rebuild_catalog,
};
pub use request::{
    AdoptBackupRequest, AttachedBackups, BackupRequest, ClusterPatch, CopyRequest, DrillRequest, NewCluster,
    NewRepository, VerifyRequest,
};
pub use runtime::{Lifecycle, Runtime, start};
pub use schedules::{CopyChange, PolicyChange, PolicyInForce};
pub use service::identity::{NewApiKey, NewCustomRole, NewUser};
pub use service::sign_in::NewSignIn;
pub use service::webhooks::NewWebhook;
pub use service::{BackupPatch, DeletedBackup, Service, SweepPreview};
