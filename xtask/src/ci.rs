//! Every check but the tests, in the order from quick to slow.

use crate::codegen::{self, Mode};
use crate::edges;
use crate::process::{cargo, run, workspace_root};
use crate::tools::{DENY, MACHETE};
use std::process::Command;

/// Runs the checks; the first that fails ends it.
///
/// # Errors
/// Says which check failed.
pub(crate) fn run_all() -> anyhow::Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    edges::run()?;
    run(Command::new(MACHETE.ensure()?).arg("--with-metadata").current_dir(workspace_root()))?;
    let deny = ["--all-features", "check", "licenses", "bans", "sources"];
    run(Command::new(DENY.ensure()?).args(deny).current_dir(workspace_root()))?;
    let clippy =
        ["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run(&mut cargo(clippy))?;
    codegen::run(Mode::Check)
}
