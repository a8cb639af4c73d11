//! The table at the end.

use super::report::DemoReport;
use super::traffic::Lane;
use indicatif::HumanBytes;
use std::fmt;
use std::time::Duration;

/// A report, as a table for people.
pub struct Summary<'a>(pub &'a DemoReport);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let mut rows = vec![[String::new(), String::from("first backup"), String::from("second backup")]];
        let mut row = |title: &str, cell: &dyn Fn(usize) -> String| {
            rows.push([title.to_owned(), cell(0), cell(1)]);
        };
        let backup = |index: usize| &report.backups[index];
        row("status", &|i| backup(i).view.status.clone());
        row("cut at", &|i| backup(i).view.cut_at.clone().unwrap_or_default());
        row("collections", &|i| count(backup(i).view.collection_count));
        row("rows in its segments", &|i| count(backup(i).view.row_count));
        row("objects", &|i| count(backup(i).view.object_count));
        row("  of which reused", &|i| count(backup(i).view.reused_object_count));
        row("size", &|i| bytes(backup(i).view.logical_bytes));
        row("  of which reused", &|i| bytes(Some(backup(i).reused_bytes)));
        row("newly stored", &|i| bytes(backup(i).view.newly_stored_bytes));
        row("time", &|i| seconds(backup(i).duration));
        row("events of its job", &|i| count(Some(backup(i).event_count)));
        row("objects verified", &|i| count(Some(backup(i).verify.objects_checked)));
        row("bytes verified", &|i| bytes(Some(backup(i).verify.bytes_read)));
        row("verify failures", &|i| count(Some(backup(i).verify.failure_count)));
        row("compared with Milvus", &|i| count(Some(backup(i).comparison.objects_equal)));
        row("differ from Milvus", &|i| count(Some(backup(i).comparison.differences.len() as u64)));
        write_table(formatter, &rows)?;
        writeln!(formatter)?;
        let mut lanes = vec![["while backing up", "operations", "errors", "p50", "p99"].map(str::to_owned)];
        lanes.push(lane("writer", &report.traffic.writer));
        lanes.push(lane("searcher", &report.traffic.searcher));
        write_table(formatter, &lanes)?;
        writeln!(formatter)?;
        let mut restores =
            vec![["restored", "job", "time", "rows compared", "rows that differ"].map(str::to_owned)];
        for restore in &report.restore.restores {
            restores.push([
                restore.what.to_owned(),
                restore.state.clone(),
                seconds(restore.duration),
                count(Some(restore.rows)),
                count(Some(restore.differences)),
            ]);
        }
        write_table(formatter, &restores)
    }
}

fn lane(name: &str, lane: &Lane) -> [String; 5] {
    [
        name.to_owned(),
        count(Some(lane.operation_count())),
        count(Some(lane.error_count)),
        milliseconds(lane.percentile(50)),
        milliseconds(lane.percentile(99)),
    ]
}

/// First column to the left, the others to the right, two blanks between.
fn write_table<const N: usize>(formatter: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).enumerate();
        let line: String = cells
            .map(|(column, (cell, width))| match column {
                0 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            })
            .collect();
        writeln!(formatter, "{}", line.trim_end())?;
    }
    Ok(())
}

fn count(number: Option<u64>) -> String {
    number.map_or_else(|| String::from("-"), |number| indicatif::HumanCount(number).to_string())
}

fn bytes(number: Option<u64>) -> String {
    number.map_or_else(|| String::from("-"), |number| HumanBytes(number).to_string())
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
