//! The audit log. Its end is locked while an entry is added, so that each entry is chained to the one before it; adding
//! is the last thing that a transaction does, so that nobody waits with the log locked.

use crate::catalog::SqlCatalog;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::error::corrupt;
use crate::model::{
    CREATED_BY_CHARS_MAX, Spelled, all_spellings, bounded, count, figure, from_json, id, spelled, time,
    to_json,
};
use crate::page::{ListOrder, ListQuery, read_page};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::{AuditActor, AuditEntry, AuditRecord, AuditResult, AuditTarget, CHAIN_START};
use milvault_domain::ids::{BackupId, OrganizationId, ProjectId};
use milvault_domain::ports::{
    AuditCatalog, AuditFilter, AuditPage, AuditPosition, Page, PortError, PortErrorKind, PortResult,
};

/// Longest text of an entry other than the actor's name and the values of inputs, in characters.
const TEXT_CHARS_MAX: usize = 128;
/// Longest value of an input: a reason, or the roles that were given.
const VALUE_CHARS_MAX: usize = 1_024;

#[async_trait]
impl AuditCatalog for SqlCatalog {
    async fn append_audit(&self, record: &AuditRecord) -> PortResult<u64> {
        let mut transaction = self.begin().await?;
        let sequence = append(&mut *transaction, self.database.dialect(), record).await?;
        transaction.commit().await?;
        Ok(sequence)
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: AuditPage) -> PortResult<Page<AuditEntry>> {
        match list(self.database.dialect(), filter, page)? {
            Some(statement) => read_page(self.database.read(statement).await?, page.limit, read),
            None => Ok(Page::empty()),
        }
    }
}

/// Writes down what the server did by itself to something in a project.
pub(crate) async fn append_by_system(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    action: &'static str,
    target: AuditTarget,
    count: u32,
    now: DateTime<Utc>,
) -> PortResult<()> {
    let Some(project_id) = project_of(transaction, &target).await? else {
        let message = format!("{} {} belongs to no project", target.kind, target.id);
        return Err(PortError::new(PortErrorKind::NotFound, message));
    };
    let organization_id = organization_of(transaction, project_id).await?;
    let record = AuditRecord {
        project_id: Some(project_id),
        target: Some(target),
        count,
        ..AuditRecord::by_system(now, organization_id, action)
    };
    append(transaction, dialect, &record).await?;
    Ok(())
}

/// Writes down that the time of these backups was over.
pub(crate) async fn append_expiries(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    backup_ids: &[BackupId],
    now: DateTime<Utc>,
) -> PortResult<()> {
    for backup_id in backup_ids {
        let target = AuditTarget { kind: String::from("backup"), id: backup_id.to_string() };
        append_by_system(transaction, dialect, "expireBackup", target, 1, now).await?;
    }
    Ok(())
}

/// Adds an entry at the end and returns its sequence.
pub(crate) async fn append(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    record: &AuditRecord,
) -> PortResult<u64> {
    let mut record = AuditRecord { at: time(record.at.timestamp_micros())?, ..shortened(record) };
    if let (None, Some(target)) = (record.project_id, &record.target) {
        record.project_id = project_of(transaction, target).await?;
    }
    if let Some(lock) = dialect.lock_audit_log {
        transaction.execute(Statement::new(lock)).await?;
    }
    let (sequence, previous_hash) = match transaction.query(select_last()).await?.pop() {
        Some(mut row) => (count::<u64>(row.integer("sequence")?)?, row.hash("hash")?),
        None => (0, CHAIN_START),
    };
    let entry = AuditEntry::chained(sequence.saturating_add(1), record, previous_hash)?;
    transaction.execute(insert(&entry)?).await?;
    Ok(entry.sequence)
}

/// A record whose texts fit the columns.
fn shortened(record: &AuditRecord) -> AuditRecord {
    let short = |text: &String| bounded(text, TEXT_CHARS_MAX);
    AuditRecord {
        actor: AuditActor { name: bounded(&record.actor.name, CREATED_BY_CHARS_MAX), ..record.actor.clone() },
        action: short(&record.action),
        target: record
            .target
            .as_ref()
            .map(|target| AuditTarget { kind: short(&target.kind), id: short(&target.id) }),
        inputs: record
            .inputs
            .iter()
            .map(|(name, value)| (short(name), bounded(value, VALUE_CHARS_MAX)))
            .collect(),
        code: record.code.as_ref().map(short),
        remote_address: record.remote_address.as_ref().map(short),
        request_id: record.request_id.as_ref().map(short),
        ..record.clone()
    }
}

