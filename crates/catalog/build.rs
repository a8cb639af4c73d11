//! Rebuilds the crate when a migration changes: `sqlx::migrate!` embeds them, but cargo does not watch that directory.

fn main() {
    println!("cargo::rerun-if-changed=../../schema/sql");
}
