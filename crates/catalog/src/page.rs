//! Lists: filters, order, and pages that begin after the last entry seen, so that a page costs the same wherever it is.

use crate::database::{Record, Statement};
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{Page, PageRequest, PortError, PortErrorKind, PortResult};

/// Most values of one filter. A statement takes a limited number of parameters.
const FILTER_VALUES_MAX: usize = 1000;

/// A SELECT over one table that grows by conditions.
pub(crate) struct ListQuery {
    statement: Statement,
    id_prefix: &'static str,
    /// A filter allows no value at all, so the list is empty whatever the table holds.
    empty: bool,
}

impl ListQuery {
    /// Begins with `SELECT * FROM table WHERE condition`. The prefix is that of the table's ids.
    pub(crate) fn new(select: &'static str, id_prefix: &'static str) -> Self {
        Self { statement: Statement::new(select), id_prefix, empty: false }
    }

    /// Begins with a statement that ends in a condition.
    pub(crate) fn of(statement: Statement, id_prefix: &'static str) -> Self {
        Self { statement, id_prefix, empty: false }
    }

    /// Adds ` AND condition value`, if there is a value.
    pub(crate) fn and<T: Into<crate::database::Parameter>>(
        mut self,
        condition: &'static str,
        value: Option<T>,
    ) -> Self {
        if let Some(value) = value {
            self.statement = self.statement.push(" AND ").push(condition).bind(value);
        }
        self
    }

    /// Adds a condition without a value.
    pub(crate) fn and_always(mut self, condition: &'static str) -> Self {
        self.statement = self.statement.push(" AND ").push(condition);
        self
    }

    /// Adds ` AND column IN (values)`, if there is a list. One value is compared by `=`, so that an index on the
    /// column also gives the order.
    pub(crate) fn and_any(
        mut self,
        column: &'static str,
        values: Option<Vec<impl Into<crate::database::Parameter>>>,
    ) -> PortResult<Self> {
        let Some(values) = values else { return Ok(self) };
        if FILTER_VALUES_MAX < values.len() {
            return Err(PortError::new(
                PortErrorKind::InvalidInput,
                format!("a filter must have at most {FILTER_VALUES_MAX} values, got {}", values.len()),
            ));
        }
        self.empty |= values.is_empty();
        let single = values.len() == 1;
        let mut statement =
            self.statement.push(" AND ").push(column).push(if single { " = " } else { " IN (" });
        for (index, value) in values.into_iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { ", " }).bind(value);
        }
        self.statement = statement.push(if single { "" } else { ")" });
        Ok(self)
    }

    /// Only rows of these projects.
    pub(crate) fn in_projects(self, project_ids: Option<&[ProjectId]>) -> PortResult<Self> {
        self.and_any("project_id", project_ids.map(|ids| ids.iter().map(ToString::to_string).collect()))
    }

    /// Only rows whose folded name contains the text. A position function has no wildcards to escape.
    pub(crate) fn name_contains(mut self, position_function: &'static str, text: Option<&str>) -> Self {
        if let Some(text) = text {
            self.statement = self
                .statement
                .push(" AND ")
                .push(position_function)
                .push("(name_folded, ")
                .bind(crate::model::folded(text))
                .push(") > 0");
        }
        self
    }

    /// Only rows whose column contains the text as it is.
    pub(crate) fn contains(
        mut self,
        position_function: &'static str,
        column: &'static str,
        text: Option<&str>,
    ) -> Self {
        if let Some(text) = text {
            self.statement = self
                .statement
                .push(" AND ")
                .push(position_function)
                .push("(")
                .push(column)
                .push(", ")
                .bind(text)
                .push(") > 0");
        }
        self
    }

    /// The statement for a page, newest first; `None` when there can be nothing. It asks for one row more than the
    /// page has, to know whether there are more.
    pub(crate) fn page(self, page: PageRequest) -> PortResult<Option<Statement>> {
        if !(1..=PageRequest::LIMIT_MAX).contains(&page.limit) {
            return Err(PortError::new(
                PortErrorKind::InvalidInput,
                format!("a page must have 1 to {} entries, got {}", PageRequest::LIMIT_MAX, page.limit),
            ));
        }
        if self.empty {
            return Ok(None);
        }
        let mut statement = self.statement;
        if let Some(after) = page.after {
            statement = statement
                .push(" AND (created_at_us, id) < (")
                .bind(after.created_at.timestamp_micros())
                .push(", ")
                .bind(format!("{}_{}", self.id_prefix, after.id.simple()))
                .push(")");
        }
        Ok(Some(
            statement.push(" ORDER BY created_at_us DESC, id DESC LIMIT ").bind(i64::from(page.limit) + 1),
        ))
    }
}

/// Reads the rows of a page's statement.
pub(crate) fn read_page<T>(
    mut rows: Vec<Record>,
    limit: u32,
    read: impl Fn(&mut Record) -> PortResult<T>,
) -> PortResult<Page<T>> {
    let limit = limit as usize;
    let has_more = limit < rows.len();
    rows.truncate(limit);
    let items = rows.iter_mut().map(read).collect::<PortResult<_>>()?;
    Ok(Page { items, has_more })
}
