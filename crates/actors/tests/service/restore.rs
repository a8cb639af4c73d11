//! Restores, drills and undos against a Milvus in memory that really holds rows.

mod canceled;
mod conflicts;
mod cut_off;
mod databases;
mod drills;
mod failing;
mod memory;
mod names;
mod on_sqlite;
mod rows;
mod scheduled_drills;
mod stage;
mod staged_leftovers;
mod undone;
