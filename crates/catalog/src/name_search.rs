//! Backups whose name contains a text. No index of either database has them in the order of the list, so names are looked
//! through along the index of that order: in windows of a fixed number of backups, of which a page gets so many at most
//! (`docs/adr/013-names-are-looked-through.md`).

use crate::backups;
use crate::catalog::SqlCatalog;
use crate::database::{Database, Dialect, Record, Statement};
use crate::model::time;
use crate::page::{ListQuery, check_page};
use milvault_domain::backup::Backup;
use milvault_domain::ids::BackupId;
use milvault_domain::ports::{BackupFilter, Page, PageRequest, PortResult, SortKey};

/// Backups of a window: few enough that a database walks along the index instead of sorting, and many enough that there
/// are few windows.
const WINDOW: u32 = 1_000;
const WINDOWS_MAX: u32 = BackupFilter::NAMES_LOOKED_THROUGH_MAX / WINDOW;

impl SqlCatalog {
    /// A page of the backups whose name contains the text.
    pub(crate) async fn search_backups(
        &self,
        filter: &BackupFilter,
        text: &str,
        page: PageRequest,
    ) -> PortResult<Page<Backup>> {
        check_page(page)?;
        let (database, wanted) = (self.database.as_ref(), page.limit as usize);
        let mut items = Vec::new();
        let mut after = page.after;
        for _ in 0..WINDOWS_MAX {
            let window = Window { after, last: last_of_window(database, filter, after).await? };
            // One more than wanted, to know whether there are more.
            let missing = wanted + 1 - items.len();
            let Some(statement) = window.search(database.dialect(), filter, text, missing)? else {
                return Ok(Page::empty());
            };
            for row in &mut database.read(statement).await? {
                items.push(backups::read(row)?);
            }
            if wanted < items.len() {
                items.truncate(wanted);
                return Ok(Page { items, has_more: true, stopped_at: None });
            }
            if window.last.is_none() {
                return Ok(Page { items, has_more: false, stopped_at: None });
            }
            after = window.last;
        }
        Ok(Page { items, has_more: true, stopped_at: after })
    }
}

/// A part of the list.
struct Window {
    /// The place after which it begins; `None` is the beginning of the list.
    after: Option<SortKey>,
    /// Its last entry; `None` when the list ends in it.
    last: Option<SortKey>,
}

impl Window {
    /// What of it has the text in its name; `None` when there can be nothing.
    fn search(
        &self,
        dialect: Dialect,
        filter: &BackupFilter,
        text: &str,
        limit: usize,
    ) -> PortResult<Option<Statement>> {
        // Only what is found is fetched.
        let query = filtered(dialect, filter)?
            .fetched_from("backups")
            .name_contains(dialect.position_function, Some(text))
            .down_to(self.last);
        Ok(query.newest_first(self.after, i64::try_from(limit).unwrap_or(i64::MAX)))
    }
}

fn filtered(dialect: Dialect, filter: &BackupFilter) -> PortResult<ListQuery> {
    let query = ListQuery::new("SELECT id, created_at_us FROM backups WHERE 1 = 1", BackupId::PREFIX);
    backups::filtered(query, dialect, filter)
}

/// Where the window after a place ends.
async fn last_of_window(
    database: &dyn Database,
    filter: &BackupFilter,
    after: Option<SortKey>,
) -> PortResult<Option<SortKey>> {
    let Some(statement) = select_last(database.dialect(), filter, after)? else { return Ok(None) };
    database.read(statement).await?.first_mut().map(read_place).transpose()
}

fn select_last(
    dialect: Dialect,
    filter: &BackupFilter,
    after: Option<SortKey>,
) -> PortResult<Option<Statement>> {
    Ok(filtered(dialect, filter)?.nth(after, i64::from(WINDOW)))
}

fn read_place(row: &mut Record) -> PortResult<SortKey> {
    Ok(SortKey { created_at: time(row.integer("created_at_us")?)?, id: backups::read_id(row)?.as_uuid() })
}

/// The statements of the first window of a page, to be asked how they are answered.
#[cfg(any(test, feature = "scale"))]
pub(crate) async fn first_window(
    database: &dyn Database,
    filter: &BackupFilter,
    text: &str,
    page: PageRequest,
) -> PortResult<Vec<Statement>> {
    let (after, dialect) = (page.after, database.dialect());
    let window = Window { after, last: last_of_window(database, filter, after).await? };
    let search = window.search(dialect, filter, text, page.limit as usize + 1)?;
    Ok(select_last(dialect, filter, after)?.into_iter().chain(search).collect())
}
