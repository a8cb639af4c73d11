//! Restores, drills and undos against a Milvus in memory that really holds rows.

mod canceled;
mod conflicts;
mod cut_off;
mod drills;
mod failing;
mod on_sqlite;
mod rows;
mod scheduled_drills;
mod stage;
mod undone;
