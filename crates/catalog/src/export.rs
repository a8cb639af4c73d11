//! Everything in the catalog as lines of JSON, the same for both databases, and back.
//!
//! The first line says what it is; then, table by table, a line with the name and the columns, and a line for each row:
//! numbers, texts, nulls, and bytes as `{"hex": "…"}`; the last line counts the rows. Tables come in an order in which
//! each row can be added when those before it are there.

use crate::catalog::SqlCatalog;
use crate::database::{Database, Parameter, Statement, Transaction};
use crate::error::corrupt;
use crate::tables::{Name, Table, tables};
use chrono::{DateTime, Utc};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Version of the lines.
const VERSION: u64 = 1;
/// Rows of one statement, at first and at most.
const ROWS_FIRST: i64 = 64;
const ROWS_MAX: i64 = 1_000;
/// Text of one page of rows above which the next page is smaller.
const PAGE_CHARS: usize = 1 << 20;
/// What the database itself derives from the other tables, when these are written.
const DERIVED: [&str; 1] = ["job_names"];
/// Which key sealed the values; every catalog knows its own.
const SEALING_KEY: &str = "sealing_key";

/// Takes lines, one after the other.
#[async_trait::async_trait]
pub(crate) trait Lines: Send {
    /// Takes one line, without its end.
    async fn line(&mut self, line: String) -> PortResult<()>;
}

/// Writes everything, as it was at one moment. Memory holds a page of rows. Returns how many rows there were.
pub(crate) async fn export(
    database: &dyn Database,
    taken_at: DateTime<Utc>,
    lines: &mut dyn Lines,
) -> PortResult<u64> {
    let tables = tables(database).await?;
    let mut snapshot = database.begin_snapshot().await?;
    lines.line(json!({ "catalog": VERSION, "taken_at": taken_at }).to_string()).await?;
    let mut rows = 0;
    for table in tables.iter().filter(|table| !DERIVED.contains(&table.name.as_str())) {
        let columns: Vec<_> = table.columns.iter().map(Name::as_str).collect();
        lines.line(json!({ "table": table.name.as_str(), "columns": columns }).to_string()).await?;
        rows += export_table(&mut *snapshot, table, lines).await?;
    }
    lines.line(json!({ "rows": rows }).to_string()).await?;
    Ok(rows)
}

async fn export_table(
    snapshot: &mut dyn Transaction,
    table: &Table,
    lines: &mut dyn Lines,
) -> PortResult<u64> {
    let (mut limit, mut after, mut rows) = (ROWS_FIRST, None, 0);
    loop {
        let page = snapshot.query(select(table, after.as_deref(), limit)).await?;
        let full = usize::try_from(limit).is_ok_and(|limit| limit <= page.len());
        let mut chars = 0;
        for record in page {
            let mut values = record.into_values();
            after = Some(key_of(table, &values)?);
            let row: Vec<Value> =
                table.columns.iter().map(|column| to_value(values.remove(column.as_str()))).collect();
            let line = Value::Array(row).to_string();
            chars += line.len();
            lines.line(line).await?;
            rows += 1;
        }
        if !full {
            return Ok(rows);
        }
        limit = if PAGE_CHARS < chars { (limit / 4).max(1) } else { (limit * 2).min(ROWS_MAX) };
    }
}

fn key_of(table: &Table, values: &BTreeMap<String, Parameter>) -> PortResult<Vec<Parameter>> {
    let lacks = || corrupt(format_args!("table {} has no primary key", table.name.as_str()));
    if table.key.is_empty() {
        return Err(lacks());
    }
    table.key.iter().map(|column| values.get(column.as_str()).cloned().ok_or_else(lacks)).collect()
}

/// The rows behind a key, in the order of the keys.
fn select(table: &Table, after: Option<&[Parameter]>, limit: i64) -> Statement {
    let mut statement = list(Statement::new("SELECT "), &table.columns).push(" FROM ").push_name(&table.name);
    if let Some(after) = after {
        statement = list(statement.push(" WHERE ("), &table.key).push(") > (");
        for (index, value) in after.iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { ", " }).bind(value.clone());
        }
        statement = statement.push(")");
    }
    list(statement.push(" ORDER BY "), &table.key).push(" LIMIT ").bind(limit)
}

fn list(mut statement: Statement, names: &[Name]) -> Statement {
    for (index, name) in names.iter().enumerate() {
        statement = statement.push(if index == 0 { "" } else { ", " }).push_name(name);
    }
    statement
}

fn to_value(parameter: Option<Parameter>) -> Value {
    match parameter {
        Some(Parameter::Integer(Some(number))) => number.into(),
        Some(Parameter::Text(Some(text))) => text.into(),
        Some(Parameter::Bytes(Some(bytes))) => json!({ "hex": hex::encode(bytes) }),
        _ => Value::Null,
    }
}

