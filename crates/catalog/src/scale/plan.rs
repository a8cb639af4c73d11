//! What a database tells about the way it answers a statement.

use crate::database::Record;
use crate::error::corrupt;
use milvault_domain::ports::PortResult;

/// How a statement is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The steps in the database's words, one to a line.
    pub steps: Vec<String>,
    /// Rows and entries of indexes that were looked at, where the database counts them.
    pub rows_looked_at: Option<u64>,
}

impl Explained {
    pub(super) fn read(rows: Vec<Record>) -> PortResult<Self> {
        let mut steps = Vec::with_capacity(rows.len());
        for mut row in rows {
            // SQLite has a column of its own for the text, PostgreSQL no other.
            let step = match row.optional_text("detail") {
                Ok(Some(detail)) => detail,
                _ => row.text("QUERY PLAN").map_err(|_| corrupt("a plan has no text"))?,
            };
            steps.push(step);
        }
        let rows_looked_at = rows_looked_at(&steps);
        Ok(Self { steps, rows_looked_at })
    }

    /// The steps that read a whole table of many rows, or sort more than a page of them. What PostgreSQL sorts is no
    /// fault by itself: it counts the rows, and a few are sorted sooner than merged.
    #[must_use]
    pub fn faults(&self) -> Vec<&str> {
        const MANY_ROWS: [&str; 5] = ["backups", "jobs", "job_events", "job_names", "audit_log"];
        let is_scan = |step: &str, table: &str| {
            let whole = format!("SCAN {table}");
            let by_index = step.contains("INDEX");
            step.contains(&format!("Seq Scan on {table}"))
                || (!by_index && (step == whole || step.starts_with(&format!("{whole} "))))
        };
        // What a search found is put in order once more: no more than a page of it.
        let sorts_a_page = self.steps.iter().any(|step| step.contains("found"));
        let is_sort = |step: &str| !sorts_a_page && step.contains("TEMP B-TREE");
        let is_fault = |step: &&String| is_sort(step) || MANY_ROWS.iter().any(|table| is_scan(step, table));
        self.steps.iter().filter(is_fault).map(String::as_str).collect()
    }
}

/// Rows that scans gave out or left out, from the words of PostgreSQL's EXPLAIN ANALYZE.
fn rows_looked_at(steps: &[String]) -> Option<u64> {
    let mut looked_at = None;
    let mut loops = 1;
    for step in steps {
        if let Some((_, actual)) = step.split_once("(actual ") {
            loops = figure_after(actual, "loops=").unwrap_or(1);
            if step.contains("Scan") && !step.contains("Subquery Scan") {
                let rows = figure_after(actual, "rows=").unwrap_or(0).saturating_mul(loops);
                looked_at = Some(looked_at.unwrap_or(0_u64).saturating_add(rows));
            }
        } else if step.contains("Rows Removed by") {
            let removed = figure_after(step, ": ").unwrap_or(0).saturating_mul(loops);
            looked_at = Some(looked_at.unwrap_or(0).saturating_add(removed));
        }
    }
    looked_at
}

fn figure_after(text: &str, mark: &str) -> Option<u64> {
    let (_, rest) = text.split_once(mark)?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(steps: &[&str]) -> Explained {
        let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
        let rows_looked_at = rows_looked_at(&steps);
        Explained { steps, rows_looked_at }
    }

    #[test]
    fn rows_that_were_left_out_count_too() {
        let plan = explained(&[
            "Limit  (cost=0.42..8.44 rows=1 width=4) (actual time=0.01..0.02 rows=51 loops=1)",
            "  ->  Index Scan using jobs_by_project on jobs  (cost=0.4 rows=9) (actual time=0.01..0.02 rows=51.00 loops=2)",
            "        Filter: (state = 'FAILED'::text)",
            "        Rows Removed by Filter: 1000",
        ]);
        assert_eq!(plan.rows_looked_at, Some(2_102));
        assert_eq!(plan.faults(), [""; 0]);
    }

    #[test]
    fn scans_and_sorts_of_tables_are_faults() {
        let sqlite = explained(&[
            "SCAN jobs",
            "USE TEMP B-TREE FOR ORDER BY",
            "SCAN jobs USING INDEX jobs_by_creation",
        ]);
        assert_eq!(sqlite.faults(), ["SCAN jobs", "USE TEMP B-TREE FOR ORDER BY"]);
        assert_eq!(sqlite.rows_looked_at, None);
        let postgres = explained(&[
            "Sort  (cost=1)",
            "  ->  Seq Scan on backups  (cost=1)",
            "  ->  Seq Scan on clusters",
        ]);
        assert_eq!(postgres.faults().len(), 1);
    }
}
