//! What the catalog needs of a database, small enough that its SQL is written once for both.
//!
//! The catalog stores three kinds of values: whole numbers, texts and bytes. Statements are texts of this program with
//! numbered parameters (`$1`), which SQLite and PostgreSQL both understand; everything that comes from outside is a
//! parameter, never part of a text: [`Statement`] takes only `&'static str`.

use crate::error::{corrupt, port_error};
use crate::tables::Name;
use async_trait::async_trait;
use milvault_domain::ports::PortResult;
use sqlx::{
    AssertSqlSafe, Column, ColumnIndex, Decode, Encode, Executor, IntoArguments, Row, Type, TypeInfo,
    ValueRef,
};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A database that holds the catalog.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// Where its SQL differs.
    fn dialect(&self) -> Dialect;

    /// Whether it answers, and whether the catalog still belongs to this server.
    async fn ping(&self) -> PortResult<()>;

    /// Runs one reading statement.
    async fn read(&self, statement: Statement) -> PortResult<Vec<Record>>;

    /// Begins a transaction that reads everything as it was at one moment, however long it takes.
    async fn begin_snapshot(&self) -> PortResult<Box<dyn Transaction>>;

    /// Begins a transaction that may write. Dropping it without a commit undoes it.
    async fn begin(&self) -> PortResult<Box<dyn Transaction>>;
}

/// A transaction in progress.
#[async_trait]
pub(crate) trait Transaction: Send {
    /// Runs a statement that returns rows.
    async fn query(&mut self, statement: Statement) -> PortResult<Vec<Record>>;

    /// Runs a statement and returns how many rows it touched.
    async fn execute(&mut self, statement: Statement) -> PortResult<u64>;

    /// Makes everything durable.
    async fn commit(self: Box<Self>) -> PortResult<()>;
}

/// Where the SQL of the two databases differs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// Ends a SELECT whose rows must not change before the transaction ends.
    pub(crate) lock_rows: &'static str,
    /// Keeps other transactions from adding organizations, where a transaction does not do so by itself.
    pub(crate) lock_organizations: Option<&'static str>,
    /// Keeps other transactions from adding to the audit log, where a transaction does not do so by itself.
    pub(crate) lock_audit_log: Option<&'static str>,
    /// Begins a statement that tells how the one after it is answered, and counts rows where that can be had.
    #[cfg(feature = "scale")]
    pub(crate) explain: &'static str,
    /// Whether it merges the arms of a UNION in their order only when each is ordered by itself.
    pub(crate) orders_arms: bool,
    /// Function that gives the position of its second argument in its first, 0 when there is none.
    pub(crate) position_function: &'static str,
    /// Whether several servers may use it at the same time.
    pub(crate) is_shared: bool,
    /// Ends a SELECT whose rows others may read but not change before the transaction ends.
    pub(crate) share_rows: &'static str,
    /// The database's time, in microseconds since 1970-01-01 UTC.
    pub(crate) now_us: &'static str,
    /// Selects the columns of all tables but the one of migrations: `table_name`, `column_name`, and `key_position`, which
    /// counts from 1 within the primary key and is 0 outside it.
    pub(crate) select_columns: &'static str,
    /// Selects the tables that each table refers to: `table_name` and `refers_to`.
    pub(crate) select_references: &'static str,
}

/// A value for a parameter. The kind is known even when the value is null: PostgreSQL wants to know it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Parameter {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Parameter {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Parameter {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Parameter {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Parameter {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Parameter {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

/// A statement with its parameters.
#[derive(Clone)]
pub(crate) struct Statement {
    sql: String,
    parameters: Vec<Parameter>,
}

impl Statement {
    /// Begins with a text of this program.
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), parameters: Vec::new() }
    }

    /// Appends a text of this program.
    pub(crate) fn push(mut self, sql: &'static str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends a name that was checked.
    pub(crate) fn push_name(mut self, name: &Name) -> Self {
        self.sql.push_str(name.as_str());
        self
    }

    /// Appends a parameter.
    pub(crate) fn bind(mut self, value: impl Into<Parameter>) -> Self {
        self.parameters.push(value.into());
        // Writing to a String cannot fail.
        let _ = write!(self.sql, "${}", self.parameters.len());
        self
    }

    /// `INSERT INTO table (columns) VALUES (values)`.
    pub(crate) fn insert<const N: usize>(
        table: &'static str,
        columns: [(&'static str, Parameter); N],
    ) -> Self {
        let names = columns.each_ref().map(|(name, _)| *name).join(", ");
        let mut statement = Self::new("INSERT INTO ").push(table);
        statement.sql.push_str(" (");
        statement.sql.push_str(&names);
        statement.sql.push_str(") VALUES (");
        for (index, (_, value)) in columns.into_iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { ", " }).bind(value);
        }
        statement.push(")")
    }

    /// `UPDATE table SET column = value, ... WHERE `, to be continued by the caller.
    pub(crate) fn update<const N: usize>(
        table: &'static str,
        columns: [(&'static str, Parameter); N],
    ) -> Self {
        let mut statement = Self::new("UPDATE ").push(table).push(" SET ");
        for (index, (name, value)) in columns.into_iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { ", " }).push(name).push(" = ").bind(value);
        }
        statement.push(" WHERE ")
    }

    /// The statement that tells how this one is answered. PostgreSQL answers it on the way.
    #[cfg(feature = "scale")]
    pub(crate) fn with_plan(mut self, dialect: Dialect) -> Self {
        self.sql.insert_str(0, dialect.explain);
        self
    }

    #[cfg(test)]
    pub(crate) fn explained(mut self) -> Self {
        self.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
        self
    }
}