/// The project that a target belongs to; `None` for what belongs to none or is not there.
async fn project_of(
    transaction: &mut dyn Transaction,
    target: &AuditTarget,
) -> PortResult<Option<ProjectId>> {
    let Some(statement) = select_project(target) else { return Ok(None) };
    let found = transaction.query(statement).await?.pop();
    found.map(|mut row| id(&row.text("project_id")?)).transpose()
}

async fn organization_of(
    transaction: &mut dyn Transaction,
    project_id: ProjectId,
) -> PortResult<OrganizationId> {
    let statement =
        Statement::new("SELECT organization_id FROM projects WHERE id = ").bind(project_id.to_string());
    match transaction.query(statement).await?.pop() {
        Some(mut row) => id(&row.text("organization_id")?),
        None => Err(PortError::new(PortErrorKind::NotFound, format!("project {project_id} does not exist"))),
    }
}

pub(crate) fn select_project(target: &AuditTarget) -> Option<Statement> {
    let statement = match target.kind.as_str() {
        "project" => Statement::new("SELECT id AS project_id FROM projects WHERE id = "),
        "cluster" => Statement::new("SELECT project_id FROM clusters WHERE id = "),
        "repository" => Statement::new("SELECT project_id FROM repositories WHERE id = "),
        "backup" => Statement::new("SELECT project_id FROM backups WHERE id = "),
        "job" => Statement::new("SELECT project_id FROM jobs WHERE id = "),
        "webhook" => Statement::new("SELECT project_id FROM webhooks WHERE id = "),
        "webhookDelivery" => Statement::new(
            "SELECT webhooks.project_id AS project_id FROM webhook_deliveries JOIN webhooks \
             ON webhooks.id = webhook_deliveries.webhook_id WHERE webhook_deliveries.id = ",
        ),
        "hold" => Statement::new(
            "SELECT backups.project_id AS project_id FROM backup_holds JOIN backups \
             ON backups.id = backup_holds.backup_id WHERE backup_holds.id = ",
        ),
        _ => return None,
    };
    Some(statement.bind(target.id.as_str()))
}

pub(crate) fn select_last() -> Statement {
    Statement::new("SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1")
}

fn insert(entry: &AuditEntry) -> PortResult<Statement> {
    let record = &entry.record;
    let actor = &record.actor;
    let intent = record.intent.map(|intent| figure("intent", intent)).transpose()?;
    Ok(Statement::insert(
        "audit_log",
        [
            ("sequence", figure("sequence", entry.sequence)?.into()),
            ("at_us", record.at.timestamp_micros().into()),
            ("organization_id", record.organization_id.to_string().into()),
            ("project_id", record.project_id.map(|id| id.to_string()).into()),
            ("actor_kind", actor.kind.spelling().into()),
            ("actor_id", actor.id.clone().into()),
            ("actor_name", actor.name.as_str().into()),
            ("api_key_id", actor.api_key_id.map(|id| id.to_string()).into()),
            ("action", record.action.as_str().into()),
            ("target_kind", record.target.as_ref().map(|target| target.kind.clone()).into()),
            ("target_id", record.target.as_ref().map(|target| target.id.clone()).into()),
            ("inputs", to_json(&record.inputs)?.into()),
            ("result", record.result.map(|result| result.spelling().to_owned()).into()),
            ("code", record.code.clone().into()),
            ("event_count", i64::from(record.count).into()),
            ("remote_address", record.remote_address.clone().into()),
            ("request_id", record.request_id.clone().into()),
            ("intent_sequence", intent.into()),
            ("previous_hash", entry.previous_hash.as_slice().into()),
            ("hash", entry.hash.as_slice().into()),
        ],
    ))
}

