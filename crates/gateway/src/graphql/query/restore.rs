//! Dry runs of restores.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::restore::input::RestoreBackupInput;
use crate::graphql::model::restore::plan::RestorePlan;
use crate::graphql::mutation::restore::permit_restore;
use async_graphql::{Context, Object};
use std::sync::Arc;

/// Queries about restores to come.
#[derive(Default)]
pub(crate) struct RestoreQuery;

#[Object]
impl RestoreQuery {
    /// What a restore would do: the plan that `restoreBackup` makes of the same input, with conflicts in it. Reads the
    /// backup and looks at the target's names, and changes nothing. Needs the same rights as the restore itself.
    #[graphql(complexity = "2_000 + child_complexity")]
    async fn plan_restore(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The restore.")] input: RestoreBackupInput,
    ) -> Result<RestorePlan, GatewayError> {
        let backend = context.backend()?;
        let asked = input.check()?;
        permit_restore(context, &asked.request).await?;
        let plan = backend.service.plan_restore(asked.request).await?;
        Ok(Arc::new(plan).into())
    }
}
