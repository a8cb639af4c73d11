//! The commands about the key that seals secrets.

use crate::config::Configuration;
use crate::master_key::MasterKey;
use crate::telemetry;
use crate::wire::{CatalogPlace, catalog_place};
use anyhow::{Context, bail};
use milvault_catalog::{SealedCatalog, SealedValues, Sealer, begin_rotation, end_rotation};
use milvault_domain::secret::SecretValue;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

/// Counts the sealed values by key.
///
/// # Errors
/// The catalog cannot be opened or is in use, or values need a key that is not there.
pub(crate) async fn check(configuration: Configuration) -> anyhow::Result<()> {
    telemetry::start_log(configuration.log.format, &configuration.log.filter)?;
    let CatalogPlace { url, master_key } = catalog_place(&configuration)?;
    let sealer = master_key.load().context("cannot use the master key")?;
    let (current, older) = (sealer.key_id().to_owned(), sealer.older_key_ids());
    let catalog = SealedCatalog::open(url.expose(), sealer).await.context("cannot open the catalog")?;
    let counted = catalog.count().await?;
    print(&table(&counted, &current, &older))?;
    let unknown = |key: &&String| **key != current && !older.contains(*key);
    let missing: BTreeSet<_> =
        counted.iter().flat_map(|column| column.by_key.keys()).filter(unknown).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.into_iter().map(String::as_str).collect();
    bail!("values cannot be read with the keys of {master_key}: {}", missing.join(", "))
}

/// Changes the key, as far as this program can.
///
/// # Errors
/// The catalog cannot be opened or is in use, or a value cannot be read.
pub(crate) async fn rotate(configuration: Configuration) -> anyhow::Result<()> {
    telemetry::start_log(configuration.log.format, &configuration.log.filter)?;
    let CatalogPlace { url, master_key } = catalog_place(&configuration)?;
    match &master_key {
        MasterKey::File(path) => rotate_file(&url, &master_key, path).await,
        MasterKey::Given(_) => reseal_with_first(&url, &master_key).await,
    }
}

/// A new key is put in front of the file, everything is sealed anew, the former one is taken out. After each step the
/// file holds every key that is needed, so it may be cut off anywhere and be repeated.
async fn rotate_file(url: &SecretValue, master_key: &MasterKey, key_file: &Path) -> anyhow::Result<()> {
    // Opened with the key that is there first: nothing changes while the catalog is in use, or when the key is wrong.
    let former = master_key.load().context("cannot use the master key")?;
    let from = former.older_key_ids().pop().unwrap_or_else(|| former.key_id().to_owned());
    drop(SealedCatalog::open(url.expose(), former).await.context("cannot open the catalog")?);
    let sealer = begin_rotation(key_file).context("cannot change the master key file")?;
    let (resealed, current) = reseal(url, sealer).await?;
    let retired = end_rotation(key_file).context("cannot change the master key file")?;
    let mut text = format!("{resealed} values are sealed anew; the key was {from} and is {current} now\n");
    for path in retired {
        let _ = writeln!(
            text,
            "the former key is in {}; backups of the catalog from before need it",
            path.display()
        );
    }
    let _ = writeln!(text, "keep a copy of {} apart from the catalog", key_file.display());
    print(&text)
}

/// The keys are given and only the operator can change them: everything is sealed anew with the first.
async fn reseal_with_first(url: &SecretValue, master_key: &MasterKey) -> anyhow::Result<()> {
    let sealer = master_key.load().context("cannot use the master key")?;
    let older = sealer.older_key_ids();
    if older.is_empty() {
        bail!(
            "{master_key} holds one key; put a new one in front, with a comma in between, and run it again"
        );
    }
    let (resealed, current) = reseal(url, sealer).await?;
    print(&format!(
        "{resealed} values are sealed anew; all are sealed with {current} now\n\
         take out of {master_key} before the next start: {}\n\
         keep what you take out: backups of the catalog from before need it\n",
        older.join(", ")
    ))
}

/// Seals everything anew that needs it. Returns how much that was, and the name of the key.
async fn reseal(url: &SecretValue, sealer: Sealer) -> anyhow::Result<(u64, String)> {
    let current = sealer.key_id().to_owned();
    let catalog = SealedCatalog::open(url.expose(), sealer).await.context("cannot open the catalog")?;
    let resealed = catalog.reseal().await.context("the key is changed in part; run it again")?;
    let counted = catalog.count().await?;
    if counted.iter().any(|column| column.by_key.keys().any(|key| *key != current)) {
        bail!("values were written with another key meanwhile; stop all servers and run it again");
    }
    Ok((resealed, current))
}

fn table(counted: &[SealedValues], current: &str, older: &[String]) -> String {
    let mut text = format!("{:<34} {:<18} {:<9} {:>8}\n", "place", "key", "", "values");
    for column in counted {
        for (key, number) in &column.by_key {
            let what = if key == current {
                "current"
            } else if older.contains(key) {
                "older"
            } else {
                "missing"
            };
            let _ = writeln!(text, "{:<34} {key:<18} {what:<9} {number:>8}", column.place);
        }
    }
    text
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}
