//! Databases of the target: which of them a restore makes, and dropping those again.

use super::target::Target;
use crate::core::Core;
use crate::retry::Retry;
use milvault_domain::ids::JobId;
use milvault_domain::ports::PortResult;
use milvault_domain::restore::RestorePlan;
use std::collections::HashSet;

/// Creates the databases that the plan needs and the target does not have. Which they are is recorded first: another
/// one may have been made by somebody else since it was planned, and is never dropped.
pub(super) async fn make_databases(
    core: &Core,
    target: &Target,
    job_id: JobId,
    plan: &mut RestorePlan,
) -> PortResult<()> {
    if plan.databases.iter().any(|database| database.create && !database.made) {
        let inventory = target.repeat("look at the databases", || target.milvus.inventory()).await?;
        let there: HashSet<&str> = inventory.databases.iter().map(|found| found.name.as_str()).collect();
        for database in &mut plan.databases {
            database.made |= database.create && !there.contains(database.name.as_str());
        }
        record(core, job_id, &plan.made_databases()).await?;
    }
    // Those that exist stay as they are, so an attempt that was cut off may do it again.
    for database in plan.databases.iter().filter(|database| database.create) {
        let create = || target.milvus.create_database(&database.name, &database.properties);
        target.repeat("create a database", create).await?;
    }
    Ok(())
}

/// Drops the databases that a restore has made, as far as they are empty. Those that are gone are no longer recorded as
/// its own, because another one of the name would be somebody else's.
pub(crate) async fn remove_databases(
    core: &Core,
    target: &Target,
    job_id: JobId,
    plan: &RestorePlan,
) -> PortResult<()> {
    let made = plan.made_databases();
    let mut left = Vec::new();
    for name in &made {
        let drop_it = || target.milvus.drop_empty_database(name);
        if !target.repeat("drop an empty database", drop_it).await? {
            left.push(name.clone());
        }
    }
    if left.len() < made.len() {
        record(core, job_id, &left).await?;
    }
    Ok(())
}

async fn record(core: &Core, job_id: JobId, made: &[String]) -> PortResult<()> {
    let save = || core.deps.catalog.save_made_databases(job_id, made);
    Retry::of(&core.settings).run("record the databases that are made", save).await
}
