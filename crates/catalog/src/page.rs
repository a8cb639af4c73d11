//! Lists: filters, order, and pages that begin after the last entry seen, so that a page costs the same wherever it is.
//!
//! An index gives rows in the order of a list only for one value of each of its leading columns. So a list over several
//! values (projects, states, ...) is put together of arms, one for each combination, which the database merges: each
//! arm is a walk along an index, and a page reads few rows more than it shows.

use crate::database::{Dialect, Parameter, Record, Statement};
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{Page, PageRequest, PortError, PortErrorKind, PortResult, SortKey};

/// Most values of one filter. A statement takes a limited number of parameters.
const FILTER_VALUES_MAX: usize = 1000;
/// Most arms of a statement: an arm costs some ten microseconds, and SQLite takes 500. Beyond that the last columns are
/// compared with the whole list of their values, and the database sorts.
const ARMS_MAX: usize = 400;

/// A SELECT over one table that grows by conditions.
pub(crate) struct ListQuery {
    head: Head,
    parts: Vec<Part>,
    /// Columns that an index needs one value of, with the values that are wanted.
    dimensions: Vec<(&'static str, Vec<Parameter>)>,
    id_prefix: &'static str,
    /// A filter allows no value at all, so the list is empty whatever the table holds.
    empty: bool,
    /// The table that rows are fetched from by their ids, after the page was found in an index alone.
    fetched_from: Option<&'static str>,
    /// Each arm has order and limit of its own, for a database that sees no order in arms without.
    orders_arms: bool,
}

enum Head {
    Text(&'static str),
    Statement(Statement),
}

/// A piece of a condition, which every arm repeats.
#[derive(Clone)]
enum Part {
    Sql(&'static str),
    Value(Parameter),
}

impl ListQuery {
    /// Begins with `SELECT * FROM table WHERE condition`. The prefix is that of the table's ids.
    pub(crate) fn new(select: &'static str, id_prefix: &'static str) -> Self {
        Self::begin(Head::Text(select), id_prefix)
    }

    /// Begins with a statement that ends in a condition. It takes no filter of several values.
    pub(crate) fn of(statement: Statement, id_prefix: &'static str) -> Self {
        Self::begin(Head::Statement(statement), id_prefix)
    }

    fn begin(head: Head, id_prefix: &'static str) -> Self {
        let (parts, dimensions) = (Vec::new(), Vec::new());
        Self { head, parts, dimensions, id_prefix, empty: false, fetched_from: None, orders_arms: false }
    }

    /// Puts the arms together as the database likes it best.
    pub(crate) fn merged_for(mut self, dialect: Dialect) -> Self {
        self.orders_arms = dialect.orders_arms;
        self
    }

    /// Adds ` AND condition value`, if there is a value.
    pub(crate) fn and<T: Into<Parameter>>(mut self, condition: &'static str, value: Option<T>) -> Self {
        if let Some(value) = value {
            self.parts.extend([Part::Sql(" AND "), Part::Sql(condition), Part::Value(value.into())]);
        }
        self
    }

    /// Adds a condition without a value.
    pub(crate) fn and_always(mut self, condition: &'static str) -> Self {
        self.parts.extend([Part::Sql(" AND "), Part::Sql(condition)]);
        self
    }

    /// Only rows whose column has one of these values, if there is a list. The statement gets an arm for each.
    pub(crate) fn and_any(
        mut self,
        column: &'static str,
        values: Option<Vec<impl Into<Parameter>>>,
    ) -> PortResult<Self> {
        let Some(values) = values else { return Ok(self) };
        let mut values = checked(values)?;
        self.empty |= values.is_empty();
        if self.takes_arms(values.len()) {
            // The same value twice would give the same rows twice.
            values.sort_unstable();
            values.dedup();
            self.dimensions.push((column, values));
        } else {
            self.one_of(column, values);
        }
        Ok(self)
    }

    /// Names every value that a column has, so that an index with the column before others can be used.
    pub(crate) fn and_every(mut self, column: &'static str, values: Vec<&'static str>) -> Self {
        if self.takes_arms(values.len()) {
            self.dimensions.push((column, values.into_iter().map(Into::into).collect()));
        }
        self
    }

    fn takes_arms(&self, factor: usize) -> bool {
        let arms: usize = self.dimensions.iter().map(|(_, values)| values.len()).product();
        arms.saturating_mul(factor) <= ARMS_MAX
    }

