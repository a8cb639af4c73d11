//! Generated files that are committed: written here, and checked by CI.

use crate::access;
use crate::process::{cargo, output, workspace_root};
use anyhow::{Context, bail};
use std::fs;
use std::path::Path;

/// What to do with a file that is not as generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it.
    Write,
    /// Fail.
    Check,
}

/// Generated files, each with the command of the server that prints it.
const FILES: [(&str, &[&str]); 2] =
    [("schema/graphql/schema.graphql", &["sdl"]), ("docs/configuration.md", &["config", "reference"])];

/// Writes or checks all generated files.
///
/// # Errors
/// The server does not build, or, when checking, a file is out of date.
pub(crate) fn run(mode: Mode) -> anyhow::Result<()> {
    let mut out_of_date = Vec::new();
    for (file, server_command) in FILES {
        let mut command = cargo(["run", "--quiet", "--package", "milvault", "--"]);
        let text = output(command.args(server_command))?;
        if !ensure_contents(&workspace_root().join(file), &text, mode)? {
            out_of_date.push(file);
        }
    }
    let read = |file: &str| {
        fs::read_to_string(workspace_root().join(file)).with_context(|| format!("cannot read {file}"))
    };
    let document = access::document(&read(access::DOCUMENT)?, &read(access::DECISIONS)?)?;
    if !ensure_contents(&workspace_root().join(access::DOCUMENT), &document, mode)? {
        out_of_date.push(access::DOCUMENT);
    }
    if !out_of_date.is_empty() {
        bail!("out of date: {}; run `cargo xtask codegen` and commit", out_of_date.join(", "));
    }
    Ok(())
}

/// Whether the file has these contents in the end.
fn ensure_contents(path: &Path, text: &str, mode: Mode) -> anyhow::Result<bool> {
    let is_current = fs::read_to_string(path).is_ok_and(|present| present == text);
    if is_current || mode == Mode::Check {
        return Ok(is_current);
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn checking_writes_nothing_and_writing_makes_it_current() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file");
        assert!(!ensure_contents(&path, "new", Mode::Check).unwrap());
        assert!(!path.exists());
        fs::write(&path, "old").unwrap();
        assert!(!ensure_contents(&path, "new", Mode::Check).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert!(ensure_contents(&path, "new", Mode::Write).unwrap());
        assert!(ensure_contents(&path, "new", Mode::Check).unwrap());
    }
}
