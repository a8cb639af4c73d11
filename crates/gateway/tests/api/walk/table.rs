//! `schema/graphql/access.txt`: who gets what of every field.

use milvault_domain::access::Role;
use std::collections::{BTreeMap, BTreeSet};

const FILE: &str = include_str!("../../../../../schema/graphql/access.txt");

/// What a caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Ok,
    Empty,
    Forbidden,
    NotFound,
}

/// Who a caller is, in relation to the project that he asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// He has this role there.
    Of(Role),
    /// He owns another project.
    Outsider,
}

impl Column {
    fn position(self) -> usize {
        match self {
            Self::Of(Role::OrganizationOwner) => 0,
            Self::Of(Role::ProjectOwner) => 1,
            Self::Of(Role::CustomBackupManage) => 2,
            Self::Of(Role::CustomBackupView) => 3,
            Self::Of(Role::ProjectReadWrite) => 4,
            Self::Of(Role::ProjectReadOnly) => 5,
            Self::Of(Role::OrganizationMember) => 6,
            Self::Of(Role::BillingAdmin) => 7,
            Self::Outsider => 8,
        }
    }
}

/// A rule: what each column gets.
#[derive(Debug, Clone)]
pub(super) struct Rule(Vec<Expected>);

impl Rule {
    pub(super) fn expected(&self, column: Column) -> Expected {
        self.0[column.position()]
    }

    /// Whether it is about something of a project, which others do not see.
    pub(super) fn is_about_a_thing(&self) -> bool {
        matches!(self.expected(Column::Outsider), Expected::NotFound | Expected::Empty)
    }
}

/// A line about a root field.
#[derive(Debug, Clone)]
pub(super) struct RootLine {
    /// `query`, `mutation` or `subscription`.
    pub(super) operation: &'static str,
    pub(super) field: String,
    pub(super) rule: Rule,
    pub(super) rule_name: String,
    pub(super) arguments: String,
}

/// What decides about a field of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Parent,
    See,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) roots: Vec<RootLine>,
    pub(super) parts: BTreeMap<String, Part>,
}

impl Table {
    pub(super) fn read() -> Self {
        let mut rules = BTreeMap::new();
        let mut table = Self::default();
        for line in FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let cells: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
            if line.starts_with("columns ") {
                continue;
            }
            if let Some(name) = cells[0].strip_prefix("rule ") {
                rules.insert(name.to_owned(), rule(cells[1], line));
                continue;
            }
            let (owner, field) = cells[0].split_once('.').unwrap_or_else(|| panic!("no field in `{line}`"));
            let operation = match owner {
                "Query" => "query",
                "Mutation" => "mutation",
                "Subscription" => "subscription",
                _ => {
                    let part = match cells[1] {
                        "PARENT" => Part::Parent,
                        "SEE" => Part::See,
                        _ => panic!("a part has PARENT or SEE: `{line}`"),
                    };
                    assert_eq!(table.parts.insert(cells[0].to_owned(), part), None, "twice: `{line}`");
                    continue;
                }
            };
            let rule = rules.get(cells[1]).unwrap_or_else(|| panic!("no such rule: `{line}`")).clone();
            table.roots.push(RootLine {
                operation,
                field: field.to_owned(),
                rule,
                rule_name: cells[1].to_owned(),
                arguments: cells.get(2).copied().unwrap_or_default().to_owned(),
            });
        }
        table
    }

    /// The root fields of an operation.
    pub(super) fn fields_of(&self, operation: &str) -> BTreeSet<&str> {
        let lines = self.roots.iter().filter(|line| line.operation == operation);
        lines.map(|line| line.field.as_str()).collect()
    }
}

fn rule(cells: &str, line: &str) -> Rule {
    let cells = cells.split_whitespace().map(|cell| match cell {
        "ok" => Expected::Ok,
        "empty" => Expected::Empty,
        "forbidden" => Expected::Forbidden,
        "not_found" => Expected::NotFound,
        _ => panic!("`{cell}` in `{line}`"),
    });
    let rule = Rule(cells.collect());
    assert_eq!(rule.0.len(), Column::Outsider.position() + 1, "columns of `{line}`");
    rule
}
