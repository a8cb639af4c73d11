//! Other programs.

use anyhow::{Context, anyhow};
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// A program that was started and answered with failure.
#[derive(Debug)]
pub(crate) struct CommandFailed {
    line: String,
    /// What it exited with; 1 when a signal ended it.
    pub(crate) exit_code: u8,
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` failed", self.line)
    }
}

impl std::error::Error for CommandFailed {}

/// The cargo that runs this, in the root of the workspace.
///
/// It does not inherit what cargo told this program about its own package: build scripts such as ring's run again when
/// those variables differ, and most of the workspace with them.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace_root());
    for (name, _) in env::vars_os() {
        let about_this_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR"
        });
        if about_this_package {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program, showing its command line and what it prints.
///
/// # Errors
/// [`CommandFailed`] when it exits with failure.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    check(status, line)
}

/// Runs a program and returns what it prints on standard output.
///
/// # Errors
/// [`CommandFailed`] when it exits with failure; it prints no UTF-8.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line_of(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    check(output.status, line.clone())?;
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something that is no text"))
}

/// The root of the workspace.
pub(crate) fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo puts what it builds.
///
/// # Errors
/// Cargo cannot tell.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let metadata = metadata()?;
    let path = metadata["target_directory"].as_str();
    path.map(PathBuf::from).ok_or_else(|| anyhow!("cargo metadata does not tell the target directory"))
}

/// What cargo knows about the packages of the workspace.
///
/// # Errors
/// Cargo fails.
pub(crate) fn metadata() -> anyhow::Result<serde_json::Value> {
    let text = output(&mut cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).context("cannot read what cargo metadata printed")
}

fn check(status: ExitStatus, line: String) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    let exit_code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(CommandFailed { line, exit_code }.into())
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_exit_code_of_a_program_is_kept() {
        let error = run(Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(error.downcast_ref::<CommandFailed>().unwrap().exit_code, 7);
        let error = run(Command::new("sh").args(["-c", "kill -KILL $$"])).unwrap_err();
        assert_eq!(error.downcast_ref::<CommandFailed>().unwrap().exit_code, 1);
        assert_eq!(output(Command::new("sh").args(["-c", "echo hello"])).unwrap(), "hello\n");
    }

    #[test]
    fn the_root_is_where_the_workspace_is_declared() {
        assert!(workspace_root().join("Cargo.lock").is_file());
        assert!(target_directory().unwrap().is_absolute());
    }
}
