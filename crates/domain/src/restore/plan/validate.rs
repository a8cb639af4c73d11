//! Rules of a request that need neither the backup nor the target.

use crate::error::InvalidInput;
use crate::restore::{AccessRestore, ChosenItem, RestoreRequest, RestoreSelection, TargetNames};
use crate::secret::Secret;
use std::collections::HashSet;

/// Longest name of a Milvus database, collection or alias, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Most shards of a collection that Milvus makes.
const SHARDS_MAX: i32 = 64;
/// The user that every Milvus has.
pub(super) const ROOT_USER: &str = "root";

pub(in crate::restore) fn validate(request: &RestoreRequest) -> Result<(), InvalidInput> {
    if let RestoreSelection::Chosen(items) = &request.selection {
        check_items(items)?;
    }
    check_names(&request.names)?;
    if let Some(count) = request.shard_count.filter(|count| !(1..=SHARDS_MAX).contains(count)) {
        return Err(InvalidInput::new(
            "shardCount",
            format!("must be between 1 and {SHARDS_MAX}, or null to keep the backup's; got {count}"),
        ));
    }
    request.access_control.as_ref().map_or(Ok(()), check_access)
}

fn check_items(items: &[ChosenItem]) -> Result<(), InvalidInput> {
    if items.is_empty() {
        return Err(InvalidInput::new("items", "must name at least one; leave it out to restore everything"));
    }
    let named: usize =
        items.iter().map(|item| item.partitions.as_ref().map_or(1, |list| list.len().max(1))).sum();
    check_count("items", named)?;
    for item in items {
        let collection_is_empty = item.collection.as_ref().is_some_and(String::is_empty);
        if item.database.is_empty() || collection_is_empty {
            return Err(InvalidInput::new("items", "must not contain empty names"));
        }
        let Some(partitions) = &item.partitions else { continue };
        if item.collection.is_none() {
            return Err(InvalidInput::new("items", "partitions can be chosen of a collection only; name it"));
        }
        if partitions.is_empty() || partitions.iter().any(String::is_empty) {
            return Err(InvalidInput::new(
                "items",
                "a list of partitions must not be empty nor contain empty names; leave it out for all partitions",
            ));
        }
    }
    Ok(())
}

fn check_names(names: &TargetNames) -> Result<(), InvalidInput> {
    check_count("databaseNames", names.databases.len())?;
    check_count("collectionNames", names.collections.len())?;
    let mut seen = HashSet::new();
    for rename in &names.databases {
        check_target_name("databaseNames", &rename.to)?;
        if !seen.insert(&rename.from) {
            return Err(InvalidInput::new("databaseNames", format!("`{}` is renamed twice", rename.from)));
        }
    }
    let mut seen = HashSet::new();
    for rename in &names.collections {
        check_target_name("collectionNames", &rename.to.database)?;
        check_target_name("collectionNames", &rename.to.collection)?;
        if !seen.insert(&rename.from) {
            return Err(InvalidInput::new(
                "collectionNames",
                format!("{} is renamed twice", super::shown(&rename.from)),
            ));
        }
    }
    if names.suffix.len() > NAME_BYTES_MAX || !names.suffix.chars().all(is_name_character) {
        return Err(InvalidInput::new(
            "suffix",
            format!("must consist of at most {NAME_BYTES_MAX} letters, digits and underscores"),
        ));
    }
    Ok(())
}

fn check_access(access: &AccessRestore) -> Result<(), InvalidInput> {
    check_count("accessControl", access.passwords.len())?;
    let mut seen = HashSet::new();
    for entry in &access.passwords {
        let rule = if entry.user.is_empty() {
            String::from("must not contain empty user names")
        } else if entry.user == ROOT_USER {
            format!("`{ROOT_USER}` exists at every Milvus and keeps its password; leave it out")
        } else if matches!(&entry.password, Secret::Value(value) if value.expose().is_empty()) {
            format!("the password of `{}` must not be empty", entry.user)
        } else if !seen.insert(&entry.user) {
            format!("`{}` is given two passwords", entry.user)
        } else {
            continue;
        };
        return Err(InvalidInput::new("accessControl", rule));
    }
    Ok(())
}

fn check_count(field: &'static str, count: usize) -> Result<(), InvalidInput> {
    if count > RestoreRequest::ITEMS_MAX {
        return Err(InvalidInput::new(field, format!("must name at most {}", RestoreRequest::ITEMS_MAX)));
    }
    Ok(())
}

/// Milvus's own rule for the names of databases and collections.
fn check_target_name(field: &'static str, name: &str) -> Result<(), InvalidInput> {
    let begins_well =
        name.chars().next().is_some_and(|first| is_name_character(first) && !first.is_ascii_digit());
    if begins_well && name.len() <= NAME_BYTES_MAX && name.chars().all(is_name_character) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(InvalidInput::new(
        field,
        format!(
            "names must have 1 to {NAME_BYTES_MAX} letters, digits and underscores and not begin with a digit; got `{shown}`"
        ),
    ))
}

const fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}
