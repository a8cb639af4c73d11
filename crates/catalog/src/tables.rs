//! Which tables the catalog has, as the database itself says. Names come from the schema of this program, and are
//! checked nevertheless before they become part of a statement.

use crate::database::{Database, Statement};
use crate::error::corrupt;
use crate::model::count;
use milvault_domain::ports::PortResult;
use std::collections::{BTreeMap, BTreeSet};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: Name,
    /// Columns in the order of the table.
    pub(crate) columns: Vec<Name>,
    /// Columns of the primary key, in its order.
    pub(crate) key: Vec<Name>,
}

/// A name of a table or column: lower-case letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// `Corrupt` for what this program would name nothing.
    pub(crate) fn new(name: String) -> PortResult<Self> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !name.is_empty() && name.len() <= 63 && name.bytes().all(is_letter) {
            Ok(Self(name))
        } else {
            Err(corrupt(format_args!("`{}` is no name of a table or column", name.escape_debug())))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// All tables; each comes after those that it refers to.
pub(crate) async fn tables(database: &dyn Database) -> PortResult<Vec<Table>> {
    let mut found: BTreeMap<Name, Table> = BTreeMap::new();
    let mut keys: BTreeMap<Name, Vec<(usize, Name)>> = BTreeMap::new();
    for mut row in database.read(Statement::new(database.dialect().select_columns)).await? {
        let (table, column) = (Name::new(row.text("table_name")?)?, Name::new(row.text("column_name")?)?);
        let position: usize = count(row.integer("key_position")?)?;
        if 0 < position {
            keys.entry(table.clone()).or_default().push((position, column.clone()));
        }
        let fresh = || Table { name: table.clone(), columns: Vec::new(), key: Vec::new() };
        found.entry(table.clone()).or_insert_with(fresh).columns.push(column);
    }
    for (table, mut key) in keys {
        key.sort_unstable();
        if let Some(table) = found.get_mut(&table) {
            table.key = key.into_iter().map(|(_, column)| column).collect();
        }
    }
    let mut references = BTreeSet::new();
    for mut row in database.read(Statement::new(database.dialect().select_references)).await? {
        references.insert((Name::new(row.text("table_name")?)?, Name::new(row.text("refers_to")?)?));
    }
    in_order(found, &references)
}

fn in_order(mut found: BTreeMap<Name, Table>, references: &BTreeSet<(Name, Name)>) -> PortResult<Vec<Table>> {
    let mut ordered = Vec::with_capacity(found.len());
    while !found.is_empty() {
        let waits = |name: &Name| {
            references.iter().any(|(from, to)| from == name && to != name && found.contains_key(to))
        };
        let ready: Vec<Name> = found.keys().filter(|name| !waits(name)).cloned().collect();
        if ready.is_empty() {
            return Err(corrupt("the tables of the catalog refer to one another in a circle"));
        }
        ordered.extend(ready.iter().filter_map(|name| found.remove(name)));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sqlite::SqliteDatabase;

    #[tokio::test]
    async fn every_table_has_a_key_and_follows_what_it_refers_to() {
        let database = SqliteDatabase::open_in_memory().await.unwrap();
        let tables = tables(&database).await.unwrap();
        let position = |name: &str| tables.iter().position(|table| table.name.as_str() == name).unwrap();
        assert!(position("organizations") < position("projects"));
        assert!(position("clusters") < position("backups") && position("backups") < position("jobs"));
        assert!(position("jobs") < position("restore_plans"));
        assert!(tables.iter().all(|table| !table.key.is_empty()), "{tables:?}");
        let grants = &tables[position("api_key_grants")];
        assert_eq!(grants.key.iter().map(Name::as_str).collect::<Vec<_>>(), ["api_key_id", "ordinal"]);
        assert!(!tables.iter().any(|table| table.name.as_str().starts_with('_')));
    }

    #[test]
    fn names_are_words() {
        for name in ["", "a b", "a;", "Jobs", "a\"", "ä"] {
            assert!(Name::new(name.to_owned()).is_err(), "{name}");
        }
        assert!(Name::new(String::from("job_events2")).is_ok());
    }
}
