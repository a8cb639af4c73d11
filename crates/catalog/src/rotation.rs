//! Changing the key that seals secrets. Every sealed column is in one list; whoever seals a value in another column
//! adds it there, and a contract test finds the ones that are missing by their names.

use crate::catalog::SqlCatalog;
use crate::database::Statement;
use crate::open_database;
use crate::seal::{Place, Sealer, key_id_of};
use milvault_domain::ports::{Catalog, PortError, PortErrorKind, PortResult};
use std::collections::BTreeMap;

/// Values that one transaction seals anew. A request of a restore may be megabytes.
const BATCH_MAX: i64 = 50;

/// A column of sealed values. Its values are bound to the table, the column, and what stands in the key column.
pub(crate) struct SealedColumn {
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    pub(crate) column: &'static str,
}

/// All of them. Their names end with `_sealed`, and no other column's does.
pub(crate) const SEALED_COLUMNS: &[SealedColumn] = &[
    SealedColumn { table: "repositories", key: "id", column: "storage_sealed" },
    SealedColumn { table: "clusters", key: "id", column: "endpoint_sealed" },
    SealedColumn { table: "clusters", key: "id", column: "storage_sealed" },
    SealedColumn { table: "webhooks", key: "id", column: "target_sealed" },
    SealedColumn { table: "job_requests", key: "job_id", column: "request_sealed" },
];

/// Refuses a catalog that a server uses. Where only one server can have a catalog open, having it open says it all.
///
/// # Errors
/// `Conflict` names a server that is alive; errors of the database.
pub async fn refuse_while_in_use(catalog: &dyn Catalog) -> PortResult<()> {
    if !catalog.is_shared() {
        return Ok(());
    }
    match catalog.servers().await?.iter().find(|server| server.alive) {
        None => Ok(()),
        Some(server) => Err(PortError::new(
            PortErrorKind::Conflict,
            format!(
                "the server {} ({}) uses the catalog; stop all servers, and try again a minute after one that was killed",
                server.name, server.id
            ),
        )),
    }
}

/// Values of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValues {
    /// Table and column.
    pub place: String,
    /// Values by the name of the key that they are sealed with; damaged ones under `unreadable`.
    pub by_key: BTreeMap<String, u64>,
}

/// Opens a catalog to look at its keys and to change them. It must not be in use.
pub struct SealedCatalog(SqlCatalog);

impl SealedCatalog {
    /// Opens the catalog.
    ///
    /// # Errors
    /// As for [`crate::open`].
    pub async fn open(url: &str, sealer: Sealer) -> PortResult<Self> {
        let catalog = SqlCatalog::new(open_database(url).await?, sealer).await?;
        refuse_while_in_use(&catalog).await?;
        Ok(Self(catalog))
    }

    /// Table and column of everything whose name says that it is sealed.
    #[cfg(feature = "contract")]
    pub(crate) async fn sealed_columns(&self) -> PortResult<std::collections::BTreeSet<(String, String)>> {
        let tables = crate::tables::tables(self.0.database.as_ref()).await?;
        let named = tables.iter().flat_map(|table| table.columns.iter().map(move |column| (table, column)));
        let sealed = named.filter(|(_, column)| column.as_str().ends_with("_sealed"));
        Ok(sealed
            .map(|(table, column)| (table.name.as_str().to_owned(), column.as_str().to_owned()))
            .collect())
    }

    /// Counts the sealed values of every column, by key.
    ///
    /// # Errors
    /// Errors of the database.
    pub async fn count(&self) -> PortResult<Vec<SealedValues>> {
        let mut all = Vec::new();
        for column in SEALED_COLUMNS {
            let mut by_key = BTreeMap::new();
            let mut after = String::new();
            loop {
                let batch = self.batch(column, &after).await?;
                for (_, sealed) in &batch {
                    let key_id = key_id_of(sealed).unwrap_or("unreadable");
                    *by_key.entry(key_id.to_owned()).or_insert(0) += 1;
                }
                match batch.into_iter().next_back() {
                    Some((id, _)) => after = id,
                    None => break,
                }
            }
            all.push(SealedValues { place: format!("{}.{}", column.table, column.column), by_key });
        }
        Ok(all)
    }

    /// Says that the catalog's key is the current one, so that no server begins that has only an older one, and seals
    /// every value anew that is sealed with an older key. In bounded transactions; what was done stays done when it is cut off, and repeating it does the rest.
    /// Returns how many values were sealed anew.
    ///
    /// # Errors
    /// `Corrupt` names a value that cannot be read with any key: nothing is lost, and the older keys are still needed.
    /// Errors of the database.
    pub async fn reseal(&self) -> PortResult<u64> {
        let key_id = self.0.sealer.key_id().into();
        self.0.write(Statement::update("sealing_key", [("key_id", key_id)]).push("singleton = 1")).await?;
        let mut resealed = 0;
        for column in SEALED_COLUMNS {
            let mut after = String::new();
            loop {
                let batch = self.batch(column, &after).await?;
                let Some((last, _)) = batch.last() else { break };
                after.clone_from(last);
                resealed += self.reseal_batch(column, &batch).await?;
            }
        }
        Ok(resealed)
    }

    async fn reseal_batch(&self, column: &SealedColumn, batch: &[(String, String)]) -> PortResult<u64> {
        let mut statements = Vec::new();
        for (id, sealed) in batch.iter().filter(|(_, sealed)| !self.0.sealer.is_current(sealed)) {
            let place = Place { table: column.table, id, column: column.column };
            let anew = self.0.sealer.reseal(place, sealed)?;
            // Nothing else writes meanwhile; should something have, its value stays and is found by the next look.
            let statement = Statement::update(column.table, [(column.column, anew.into())])
                .push(column.key)
                .push(" = ")
                .bind(id.as_str())
                .push(" AND ")
                .push(column.column)
                .push(" = ")
                .bind(sealed.as_str());
            statements.push(statement);
        }
        if statements.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.0.begin().await?;
        let mut resealed = 0;
        for statement in statements {
            resealed += transaction.execute(statement).await?;
        }
        transaction.commit().await?;
        Ok(resealed)
    }

    /// The next sealed values of a column by key, with their keys.
    async fn batch(&self, column: &SealedColumn, after: &str) -> PortResult<Vec<(String, String)>> {
        let statement = Statement::new("SELECT ")
            .push(column.key)
            .push(" AS place_id, ")
            .push(column.column)
            .push(" AS sealed FROM ")
            .push(column.table)
            .push(" WHERE ")
            .push(column.key)
            .push(" > ")
            .bind(after)
            .push(" AND ")
            .push(column.column)
            .push(" IS NOT NULL ORDER BY ")
            .push(column.key)
            .push(" LIMIT ")
            .bind(BATCH_MAX);
        let mut rows = self.0.database.read(statement).await?;
        rows.iter_mut().map(|row| Ok((row.text("place_id")?, row.text("sealed")?))).collect()
    }
}
