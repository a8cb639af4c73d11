//! Restores and drills: their plans, and what has become of each collection.

use crate::database::{Dialect, Record, Statement, Transaction};
use crate::error::corrupt;
use crate::jobs;
use crate::model::{FAILURE_CHARS_MAX, Spelled, bounded, bounded_warnings, count, from_json, to_json};
use crate::requests;
use crate::seal::Sealer;
use milvault_domain::ids::JobId;
use milvault_domain::job::JobType;
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::restore::{Restore, RestorePlan, RestoreStep, RestoredCollection};

/// Collections that one statement adds: four parameters each, of a few ten thousand that a statement may have.
const STATEMENT_COLLECTIONS_MAX: usize = 250;

/// A plan with its collections, ready to be written: made before the transaction begins, for it can be long.
pub(crate) struct NewPlan {
    plan_json: String,
    collections: Vec<(u32, RestoreStep, String)>,
}

impl NewPlan {
    /// Checks and writes down a plan.
    ///
    /// # Errors
    /// `InvalidInput` when the numbers of collections differ.
    pub(crate) fn new(plan: &RestorePlan, collections: &[RestoredCollection]) -> PortResult<Self> {
        if plan.collections.len() != collections.len() {
            return Err(PortError::new(
                PortErrorKind::InvalidInput,
                format!(
                    "the plan has {} collections, but the states of {} were given",
                    plan.collections.len(),
                    collections.len()
                ),
            ));
        }
        let numbered = (0..).zip(collections);
        let collections = numbered
            .map(|(position, collection)| Ok((position, collection.step, state_json(collection)?)))
            .collect::<PortResult<_>>()?;
        Ok(Self { plan_json: to_json(plan)?, collections })
    }
}

/// Keeps the plan of a restore or drill, unless one is kept already.
pub(crate) async fn save_plan(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    new: NewPlan,
) -> PortResult<()> {
    let job = jobs::load_locked(transaction, dialect, job_id).await?;
    if !matches!(job.job_type, JobType::Restore | JobType::Drill) {
        return Err(PortError::new(PortErrorKind::NotFound, format!("job {job_id} is no restore or drill")));
    }
    if !transaction.query(select_plan(job_id)).await?.is_empty() {
        return Ok(());
    }
    let columns = [("job_id", job_id.to_string().into()), ("plan", new.plan_json.into())];
    transaction.execute(Statement::insert("restore_plans", columns)).await?;
    for chunk in new.collections.chunks(STATEMENT_COLLECTIONS_MAX) {
        transaction.execute(insert_collections(job_id, chunk)).await?;
    }
    Ok(())
}

fn insert_collections(job_id: JobId, collections: &[(u32, RestoreStep, String)]) -> Statement {
    let job_id = job_id.to_string();
    let begin = "INSERT INTO restored_collections (job_id, position, step, state) VALUES (";
    let mut statement = Statement::new(begin);
    for (index, (position, step, state)) in collections.iter().enumerate() {
        statement = statement
            .push(if index == 0 { "" } else { "), (" })
            .bind(job_id.as_str())
            .push(", ")
            .bind(i64::from(*position))
            .push(", ")
            .bind(step.spelling())
            .push(", ")
            .bind(state.as_str());
    }
    statement.push(")")
}

/// Marks these databases of the plan as made by the restore, and all others as not made by it.
pub(crate) async fn save_made_databases(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    names: &[String],
) -> PortResult<()> {
    jobs::load_locked(transaction, dialect, job_id).await?;
    let mut plan = load_plan(transaction, job_id)
        .await?
        .ok_or_else(|| PortError::new(PortErrorKind::NotFound, format!("job {job_id} has no plan")))?;
    for database in &mut plan.databases {
        database.made = names.contains(&database.name);
    }
    let columns = [("plan", to_json(&plan)?.into())];
    let update = Statement::update("restore_plans", columns).push("job_id = ").bind(job_id.to_string());
    transaction.execute(update).await?;
    Ok(())
}

/// Writes what has become of one collection.
pub(crate) fn update_collection(
    job_id: JobId,
    position: u32,
    collection: &RestoredCollection,
) -> PortResult<Statement> {
    let columns = [("step", collection.step.spelling().into()), ("state", state_json(collection)?.into())];
    Ok(Statement::update("restored_collections", columns)
        .push("job_id = ")
        .bind(job_id.to_string())
        .push(" AND position = ")
        .bind(i64::from(position)))
}

