//! Checking tools that are not part of Rust, installed below `target/` in the version that is named here.

use crate::process::{cargo, run, target_directory};
use std::path::PathBuf;
use std::process::Command;

/// A tool from the package registry.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Licences, banned crates and sources.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Dependencies that nothing uses.
pub(crate) const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };

impl Tool {
    /// Where its binary is; installs it when it is missing or has another version.
    ///
    /// # Errors
    /// It cannot be installed.
    pub(crate) fn ensure(&self) -> anyhow::Result<PathBuf> {
        let root = target_directory()?.join("tools");
        let binary = root.join("bin").join(self.name);
        if !self.is_installed(&binary) {
            // Unoptimised: it compiles in half the time and checks a workspace of this size in seconds all the same.
            let mut install = cargo(["install", "--locked", "--debug", "--force", self.name]);
            run(install.args(["--version", self.version, "--root"]).arg(&root))?;
        }
        Ok(binary)
    }

    fn is_installed(&self, binary: &PathBuf) -> bool {
        Command::new(binary).arg("--version").output().is_ok_and(|output| {
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            printed.split_whitespace().last() == Some(self.version)
        })
    }
}