/// A row, read by column names.
pub(crate) struct Record(Vec<(String, Cell)>);

enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Record {
    /// A whole number that is never null.
    pub(crate) fn integer(&mut self, column: &'static str) -> PortResult<i64> {
        self.optional_integer(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// A whole number or null.
    pub(crate) fn optional_integer(&mut self, column: &'static str) -> PortResult<Option<i64>> {
        match self.take(column)? {
            Cell::Null => Ok(None),
            Cell::Integer(value) => Ok(Some(value)),
            Cell::Text(_) | Cell::Bytes(_) => Err(unexpected_kind(column)),
        }
    }

    /// A text that is never null.
    pub(crate) fn text(&mut self, column: &'static str) -> PortResult<String> {
        self.optional_text(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// A text or null.
    pub(crate) fn optional_text(&mut self, column: &'static str) -> PortResult<Option<String>> {
        match self.take(column)? {
            Cell::Null => Ok(None),
            Cell::Text(value) => Ok(Some(value)),
            Cell::Integer(_) | Cell::Bytes(_) => Err(unexpected_kind(column)),
        }
    }

    /// Thirty-two bytes.
    pub(crate) fn hash(&mut self, column: &'static str) -> PortResult<[u8; 32]> {
        match self.take(column)? {
            Cell::Bytes(value) => {
                value.try_into().map_err(|_| corrupt(format_args!("column {column} has not 32 bytes")))
            }
            Cell::Null | Cell::Integer(_) | Cell::Text(_) => Err(unexpected_kind(column)),
        }
    }

    /// All values, by column. A null is one of whatever kind.
    pub(crate) fn into_values(self) -> BTreeMap<String, Parameter> {
        let parameter = |cell| match cell {
            Cell::Null => Parameter::Text(None),
            Cell::Integer(value) => Parameter::Integer(Some(value)),
            Cell::Text(value) => Parameter::Text(Some(value)),
            Cell::Bytes(value) => Parameter::Bytes(Some(value)),
        };
        self.0.into_iter().map(|(column, cell)| (column, parameter(cell))).collect()
    }

    fn take(&mut self, column: &'static str) -> PortResult<Cell> {
        self.0
            .iter_mut()
            .find(|(name, _)| name == column)
            .map(|(_, cell)| std::mem::replace(cell, Cell::Null))
            .ok_or_else(|| corrupt(format_args!("column {column} is missing")))
    }
}

fn unexpected_null(column: &'static str) -> milvault_domain::ports::PortError {
    corrupt(format_args!("column {column} is null"))
}

fn unexpected_kind(column: &'static str) -> milvault_domain::ports::PortError {
    corrupt(format_args!("column {column} has another type"))
}

/// Runs a statement on a connection and reads the rows that it returns.
pub(crate) async fn fetch<'c, DB, E>(executor: E, statement: Statement) -> PortResult<Vec<Record>>
where
    DB: sqlx::Database,
    E: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<Vec<u8>>: Encode<'q, DB> + Type<DB>,
    for<'r> i64: Decode<'r, DB> + Type<DB>,
    for<'r> String: Decode<'r, DB> + Type<DB>,
    for<'r> Vec<u8>: Decode<'r, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let rows = prepare::<DB>(statement).fetch_all(executor).await.map_err(port_error)?;
    rows.iter().map(record::<DB>).collect::<Result<_, _>>().map_err(port_error)
}

/// A statement with its parameters, ready to run on that kind of database.
pub(crate) fn prepare<DB>(statement: Statement) -> sqlx::query::Query<'static, DB, DB::Arguments>
where
    DB: sqlx::Database,
    DB::Arguments: IntoArguments<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<Vec<u8>>: Encode<'q, DB> + Type<DB>,
{
    // Safe: a Statement is put together from texts of this program only.
    let query = sqlx::query(AssertSqlSafe(statement.sql));
    statement.parameters.into_iter().fold(query, |query, parameter| match parameter {
        Parameter::Integer(value) => query.bind(value),
        Parameter::Text(value) => query.bind(value),
        Parameter::Bytes(value) => query.bind(value),
    })
}

fn record<DB>(row: &DB::Row) -> Result<Record, sqlx::Error>
where
    DB: sqlx::Database,
    for<'r> i64: Decode<'r, DB> + Type<DB>,
    for<'r> String: Decode<'r, DB> + Type<DB>,
    for<'r> Vec<u8>: Decode<'r, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut cells = Vec::with_capacity(row.len());
    for (index, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(index)?;
        let cell = if raw.is_null() {
            Cell::Null
        } else {
            match raw.type_info().name() {
                "INTEGER" | "INT8" => Cell::Integer(row.try_get(index)?),
                "BLOB" | "BYTEA" => Cell::Bytes(row.try_get(index)?),
                _ => Cell::Text(row.try_get(index)?),
            }
        };
        cells.push((column.name().to_owned(), cell));
    }
    Ok(Record(cells))
}
