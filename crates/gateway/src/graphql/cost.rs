//! The limit of what an operation may cost. The schema's own limit says neither the limit nor the cost.

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{ServerError, ValidationResult};
use std::sync::Arc;

/// Most that an operation may cost: one per field, multiplied by the page size of the lists it lies in.
#[derive(Clone, Copy)]
pub(super) struct CostLimit(pub(super) usize);

impl ExtensionFactory for CostLimit {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(*self)
    }
}

#[async_trait::async_trait]
impl Extension for CostLimit {
    async fn validation(
        &self,
        context: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let validated = next.run(context).await?;
        if self.0 < validated.complexity {
            let message = format!(
                "the operation costs {}, and at most {} is allowed; ask for smaller pages (`first`), or leave out fields of lists",
                validated.complexity, self.0
            );
            return Err(vec![ServerError::new(message, None)]);
        }
        Ok(validated)
    }
}