/// The statement for a page; `None` when there can be nothing. It asks for one row more than the page has.
pub(crate) fn list(dialect: Dialect, filter: &AuditFilter, page: AuditPage) -> PortResult<Option<Statement>> {
    if !(1..=AuditPage::LIMIT_MAX).contains(&page.limit) {
        return Err(invalid(format!(
            "a page must have 1 to {} entries, got {}",
            AuditPage::LIMIT_MAX,
            page.limit
        )));
    }
    let organization = Some(filter.organization_id.to_string());
    let query = ListQuery::new("SELECT * FROM audit_log WHERE 1 = 1", "").merged_for(dialect);
    // Entries about one thing are few: everything else is compared row by row.
    let query = if let Some(target_id) = filter.target_id.as_deref() {
        let projects = filter.project_ids.as_ref();
        let projects = projects.map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        query
            .and("target_id = ", Some(target_id))
            .and("organization_id || '' = ", organization)
            .and_residual("project_id || ''", projects)?
            .and("actor_id || '' = ", filter.actor_id.as_deref())
            .and("action || '' = ", filter.action.as_deref())
            .and("result || '' = ", filter.result.map(Spelled::spelling))
    } else {
        let query = query
            .and("organization_id = ", organization)
            .in_projects(filter.project_ids.as_deref())?
            .and("actor_id = ", filter.actor_id.as_deref())
            .and("action = ", filter.action.as_deref());
        match (filter.result, &filter.actor_id, &filter.action) {
            (result, None, None) => query.and("result = ", result.map(Spelled::spelling)),
            (Some(result), ..) => query.and(RESULT_IS, Some(result.spelling())),
            (None, ..) => query.and_every(RESULT, every_result()),
        }
    };
    let query = query
        .and("at_us >= ", filter.from.map(|time| time.timestamp_micros()))
        .and("at_us < ", filter.to.map(|time| time.timestamp_micros()));
    let after = match page.after {
        Some(AuditPosition { at, sequence }) => {
            Some([at.timestamp_micros().into(), figure("sequence", sequence)?.into()])
        }
        None => None,
    };
    let order = if page.newest_first { &NEWEST_FIRST } else { &OLDEST_FIRST };
    Ok(query.ordered(order, after, i64::from(page.limit) + 1))
}

/// The result as the indexes on actor and action have it: no text where there is none.
const RESULT: &str = "COALESCE(result, '')";
const RESULT_IS: &str = "COALESCE(result, '') = ";

fn every_result() -> Vec<&'static str> {
    std::iter::once("").chain(all_spellings::<AuditResult>()).collect()
}

const NEWEST_FIRST: ListOrder =
    ListOrder { after_begins: " AND (at_us, sequence) < (", by: " ORDER BY at_us DESC, sequence DESC" };
const OLDEST_FIRST: ListOrder =
    ListOrder { after_begins: " AND (at_us, sequence) > (", by: " ORDER BY at_us, sequence" };

fn invalid(message: String) -> PortError {
    PortError::new(PortErrorKind::InvalidInput, message)
}

fn read(row: &mut Record) -> PortResult<AuditEntry> {
    let target = match (row.optional_text("target_kind")?, row.optional_text("target_id")?) {
        (Some(kind), Some(id)) => Some(AuditTarget { kind, id }),
        (None, None) => None,
        _ => return Err(corrupt("an audit entry has half a target")),
    };
    Ok(AuditEntry {
        sequence: count(row.integer("sequence")?)?,
        record: AuditRecord {
            at: time(row.integer("at_us")?)?,
            organization_id: id(&row.text("organization_id")?)?,
            project_id: row.optional_text("project_id")?.map(|text| id(&text)).transpose()?,
            actor: AuditActor {
                kind: spelled(&row.text("actor_kind")?)?,
                id: row.optional_text("actor_id")?,
                name: row.text("actor_name")?,
                api_key_id: row.optional_text("api_key_id")?.map(|text| id(&text)).transpose()?,
            },
            action: row.text("action")?,
            target,
            inputs: from_json(&row.text("inputs")?)?,
            result: row.optional_text("result")?.map(|text| spelled(&text)).transpose()?,
            code: row.optional_text("code")?,
            count: count(row.integer("event_count")?)?,
            remote_address: row.optional_text("remote_address")?,
            request_id: row.optional_text("request_id")?,
            intent: row.optional_integer("intent_sequence")?.map(count).transpose()?,
        },
        previous_hash: row.hash("previous_hash")?,
        hash: row.hash("hash")?,
    })
}