    /// Only rows whose column has one of these values, if there is a list: compared row by row. For what follows from
    /// other conditions nearly always; a column with an operator keeps the database from an index on it.
    pub(crate) fn and_residual(
        mut self,
        column: &'static str,
        values: Option<Vec<impl Into<Parameter>>>,
    ) -> PortResult<Self> {
        if let Some(values) = values {
            let values = checked(values)?;
            self.empty |= values.is_empty();
            self.one_of(column, values);
        }
        Ok(self)
    }

    fn one_of(&mut self, column: &'static str, values: Vec<Parameter>) {
        self.parts.extend([Part::Sql(" AND "), Part::Sql(column)]);
        for (index, value) in values.into_iter().enumerate() {
            let before = if index == 0 { " IN (" } else { ", " };
            self.parts.extend([Part::Sql(before), Part::Value(value)]);
        }
        self.parts.push(Part::Sql(")"));
    }

    /// Only rows of these projects.
    pub(crate) fn in_projects(self, project_ids: Option<&[ProjectId]>) -> PortResult<Self> {
        self.and_any("project_id", project_texts(project_ids))
    }

    /// Only rows of one cluster, and none at all when it is in none of these projects. That is asked of the cluster
    /// once: a row is of the project that its cluster is of.
    pub(crate) fn of_cluster(
        self,
        cluster_id: String,
        project_ids: Option<&[ProjectId]>,
    ) -> PortResult<Self> {
        let mut query = self.and("cluster_id = ", Some(cluster_id.clone()));
        if project_ids.is_some() {
            query = query.and("EXISTS (SELECT 1 FROM clusters WHERE clusters.id = ", Some(cluster_id));
            query = query.and_residual("clusters.project_id", project_texts(project_ids))?;
            query.parts.push(Part::Sql(")"));
        }
        Ok(query)
    }

    /// Only rows with a row in another table that passes these conditions: compared row by row. The text begins with
    /// `EXISTS (` and is left open.
    pub(crate) fn and_other(
        self,
        exists: &'static str,
        conditions: impl FnOnce(Self) -> PortResult<Self>,
    ) -> PortResult<Self> {
        let mut query = conditions(self.and_always(exists))?;
        // The OFFSET keeps PostgreSQL from joining the tables, which it would do without regard to the order of the list.
        query.parts.push(Part::Sql(" LIMIT 1 OFFSET 0)"));
        Ok(query)
    }

    /// Only rows whose folded name contains the text. A position function has no wildcards to escape.
    pub(crate) fn name_contains(mut self, position_function: &'static str, text: Option<&str>) -> Self {
        if let Some(text) = text.map(crate::model::folded) {
            self.parts.extend([" AND ", position_function, "(name_folded, "].map(Part::Sql));
            self.parts.extend([Part::Value(text.into()), Part::Sql(") > 0")]);
        }
        self
    }

    /// The query selects no more than `id` and `created_at_us`, so that it is answered from an index that has the
    /// columns of all conditions; the rows of a page are fetched from this table.
    pub(crate) fn fetched_from(mut self, table: &'static str) -> Self {
        self.fetched_from = Some(table);
        self
    }

    /// The statement for a page, newest first; `None` when there can be nothing. It asks for one row more than the
    /// page has, to know whether there are more.
    pub(crate) fn page(self, page: PageRequest) -> PortResult<Option<Statement>> {
        check_page(page)?;
        Ok(self.newest_first(page.after, i64::from(page.limit) + 1))
    }

    /// The statement for some rows after a place, newest first; `None` when there can be nothing.
    pub(crate) fn newest_first(self, after: Option<SortKey>, limit: i64) -> Option<Statement> {
        let after = after.map(|after| self.place(after));
        self.ordered(&NEWEST_FIRST, after, limit)
    }

    /// The statement for the row that comes as this one after a place, newest first and counted from 1; `None` when
    /// there can be none.
    pub(crate) fn nth(self, after: Option<SortKey>, number: i64) -> Option<Statement> {
        let after = after.map(|after| self.place(after));
        self.put_together(&NEWEST_FIRST, after, number - 1, 1)
    }

    /// Only rows down to this place, newest first, itself included.
    pub(crate) fn down_to(mut self, last: Option<SortKey>) -> Self {
        if let Some(last) = last {
            let [created_at_us, id] = self.place(last);
            self.parts.extend([Part::Sql(" AND (created_at_us, id) >= ("), Part::Value(created_at_us)]);
            self.parts.extend([Part::Sql(", "), Part::Value(id), Part::Sql(")")]);
        }
        self
    }