pub(crate) fn no_such_collection(job_id: JobId, position: u32) -> PortError {
    PortError::new(
        PortErrorKind::NotFound,
        format!("job {job_id} has no plan with a collection at position {position}"),
    )
}

fn state_json(collection: &RestoredCollection) -> PortResult<String> {
    let mut kept = collection.clone();
    kept.failure = kept.failure.map(|failure| bounded(&failure, FAILURE_CHARS_MAX));
    kept.warnings = bounded_warnings(&kept.warnings);
    to_json(&kept)
}

/// Everything about a restore in one statement, so that its parts belong together.
pub(crate) fn select(job_id: JobId) -> Statement {
    let job_id = job_id.to_string();
    Statement::new(
        "SELECT 'REQUEST' AS part, CAST(0 AS BIGINT) AS position, request_sealed AS value FROM job_requests WHERE job_id = ",
    )
    .bind(job_id.as_str())
    .push(" UNION ALL SELECT 'PLAN', 0, plan FROM restore_plans WHERE job_id = ")
    .bind(job_id.as_str())
    .push(" UNION ALL SELECT 'WARNINGS', 0, warnings FROM job_completions WHERE job_id = ")
    .bind(job_id.as_str())
    .push(" UNION ALL SELECT 'COLLECTION', position, state FROM restored_collections WHERE job_id = ")
    .bind(job_id)
}

/// Puts a restore together; `None` when the rows are not of a restore or drill.
pub(crate) fn read(sealer: &Sealer, job_id: JobId, rows: Vec<Record>) -> PortResult<Option<Restore>> {
    let (mut request, mut plan, mut warnings, mut collections) = (None, None, Vec::new(), Vec::new());
    for mut row in rows {
        let value = row.text("value")?;
        match row.text("part")?.as_str() {
            "REQUEST" => request = Some(requests::unseal(sealer, job_id, &value)?),
            "PLAN" => plan = Some(from_json::<RestorePlan>(&value)?),
            "WARNINGS" => warnings = from_json(&value)?,
            _ => collections.push((row.integer("position")?, from_json::<RestoredCollection>(&value)?)),
        }
    }
    let Some(JobRequest::Restore(request) | JobRequest::Drill(request)) = request else { return Ok(None) };
    if collections.len() != plan.as_ref().map_or(0, |plan| plan.collections.len()) {
        return Err(corrupt(format_args!("the plan of job {job_id} has another number of collections")));
    }
    collections.sort_by_key(|(position, _)| *position);
    let collections = collections.into_iter().map(|(_, collection)| collection).collect();
    Ok(Some(Restore { request, plan, collections, warnings }))
}

/// Reads a plan, inside a transaction.
pub(crate) async fn load_plan(
    transaction: &mut dyn Transaction,
    job_id: JobId,
) -> PortResult<Option<RestorePlan>> {
    let rows = transaction.query(select_plan(job_id)).await?;
    rows.into_iter().next().map(|mut row| from_json(&row.text("plan")?)).transpose()
}

/// Reads the collections of a plan that are at one of these steps, with their positions, inside a transaction.
pub(crate) async fn load_collections_at(
    transaction: &mut dyn Transaction,
    job_id: JobId,
    steps: &[RestoreStep],
) -> PortResult<Vec<(usize, RestoredCollection)>> {
    let read = |mut row: Record| Ok((count(row.integer("position")?)?, from_json(&row.text("state")?)?));
    transaction.query(select_collections_at(job_id, steps)).await?.into_iter().map(read).collect()
}

pub(crate) fn select_plan(job_id: JobId) -> Statement {
    Statement::new("SELECT plan FROM restore_plans WHERE job_id = ").bind(job_id.to_string())
}

pub(crate) fn select_collections_at(job_id: JobId, steps: &[RestoreStep]) -> Statement {
    let mut statement = Statement::new("SELECT position, state FROM restored_collections WHERE job_id = ")
        .bind(job_id.to_string())
        .push(" AND step IN (");
    for (index, step) in steps.iter().enumerate() {
        statement = statement.push(if index == 0 { "" } else { ", " }).bind(step.spelling());
    }
    statement.push(") ORDER BY position")
}
