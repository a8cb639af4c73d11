//! What every catalog must do: the contracts of [`milvault_domain::ports::Catalog`] as cases that run against a real
//! database. Each case gets a new, empty database.
//!
//! A case is a private function that its module lists in `cases!`; one that is not listed is dead code, which the
//! lints refuse.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod admission;
mod audit;
mod batches;
mod catalog_backups;
mod checks;
mod clusters;
mod comparisons;
mod completion;
mod copies;
mod filters;
mod found;
mod identity;
mod job_pruning;
mod leases;
mod lifecycle;
mod lists;
mod names;
mod ownership;
mod plans;
mod policies;
mod recovery;
mod requests;
mod restore_completion;
mod restore_requests;
mod restore_samples;
mod restores;
mod retention;
mod rotation;
mod samples;
mod schedules;
mod sign_in;
mod tenancy;
mod transitions;
mod usage;
mod webhooks;

use crate::scale::ScaleCatalog;
use crate::{SealedCatalog, Sealer};
use async_trait::async_trait;
use milvault_domain::ports::{Catalog, PortResult};
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A database that a case uses alone.
#[async_trait]
pub trait Home: Send + Sync {
    /// Opens the catalog in it.
    async fn open(&self, sealer: Sealer) -> PortResult<Arc<dyn Catalog>>;

    /// Opens it to change the keys of what is sealed in it.
    async fn open_sealed(&self, sealer: Sealer) -> PortResult<SealedCatalog>;

    /// Opens it to be filled, and asked how it answers.
    async fn scale(&self) -> PortResult<ScaleCatalog>;

    /// Everything that the database holds, as somebody would find it who has a copy of it.
    async fn raw_contents(&self) -> Vec<u8>;

    /// Runs a statement past the catalog, as somebody would who has the database; the database's words when it refuses.
    async fn run_statement(&self, statement: &'static str) -> Result<(), String>;

    /// Removes it.
    async fn remove(&self);
}

type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Case {
    name: &'static str,
    run: fn(Arc<dyn Home>) -> CaseFuture,
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: |home| Box::pin($name(home)),
        }),+];
    };
}
use cases;

const MODULES: &[&[Case]] = &[
    tenancy::CASES,
    identity::CASES,
    sign_in::CASES,
    clusters::CASES,
    requests::CASES,
    admission::CASES,
    restore_requests::CASES,
    transitions::CASES,
    completion::CASES,
    restores::CASES,
    restore_completion::CASES,
    comparisons::CASES,
    found::CASES,
    recovery::CASES,
    policies::CASES,
    rotation::CASES,
    catalog_backups::CASES,
    lists::CASES,
    names::CASES,
    filters::CASES,
    retention::CASES,
    leases::CASES,
    lifecycle::CASES,
    schedules::CASES,
    webhooks::CASES,
    checks::CASES,
    copies::CASES,
    ownership::CASES,
    plans::CASES,
    audit::CASES,
    job_pruning::CASES,
    usage::CASES,
    batches::CASES,
];

/// Cases that run at once: most of their time goes into waiting for the database.
const CASES_AT_ONCE: usize = 4;

/// Runs all cases, each on a database of its own.
///
/// # Panics
/// Names the cases that failed.
pub async fn run<H, F>(make_home: impl Fn() -> F)
where
    H: Home + 'static,
    F: Future<Output = H>,
{
    let mut failed = Vec::new();
    let mut running = JoinSet::new();
    let mut cases = MODULES.iter().copied().flatten();
    loop {
        while running.len() < CASES_AT_ONCE
            && let Some(case) = cases.next()
        {
            let home: Arc<dyn Home> = Arc::new(make_home().await);
            running.spawn(async move {
                let outcome = tokio::spawn((case.run)(Arc::clone(&home))).await;
                home.remove().await;
                (case.name, outcome.is_ok())
            });
        }
        let Some(ended) = running.join_next().await else { break };
        let (name, is_ok) = ended.expect("a home can be removed");
        println!("{name} ... {}", if is_ok { "ok" } else { "FAILED" });
        failed.extend((!is_ok).then_some(name));
    }
    assert!(failed.is_empty(), "failed cases: {failed:#?}");
}
