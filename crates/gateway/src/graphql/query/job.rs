//! Jobs.

use super::{empty_page, listed_projects};
use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::job::{Job, JobState, JobType};
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::parse_id;
use async_graphql::resolver_utils::EnumType;
use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{JobFilter, SortKey};

/// Longest text of a filter, in characters.
const TEXT_CHARS_MAX: usize = 256;

/// Queries about jobs.
#[derive(Default)]
pub(crate) struct JobQuery;

/// Which jobs to list. Conditions that are absent leave nothing out.
#[derive(InputObject, Default)]
#[graphql(name = "JobFilter")]
pub(crate) struct JobFilterInput {
    /// Only of this project.
    project_id: Option<ID>,
    /// Only of this cluster.
    cluster_id: Option<ID>,
    /// Only about this backup.
    backup_id: Option<ID>,
    /// Only in these states.
    states: Option<Vec<JobState>>,
    /// Only of these types.
    types: Option<Vec<JobType>>,
    /// Only asked for by this name, as jobs show it.
    created_by: Option<String>,
    /// Only of a cluster or about a backup with this name, or with this word in its name; case does not matter. Words are
    /// what lies between spaces and `_`, `-`, `.`, `/` and `:`.
    text: Option<String>,
    /// Only asked for at this time or later.
    created_from: Option<DateTime<Utc>>,
    /// Only asked for before this time.
    created_before: Option<DateTime<Utc>>,
}

impl JobFilterInput {
    fn check(self, projects: Vec<ProjectId>) -> Result<JobFilter, GatewayError> {
        Ok(JobFilter {
            project_ids: Some(projects),
            cluster_id: self.cluster_id.map(|id| parse_id("filter.clusterId", &id)).transpose()?,
            backup_id: self.backup_id.map(|id| parse_id("filter.backupId", &id)).transpose()?,
            states: self.states.map(check_states).transpose()?,
            job_types: self.types.map(check_types).transpose()?,
            created_by: check_text("filter.createdBy", self.created_by)?,
            name: check_text("filter.text", self.text)?,
            created_from: self.created_from,
            created_before: self.created_before,
        })
    }
}

fn check_types(types: Vec<JobType>) -> Result<Vec<milvault_domain::job::JobType>, GatewayError> {
    let known = JobType::items().len();
    if types.is_empty() || types.len() > known {
        let rule = format!("must name 1 to {known} types; leave it out for all");
        return Err(GatewayError::bad_field("filter.types", rule));
    }
    Ok(types.into_iter().map(Into::into).collect())
}

fn check_text(field: &'static str, text: Option<String>) -> Result<Option<String>, GatewayError> {
    match text {
        Some(text) if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX => {
            let rule = format!("must have 1 to {TEXT_CHARS_MAX} characters; leave it out for all");
            Err(GatewayError::bad_field(field, rule))
        }
        text => Ok(text),
    }
}

fn check_states(states: Vec<JobState>) -> Result<Vec<milvault_domain::job::JobState>, GatewayError> {
    let known = milvault_domain::job::JobState::ALL.len();
    if states.is_empty() || states.len() > known {
        let rule = format!("must name 1 to {known} states; leave it out for all");
        return Err(GatewayError::bad_field("filter.states", rule));
    }
    Ok(states.into_iter().map(Into::into).collect())
}

#[Object]
impl JobQuery {
    /// A job, with its progress as it is now.
    async fn job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Identity of the job.")] id: ID,
    ) -> Result<Option<Job>, GatewayError> {
        context.caller()?;
        let record = access::job(context, Action::View, parse_id("id", &id)?).await?;
        Ok(Some(Job::now(record, context.backend()?)))
    }

    /// Jobs, newest first.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which jobs.")] filter: Option<JobFilterInput>,
        #[graphql(desc = "Jobs wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<Job>, GatewayError> {
        let backend = context.backend()?;
        let filter = filter.unwrap_or_default();
        let projects = listed_projects(context, filter.project_id.as_ref())?;
        let request = page::page_request(first, after.as_deref())?;
        let hidden = projects.is_empty();
        let filter = filter.check(projects)?;
        let found = if hidden { empty_page() } else { backend.catalog.jobs(&filter, request).await? };
        let sort_key = |record: &milvault_domain::job::Job| SortKey {
            created_at: record.created_at,
            id: record.id.as_uuid(),
        };
        Ok(page::connection(found, request.after, sort_key, |record| Job::now(record, backend)))
    }
}
