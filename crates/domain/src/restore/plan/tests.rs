#![allow(clippy::unwrap_used)]

use super::samples::{
    access, collection, collection_rename, cut, database, database_rename, inventory, item, named, plan,
    plan_into, property, request, shop,
};
use crate::milvus::LoadState;
use crate::restore::{
    AccessRestore, ChosenItem, ConflictPolicy, IndexChoice, LoadChoice, RestoreAction, RestorePlan,
    RestoreRequest, RestoreSelection, TargetNames, UserPassword,
};
use crate::secret::{Secret, SecretValue};

mod abilities;
mod access_control;
mod aliases;
mod choices;
mod conflicts;
mod databases;
mod names;
mod selection;

fn targets(plan: &RestorePlan) -> Vec<String> {
    plan.restored().map(|c| format!("{}.{}", c.target.database, c.target.collection)).collect()
}

fn chosen(items: Vec<ChosenItem>) -> RestoreRequest {
    RestoreRequest { selection: RestoreSelection::Chosen(items), ..request() }
}

fn with_policy(conflict: ConflictPolicy) -> RestoreRequest {
    RestoreRequest { conflict, ..request() }
}

fn rule_of(request: &RestoreRequest) -> (&'static str, String) {
    let error = plan(request, &shop(), &inventory(&[])).unwrap_err();
    (error.field, error.rule)
}
