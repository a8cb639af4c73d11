//! The schema and how operations of it are executed.

mod access;
mod audited;
mod backend;
mod cost;
#[cfg(test)]
mod documents;
mod executor;
mod loaders;
mod model;
mod mutation;
mod page;
mod query;
mod scalar;
mod subscription;
mod together;

pub(crate) use audited::AuditNotes;
pub(crate) use backend::Backend;
pub(crate) use executor::{GraphExecutor, complete_errors, error_response};
pub(crate) use query::audit::readable as readable_audit;

use crate::audit::AuditTrail;
use crate::limits::GatewayLimits;
use async_graphql::{MergedObject, MergedSubscription, SDLExportOptions, Schema, SchemaBuilder};
use audited::AuditMutations;
use chrono::{DateTime, Utc};
use cost::CostLimit;
use std::sync::Arc;

/// Queries. They read the catalog only, but for `planRestore` and `foreignBackups`, which say so.
#[derive(MergedObject, Default)]
pub(crate) struct Query(
    query::viewer::ViewerQuery,
    query::node::NodeQuery,
    query::cluster::ClusterQuery,
    query::repository::RepositoryQuery,
    query::backup::BackupQuery,
    query::identity::IdentityQuery,
    query::job::JobQuery,
    query::audit::AuditQuery,
    query::leases::ServerQuery,
    query::catalog_backups::CatalogBackupQuery,
    query::lifecycle::LifecycleQuery,
    query::restore::RestoreQuery,
    query::foreign::ForeignBackupQuery,
    query::schedules::ScheduleQuery,
    query::webhooks::WebhookQuery,
    query::sign_in::SignInQuery,
    query::usage::UsageQuery,
);

/// Mutations. Each has one input and one payload.
#[derive(MergedObject, Default)]
pub(crate) struct Mutation(
    mutation::repository::RepositoryMutation,
    mutation::cluster::ClusterMutation,
    mutation::backup::BackupMutation,
    mutation::identity::IdentityMutation,
    mutation::api_key::ApiKeyMutation,
    mutation::job::JobMutation,
    mutation::retry::RetryMutation,
    mutation::lifecycle::LifecycleMutation,
    mutation::copies::CopyMutation,
    mutation::restore::RestoreMutation,
    mutation::schedules::ScheduleMutation,
    mutation::checks::ChecksMutation,
    mutation::webhooks::WebhookMutation,
    mutation::sign_in::SignInMutation,
    mutation::catalog_backups::CatalogBackupMutation,
);

/// Subscriptions. The first event is the current state, each further one a change.
#[derive(MergedSubscription, Default)]
pub(crate) struct Subscription(subscription::job::JobSubscription);

/// The schema of this API.
pub(crate) type GatewaySchema = Schema<Query, Mutation, Subscription>;

/// The schema with limits and with what its resolvers work on.
pub(crate) fn schema(backend: Arc<Backend>, trail: Arc<AuditTrail>, limits: &GatewayLimits) -> GatewaySchema {
    builder()
        .data(backend)
        .extension(AuditMutations(trail))
        .limit_depth(limits.depth_max)
        .extension(CostLimit(limits.complexity_max))
        .limit_directives(limits.directives_max)
        .finish()
}

/// The schema's text; needs nothing to work on.
pub(crate) fn sdl() -> String {
    let options = SDLExportOptions::new()
        .sorted_fields()
        .sorted_arguments()
        .sorted_enum_items()
        .include_specified_by()
        .use_space_ident();
    let text = builder().finish().sdl_with_options(options);
    format!("{}\n", text.trim_end())
}

