//! What a mutation found out or made, told by its resolver for the outcome in the audit log.

use super::{AuditedRequest, kind_of};
use async_graphql::Context;
use milvault_domain::audit::{AuditRecord, AuditTarget};
use milvault_domain::ids::ProjectId;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

/// Of the mutation at work. One request's mutations run one after the other, so there is one at a time.
#[derive(Clone, Default)]
pub(super) struct Facts(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    target: Option<AuditTarget>,
    project_id: Option<ProjectId>,
    inputs: BTreeMap<String, String>,
}

impl Facts {
    fn with(&self, change: impl FnOnce(&mut Found)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Forgets what the mutation before has told.
    pub(super) fn clear(&self) {
        self.with(|found| *found = Found::default());
    }

    /// Adds everything to the record of an outcome. What was found out is surer than what was asked for.
    pub(super) fn complete(&self, outcome: &mut AuditRecord) {
        self.with(|found| {
            let Found { target, project_id, inputs } = std::mem::take(found);
            outcome.target = target.or(outcome.target.take());
            outcome.project_id = project_id.or(outcome.project_id);
            outcome.inputs.extend(inputs);
        });
    }
}

/// How resolvers tell. Outside of a mutation it does nothing.
pub(crate) trait AuditNotes {
    /// What the mutation made, or what it turned out to be about.
    fn note_target(&self, id: impl Display);

    /// Another id that it made or found out.
    fn note(&self, field: &'static str, id: impl Display);

    /// The project that it happens in.
    fn note_project(&self, project_id: ProjectId);
}

impl AuditNotes for Context<'_> {
    fn note_target(&self, id: impl Display) {
        let id = id.to_string();
        let Some(kind) = kind_of(&id) else { return };
        change(self, |found| found.target = Some(AuditTarget { kind: kind.to_owned(), id }));
    }

    fn note(&self, field: &'static str, id: impl Display) {
        let id = id.to_string();
        change(self, |found| {
            found.inputs.insert(field.to_owned(), id);
        });
    }

    fn note_project(&self, project_id: ProjectId) {
        change(self, |found| found.project_id = Some(project_id));
    }
}

fn change(context: &Context<'_>, change: impl FnOnce(&mut Found)) {
    if let Some(request) = context.data_opt::<AuditedRequest>() {
        request.facts.with(change);
    }
}