/// Takes what [`export`] wrote, line by line, into one transaction.
pub(crate) struct Import {
    transaction: Box<dyn Transaction>,
    tables: BTreeMap<Name, Table>,
    /// Of which kind every column's values are, as the database says: a null has one, too.
    table: Option<(Name, Vec<Name>)>,
    began: bool,
    rows: u64,
    ended: bool,
}

impl Import {
    /// Begins, in a catalog that has no organization.
    ///
    /// # Errors
    /// `Conflict` when it has one; errors of the database.
    pub(crate) async fn begin(catalog: &SqlCatalog) -> PortResult<Self> {
        let tables = tables(catalog.database.as_ref()).await?;
        let mut transaction = catalog.database.begin().await?;
        if !transaction.query(Statement::new("SELECT id FROM organizations LIMIT 1")).await?.is_empty() {
            return Err(PortError::new(
                PortErrorKind::Conflict,
                "the catalog is not empty; restore into a new one",
            ));
        }
        transaction.execute(Statement::new("DELETE FROM servers")).await?;
        let tables = tables.into_iter().map(|table| (table.name.clone(), table)).collect();
        Ok(Self { transaction, tables, table: None, began: false, rows: 0, ended: false })
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// `Corrupt` for a line that is none; `Unsupported` for a table or column that this program does not know: the
    /// backup was made by a newer one.
    pub(crate) async fn line(&mut self, line: &str) -> PortResult<()> {
        let value: Value = serde_json::from_str(line).map_err(|_| damaged())?;
        match value {
            Value::Array(row) if self.began && !self.ended => self.row(row).await,
            Value::Object(head) => self.head(&head),
            _ => Err(damaged()),
        }
    }

    fn head(&mut self, head: &serde_json::Map<String, Value>) -> PortResult<()> {
        if let Some(version) = head.get("catalog").and_then(Value::as_u64) {
            self.began = true;
            return if version == VERSION { Ok(()) } else { Err(newer(&format!("version {version}"))) };
        }
        if let Some(rows) = head.get("rows").and_then(Value::as_u64) {
            self.ended = true;
            return if rows == self.rows { Ok(()) } else { Err(damaged()) };
        }
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(damaged);
        let name = Name::new(text(head.get("table").ok_or_else(damaged)?)?)?;
        let columns = head.get("columns").and_then(Value::as_array).ok_or_else(damaged)?;
        let columns =
            columns.iter().map(|column| Name::new(text(column)?)).collect::<PortResult<Vec<_>>>()?;
        let known = self.tables.get(&name).ok_or_else(|| newer(&format!("table {}", name.as_str())))?;
        if let Some(unknown) = columns.iter().find(|column| !known.columns.contains(column)) {
            return Err(newer(&format!("column {}.{}", name.as_str(), unknown.as_str())));
        }
        self.table = Some((name, columns));
        Ok(())
    }

    async fn row(&mut self, row: Vec<Value>) -> PortResult<()> {
        let (name, columns) = self.table.as_ref().ok_or_else(damaged)?;
        if row.len() != columns.len() {
            return Err(damaged());
        }
        self.rows += 1;
        // The new catalog says itself which key it has; what the values need shows when they are read.
        if name.as_str() == SEALING_KEY || name.as_str() == "servers" {
            return Ok(());
        }
        // Nulls are left out: a column has none unless it may, and the database knows the kind of the others.
        let given: Vec<_> = columns.iter().zip(row).filter(|(_, value)| !value.is_null()).collect();
        let names: Vec<_> = given.iter().map(|(column, _)| (*column).clone()).collect();
        let mut statement =
            list(Statement::new("INSERT INTO ").push_name(name).push(" ("), &names).push(") VALUES (");
        for (index, (_, value)) in given.into_iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { ", " }).bind(from_value(value)?);
        }
        self.transaction.execute(statement.push(")")).await?;
        Ok(())
    }

    /// Makes everything durable that was taken.
    ///
    /// # Errors
    /// `Corrupt` when the end is missing; errors of the database.
    pub(crate) async fn end(self) -> PortResult<u64> {
        if !self.ended {
            return Err(damaged());
        }
        self.transaction.commit().await?;
        Ok(self.rows)
    }

    pub(crate) fn transaction(&mut self) -> &mut dyn Transaction {
        self.transaction.as_mut()
    }
}

fn from_value(value: Value) -> PortResult<Parameter> {
    match value {
        Value::Number(number) => Ok(Parameter::Integer(Some(number.as_i64().ok_or_else(damaged)?))),
        Value::String(text) => Ok(Parameter::Text(Some(text))),
        Value::Object(object) => {
            let digits = object.get("hex").and_then(Value::as_str).ok_or_else(damaged)?;
            Ok(Parameter::Bytes(Some(hex::decode(digits).map_err(|_| damaged())?)))
        }
        _ => Err(damaged()),
    }
}

fn damaged() -> PortError {
    PortError::new(PortErrorKind::Corrupt, "the backup of the catalog is damaged")
}

fn newer(what: &str) -> PortError {
    let message =
        format!("the backup of the catalog has {what}, which this program does not know; use a newer one");
    PortError::new(PortErrorKind::Unsupported, message)
}