fn builder() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query::default(), Mutation::default(), Subscription::default())
        .override_output_type_description::<DateTime<Utc>>("A time, as RFC 3339 text with a time zone.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use async_graphql::Value;
    use futures::StreamExt;

    /// Arguments that fit the schema, which is all that it takes to reach the resolver.
    fn argument(name: &str) -> &'static str {
        match name {
            "createBackup" | "removeCluster" | "checkCluster" | "updateCluster" | "sweepCluster" => {
                "(input: {clusterId: \"x\"})"
            }
            "setBackupPolicy" | "backupPolicyPreview" | "setDrillPolicy" => {
                "(input: {clusterId: \"x\", enabled: true})"
            }
            "setVerifyPolicy" => "(input: {repositoryId: \"x\", enabled: true})",
            "copyBackup" => "(input: {backupId: \"x\", repositoryId: \"x\"})",
            "updateBackup" | "deleteBackup" => "(input: {backupId: \"x\"})",
            "holdBackup" => "(input: {backupId: \"x\", reason: \"x\"})",
            "createCatalogBackup" => "(input: {})",
            "releaseHold" => "(input: {holdId: \"x\"})",
            "previewRetention" | "previewSweep" => "(clusterId: \"x\")",
            "verifyBackup" => "(input: {backupId: \"x\", level: CONTENT})",
            "createProject" | "createApiKey" => "(input: {name: \"x\"})",
            "renameProject" => "(input: {projectId: \"x\", name: \"x\"})",
            "createUser" => "(input: {name: \"x\", email: \"x\"})",
            "updateUser" | "endUserSessions" => "(input: {userId: \"x\"})",
            "setUserRoles" => "(input: {userId: \"x\", roles: []})",
            "createCustomRole" => "(input: {name: \"x\", privileges: []})",
            "deleteCustomRole" => "(input: {customRoleId: \"x\"})",
            "revokeApiKey" => "(input: {apiKeyId: \"x\"})",
            "revokeSession" => "(input: {sessionId: \"x\"})",
            "cancelJob" | "retryJob" | "resumeRestore" | "undoRestore" | "verifyRestore" => {
                "(input: {jobId: \"x\"})"
            }
            "registerRepository" | "attachRepository" => {
                "(input: {name: \"x\", storage: {local: {path: \"/x\"}}})"
            }
            "foreignBackups" => "(storage: {local: {path: \"/x\"}})",
            "adoptBackup" => {
                "(input: {clusterId: \"x\", directory: \"x\", storage: {local: {path: \"/x\"}}})"
            }
            "planRestore" | "restoreBackup" | "drillBackup" => {
                "(input: {backupId: \"x\", targetClusterId: \"x\"})"
            }
            "registerCluster" => {
                "(input: {name: \"x\", uri: \"x\", repositoryId: \"x\", storage: {local: {path: \"/x\"}}})"
            }
            "createWebhook" => "(input: {name: \"x\", url: \"x\", events: [BACKUP_FAILED]})",
            "updateWebhook" | "deleteWebhook" | "rotateWebhookSecret" | "testWebhook" => {
                "(input: {webhookId: \"x\"})"
            }
            "redeliver" => "(input: {deliveryId: \"x\"})",
            "jobUpdated" => "(jobId: \"x\")",
            "node" | "webhook" | "cluster" | "repository" | "backup" | "job" => "(id: \"x\")",
            _ => "",
        }
    }

    /// The HTTP layer lets nobody through without a key. Should it ever, every resolver refuses by itself, before
    /// it looks at the input.
    #[tokio::test]
    async fn every_resolver_refuses_a_request_without_a_caller() {
        let schema = builder().finish();
        let roots = schema
            .execute("{ __schema { queryType { fields { name } } mutationType { fields { name } } subscriptionType { fields { name } } } }")
            .await
            .data
            .into_json()
            .unwrap();
        let mut checked = 0;
        for (operation, root) in
            [("query", "queryType"), ("mutation", "mutationType"), ("subscription", "subscriptionType")]
        {
            for field in roots["__schema"][root]["fields"].as_array().unwrap() {
                let name = field["name"].as_str().unwrap();
                let selection = if name == "backupPolicyPreview" { "" } else { "{ __typename }" };
                let query = format!("{operation} {{ {name}{} {selection} }}", argument(name));
                let mut answer = schema.execute_stream(query).next().await.unwrap();
                complete_errors(&mut answer, "test");
                let code = answer.errors[0].extensions.as_ref().and_then(|extensions| extensions.get("code"));
                assert_eq!(code, Some(&Value::from("UNAUTHENTICATED")), "{name}: {:?}", answer.errors);
                checked += 1;
            }
        }
        assert!(checked >= 29, "introspection found too little");
    }
}
