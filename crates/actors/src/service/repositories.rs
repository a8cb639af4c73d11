//! Registering repositories.

mod attach;

use super::Service;
use crate::error::ServiceError;
use crate::request::NewRepository;
use milvault_domain::error::{InvalidInput, check_name};
use milvault_domain::ids::{ProjectId, RepositoryId};
use milvault_domain::ports::{PageRequest, PortError, PortErrorKind, RepositoryFilter, SortKey};
use milvault_domain::repository::Repository;

/// Pages of names that are looked through before a place is made into a repository.
const NAME_PAGES_MAX: usize = 50;

impl Service {
    /// Makes an empty place into a repository and registers it.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name or a place that cannot hold a repository; `Conflict` when the name is taken,
    /// or the place is not empty or is a repository already; `Unavailable` when it cannot be reached.
    pub async fn register_repository(&self, new: NewRepository) -> Result<Repository, ServiceError> {
        self.admit()?;
        check_name("name", &new.name)?;
        let service = self.clone();
        self.to_the_end(async move { service.make_repository(new).await }).await
    }

    async fn make_repository(&self, new: NewRepository) -> Result<Repository, ServiceError> {
        self.check_name_is_free(new.project_id, &new.name).await?;
        let id = RepositoryId::from_uuid(self.deps().ids.new_uuid());
        let capabilities =
            self.deps().stores.create_repository(id, &new.storage).await.map_err(|error| unusable(&error))?;
        let repository = Repository {
            id,
            project_id: new.project_id,
            name: new.name,
            storage: new.storage,
            capabilities,
            created_at: self.deps().clock.now(),
        };
        self.deps().catalog.insert_repository(&repository).await?;
        Ok(repository)
    }

    /// The catalog decides about names in the end. Looking first keeps the common mistake from leaving an unregistered
    /// repository behind.
    pub(super) async fn check_name_is_free(
        &self,
        project_id: ProjectId,
        name: &str,
    ) -> Result<(), ServiceError> {
        let filter = RepositoryFilter { project_ids: Some(vec![project_id]) };
        let mut after = None;
        for _ in 0..NAME_PAGES_MAX {
            let request = PageRequest { limit: PageRequest::LIMIT_MAX, after };
            let page = self.deps().catalog.repositories(&filter, request).await?;
            if page.items.iter().any(|repository| repository.name == name) {
                let message = format!("the project already has a repository named \"{name}\"");
                return Err(ServiceError::Conflict { message, job_id: None });
            }
            after =
                page.items.last().map(|last| SortKey { created_at: last.created_at, id: last.id.as_uuid() });
            if !page.has_more {
                break;
            }
        }
        Ok(())
    }
}

/// A place that refuses is a mistake in the request, not a failure of the server.
pub(super) fn unusable(error: &PortError) -> ServiceError {
    let message = error.to_string();
    match error.kind() {
        PortErrorKind::Conflict => ServiceError::Conflict { message, job_id: None },
        PortErrorKind::Unavailable | PortErrorKind::Changed => {
            ServiceError::Unavailable { message, retryable: true }
        }
        PortErrorKind::Busy => ServiceError::Busy { message },
        PortErrorKind::NotFound
        | PortErrorKind::PermissionDenied
        | PortErrorKind::InvalidInput
        | PortErrorKind::StorageFull
        | PortErrorKind::ReadOnly
        | PortErrorKind::Unsupported => InvalidInput::new("storage", message).into(),
        PortErrorKind::Corrupt | PortErrorKind::Canceled | PortErrorKind::Internal => {
            ServiceError::Internal(PortError::new(error.kind(), message))
        }
    }
}
