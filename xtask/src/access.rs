//! The tables of `docs/access.md`: who gets what of the schema, made of `schema/graphql/access.txt`.

use anyhow::{Context, bail};
use std::fmt::Write;

/// The file with a line for every field.
pub(crate) const DECISIONS: &str = "schema/graphql/access.txt";
/// The document with the tables.
pub(crate) const DOCUMENT: &str = "docs/access.md";

const BEGIN: &str = "<!-- generated from schema/graphql/access.txt by `cargo xtask codegen` -->\n";
const END: &str = "<!-- end of the generated part -->\n";

/// Puts the tables into the document, in place of those that it has.
///
/// # Errors
/// A line of the decisions cannot be read, or the document has no place for the tables.
pub(crate) fn document(present: &str, decisions: &str) -> anyhow::Result<String> {
    let (before, rest) = present.split_once(BEGIN).with_context(|| format!("{DOCUMENT} lacks `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} lacks `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", tables(decisions)?))
}

fn tables(decisions: &str) -> anyhow::Result<String> {
    let mut columns = Vec::new();
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in decisions.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
        if cells[0] == "columns" {
            columns = line.split('|').skip(1).map(str::trim).collect();
        } else if let Some(name) = cells[0].strip_prefix("rule ") {
            let shown = cells.get(1).context("a rule without cells")?.split_whitespace().map(shown);
            let shown = shown.collect::<anyhow::Result<Vec<_>>>()?;
            if shown.len() != columns.len() {
                bail!("`{line}` must say what each of the {} columns gets", columns.len());
            }
            rules.push((name.to_owned(), shown.join(" | ")));
        } else if let Some(field) = root_field(cells[0]) {
            let rule = cells.get(1).copied().unwrap_or_default();
            let row = (field.to_owned(), rule.to_owned());
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    let mut text = format!("| field | {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len() + 1));
    for (field, rule) in &rows {
        let known = rules.iter().find(|(name, _)| name == rule);
        let (_, shown) = known.with_context(|| format!("`{field}` has no rule of the list"))?;
        // A field has a second rule for other arguments.
        let is_repeated = rows.iter().filter(|(other, _)| other == field).count() > 1;
        let mark = if is_repeated { " (by its arguments)" } else { "" };
        writeln!(text, "| `{field}`{mark} | {shown} |")?;
    }
    Ok(text)
}

fn root_field(cell: &str) -> Option<&str> {
    ["Query.", "Mutation.", "Subscription."].iter().find_map(|root| cell.strip_prefix(root))
}

fn shown(cell: &str) -> anyhow::Result<&'static str> {
    Ok(match cell {
        "ok" => "yes",
        "empty" => "empty",
        "forbidden" => "`FORBIDDEN`",
        "not_found" => "`NOT_FOUND`",
        _ => bail!("`{cell}` is none of ok, empty, forbidden and not_found"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DECISIONS: &str = "# text\ncolumns | owner | others\nrule SEE | ok not_found\nrule OWN | ok forbidden\n\
        Query.job | SEE | id: \"$job\"\nQuery.job | SEE | id: \"$open\"\nQuery.keys | SEE |\nQuery.keys | OWN | all: true\nJob.id | PARENT\n";

    #[test]
    fn the_tables_go_in_between_the_marks() {
        let made = document(&format!("a\n{BEGIN}old\n{END}z\n"), DECISIONS).unwrap();
        let expected = "\n| field | owner | others |\n|---|---|---|\n| `job` | yes | `NOT_FOUND` |\n\
            | `keys` (by its arguments) | yes | `NOT_FOUND` |\n| `keys` (by its arguments) | yes | `FORBIDDEN` |\n\n";
        assert_eq!(made, format!("a\n{BEGIN}{expected}{END}z\n"));
        assert_eq!(document(&made, DECISIONS).unwrap(), made);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for wrong in ["Query.x | NONE |", "rule X | ok", "rule X | ok perhaps"] {
            let decisions = format!("{DECISIONS}{wrong}\n");
            document(&format!("{BEGIN}{END}"), &decisions).unwrap_err();
        }
        document("no marks", DECISIONS).unwrap_err();
    }
}