    fn place(&self, key: SortKey) -> [Parameter; 2] {
        let id = format!("{}_{}", self.id_prefix, key.id.simple());
        [key.created_at.timestamp_micros().into(), id.into()]
    }

    /// The statement for some rows in an order of its own; `None` when there can be nothing.
    pub(crate) fn ordered(
        self,
        order: &ListOrder,
        after: Option<[Parameter; 2]>,
        limit: i64,
    ) -> Option<Statement> {
        self.put_together(order, after, 0, limit)
    }

    fn put_together(
        self,
        order: &ListOrder,
        after: Option<[Parameter; 2]>,
        skipped: i64,
        limit: i64,
    ) -> Option<Statement> {
        if self.empty {
            return None;
        }
        let Self { head, mut parts, dimensions, fetched_from, orders_arms, .. } = self;
        if let Some([first, second]) = after {
            parts.extend([Part::Sql(order.after_begins), Part::Value(first), Part::Sql(", ")]);
            parts.extend([Part::Value(second), Part::Sql(")")]);
        }
        let arms = combinations(dimensions);
        let (mut statement, head) = match (head, fetched_from) {
            (Head::Statement(statement), _) => (statement, ""),
            (Head::Text(head), None) => (Statement::new(""), head),
            (Head::Text(head), Some(table)) => {
                (Statement::new("SELECT ").push(table).push(".* FROM ("), head)
            }
        };
        let orders_arms = orders_arms && 1 < arms.len();
        for (index, arm) in arms.into_iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { " UNION ALL " });
            statement = statement.push(if orders_arms { "(" } else { "" }).push(head);
            for part in parts.iter().cloned().chain(arm) {
                statement = match part {
                    Part::Sql(sql) => statement.push(sql),
                    Part::Value(value) => statement.bind(value),
                };
            }
            if orders_arms {
                // All rows that are skipped may be of this arm.
                statement = statement.push(order.by).push(" LIMIT ").bind(skipped + limit).push(")");
            }
        }
        statement = statement.push(order.by).push(" LIMIT ").bind(limit);
        if 0 < skipped {
            statement = statement.push(" OFFSET ").bind(skipped);
        }
        let Some(table) = fetched_from else { return Some(statement) };
        // SQLite joins in the order written when a join is called CROSS.
        Some(
            statement
                .push(") AS found CROSS JOIN ")
                .push(table)
                .push(" WHERE ")
                .push(table)
                .push(".id = found.id ORDER BY found.created_at_us DESC, found.id DESC"),
        )
    }
}

/// Order of a list.
pub(crate) struct ListOrder {
    /// Begins the condition for rows after one that was seen: two values and a bracket follow.
    pub(crate) after_begins: &'static str,
    /// The clause that gives the order.
    pub(crate) by: &'static str,
}

const NEWEST_FIRST: ListOrder =
    ListOrder { after_begins: " AND (created_at_us, id) < (", by: " ORDER BY created_at_us DESC, id DESC" };

/// Checks how many entries are wanted.
///
/// # Errors
/// `InvalidInput` when that is out of range.
pub(crate) fn check_page(page: PageRequest) -> PortResult<()> {
    if (1..=PageRequest::LIMIT_MAX).contains(&page.limit) {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::InvalidInput,
        format!("a page must have 1 to {} entries, got {}", PageRequest::LIMIT_MAX, page.limit),
    ))
}

/// Every choice of one value of each column, as conditions.
fn combinations(dimensions: Vec<(&'static str, Vec<Parameter>)>) -> Vec<Vec<Part>> {
    let mut arms = vec![Vec::new()];
    for (column, values) in dimensions {
        let longer = |arm: &Vec<Part>, value: &Parameter| {
            let condition =
                [Part::Sql(" AND "), Part::Sql(column), Part::Sql(" = "), Part::Value(value.clone())];
            [arm.as_slice(), condition.as_slice()].concat()
        };
        arms = arms.iter().flat_map(|arm| values.iter().map(move |value| longer(arm, value))).collect();
    }
    arms
}

fn project_texts(project_ids: Option<&[ProjectId]>) -> Option<Vec<String>> {
    project_ids.map(|ids| ids.iter().map(ToString::to_string).collect())
}

fn checked(values: Vec<impl Into<Parameter>>) -> PortResult<Vec<Parameter>> {
    if FILTER_VALUES_MAX < values.len() {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            format!("a filter must have at most {FILTER_VALUES_MAX} values, got {}", values.len()),
        ));
    }
    Ok(values.into_iter().map(Into::into).collect())
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
    Ok(Page { items, has_more, stopped_at: None })
}
