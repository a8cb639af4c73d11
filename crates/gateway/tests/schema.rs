//! The committed schema is the one that the code serves.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/graphql/schema.graphql");
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == milvault_gateway::sdl(),
        "{} is out of date; run `cargo xtask codegen` and review the change as clients will see it",
        path.display()
    );
}
