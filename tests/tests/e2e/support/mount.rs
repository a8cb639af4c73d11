//! A disk that is small, or that cannot be written.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file system of its own in memory. Dropping it unmounts it.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system of so many MiB on a directory, which is created.
    ///
    /// # Errors
    /// This needs the right to mount: root's, or `sudo` without a password.
    pub(crate) fn mount(path: PathBuf, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let options = format!("size={mebibytes}m,mode=0777");
        mount(&["-t", "tmpfs", "-o", &options, "milvault-e2e"], &path)?;
        Ok(Self { path })
    }

    /// Makes it larger or smaller.
    pub(crate) fn resize(&self, mebibytes: u32) -> Result<()> {
        mount(&["-o", &format!("remount,size={mebibytes}m")], &self.path)
    }

    /// Lets nobody write to it, not even root.
    pub(crate) fn make_read_only(&self) -> Result<()> {
        mount(&["-o", "remount,ro"], &self.path)
    }

    /// Takes that back.
    pub(crate) fn make_writable(&self) -> Result<()> {
        mount(&["-o", "remount,rw"], &self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that still has a file open must not keep it there.
        if let Err(error) = privileged("umount", &["--lazy"], &self.path) {
            eprintln!("{} stays mounted: {error:#}", self.path.display());
        }
    }
}

fn mount(arguments: &[&str], path: &Path) -> Result<()> {
    privileged("mount", arguments, path)
}

fn privileged(program: &str, arguments: &[&str], path: &Path) -> Result<()> {
    let plain = Command::new(program).args(arguments).arg(path).output();
    let plain = plain.with_context(|| format!("start {program}"))?;
    if plain.status.success() {
        return Ok(());
    }
    let with_sudo =
        Command::new("sudo").args(["--non-interactive", program]).args(arguments).arg(path).output();
    match with_sudo {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!(
            "cannot {program} {}: {}; this test must run as root, or with sudo that asks for no password",
            path.display(),
            complaint(&plain)
        ),
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
