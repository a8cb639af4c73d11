//! Registering and attaching repositories.

use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::ContextExt;
use crate::graphql::model::repository::Repository;
use crate::graphql::model::storage::StorageInput;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_actors::NewRepository;
use milvault_domain::access::Action;

/// Mutations of repositories.
#[derive(Default)]
pub(crate) struct RepositoryMutation;

/// A repository to be made.
#[derive(InputObject)]
pub(crate) struct RegisterRepositoryInput {
    /// Name, 1 to 64 characters, unique in the project.
    name: String,
    /// Project it will belong to; absent for the only one in which the key may manage repositories.
    project_id: Option<ID>,
    /// An empty place.
    storage: StorageInput,
}

/// A repository that was made.
#[derive(SimpleObject)]
pub(crate) struct RegisterRepositoryPayload {
    /// The repository.
    repository: Repository,
}

/// A repository to be attached.
#[derive(InputObject)]
pub(crate) struct AttachRepositoryInput {
    /// Name, 1 to 64 characters, unique in the project.
    name: String,
    /// Project it will belong to; absent for the only one in which the key may manage repositories.
    project_id: Option<ID>,
    /// A place that a Milvault made into a repository.
    storage: StorageInput,
}

/// A repository that was attached, with what was found in it.
#[derive(SimpleObject)]
pub(crate) struct AttachRepositoryPayload {
    /// The repository.
    repository: Repository,
    /// Backups found in it.
    found: u32,
    /// Those of them that were not known here; they are `AVAILABLE` now.
    added: u32,
    /// Backups that could not be read and are left out, with the reason; past the first hundred only their number.
    unreadable: Vec<String>,
}

#[Object]
impl RepositoryMutation {
    /// Makes an empty place into a repository: finds out what its store can do, and writes `milvault.json`.
    async fn register_repository(
        &self,
        context: &Context<'_>,
        input: RegisterRepositoryInput,
    ) -> Result<RegisterRepositoryPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted = input.project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        let project_id = caller.project_for(Action::ManageClusters, wanted)?;
        let new = NewRepository { project_id, name: input.name, storage: input.storage.check()? };
        context.permit_place(&new.storage)?;
        let made = backend.service.register_repository(new).await?;
        context.note_target(made.id);
        Ok(RegisterRepositoryPayload { repository: made.into() })
    }

    /// Registers a repository that another Milvault made, or this one before its catalog was lost, and lists its
    /// backups. Nothing in the repository is changed. One that is registered already gives `CONFLICT`.
    async fn attach_repository(
        &self,
        context: &Context<'_>,
        input: AttachRepositoryInput,
    ) -> Result<AttachRepositoryPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted = input.project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        let project_id = caller.project_for(Action::ManageClusters, wanted)?;
        let new = NewRepository { project_id, name: input.name, storage: input.storage.check()? };
        context.permit_place(&new.storage)?;
        let attached = backend.service.attach_repository(new).await?;
        context.note_target(attached.repository.id);
        Ok(AttachRepositoryPayload {
            repository: attached.repository.into(),
            found: attached.found,
            added: attached.added,
            unreadable: attached.unreadable,
        })
    }
}
