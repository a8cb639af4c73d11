//! The commands that make a lost catalog again.

use crate::cli::{RebuildArguments, RestoreArguments};
use crate::config::Configuration;
use crate::owner_key::{KeyOutput, PreparedOutput, new_key};
use crate::places::RepositoryPlace;
use crate::telemetry;
use crate::wire::{CatalogPlace, System, catalog_place, open_catalog};
use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use milvault_actors::{PolicyReturn, RebuildRequest, Rebuilt, RebuiltPolicy, rebuild_catalog};
use milvault_catalog::Sealer;
use milvault_domain::ids::OrganizationId;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

/// Makes the catalog again from the repositories.
///
/// # Errors
/// No repository is named, one cannot be read, or the catalog is in use or not empty.
pub(crate) async fn rebuild(configuration: Configuration, arguments: RebuildArguments) -> anyhow::Result<()> {
    telemetry::start_log(configuration.log.format, &configuration.log.filter)?;
    let repositories = places(&configuration, &arguments.repositories)?;
    let system = System::new(&configuration);
    let catalog = if arguments.dry_run {
        // Nothing is asked of it: not even a file is made.
        milvault_catalog::open("sqlite::memory:", Sealer::from_key_bytes(rand::random())).await?
    } else {
        let catalog = open_catalog(&configuration).await?;
        milvault_catalog::refuse_while_in_use(catalog.as_ref()).await?;
        catalog
    };
    let output = KeyOutput::from(arguments.owner_key_file);
    let organization_id = OrganizationId::from_uuid(system.ids.new_uuid());
    let (text, owner_key) = new_key(organization_id, system.clock.as_ref(), system.ids.as_ref());
    let prepared = PreparedOutput::prepare(&output, &text)?;
    let request = RebuildRequest {
        repositories,
        grace: TimeDelta::days(i64::from(arguments.grace_days)),
        merge: arguments.merge,
        owner_key,
    };
    let deps = system.deps(Arc::clone(&catalog));
    let rebuilt = match rebuild_catalog(&deps, request, arguments.dry_run).await {
        Ok(rebuilt) => rebuilt,
        Err(error) => {
            prepared.discard();
            return Err(error).context("the catalog was not rebuilt");
        }
    };
    if rebuilt.made_organization {
        prepared.hand_out(&text)?;
    } else {
        prepared.discard();
    }
    io::stdout()
        .write_all(table(&rebuilt, arguments.dry_run, arguments.grace_days).as_bytes())
        .context("cannot write to standard output")
}

/// Makes the catalog what its backup says, and then adds what the repositories know since.
///
/// # Errors
/// There is no backup of a catalog, it cannot be read with the master key, or the catalog is in use or not empty.
pub(crate) async fn restore(configuration: Configuration, arguments: RestoreArguments) -> anyhow::Result<()> {
    telemetry::start_log(configuration.log.format, &configuration.log.filter)?;
    let repositories = places(&configuration, &arguments.repositories)?;
    let system = System::new(&configuration);
    let CatalogPlace { url, master_key } = catalog_place(&configuration)?;
    let sealer = master_key.load().context("the master key of the lost catalog is needed")?;
    let stores = system
        .deps(milvault_catalog::open("sqlite::memory:", Sealer::from_key_bytes(rand::random())).await?)
        .stores;
    let mut found = Vec::new();
    for (name, storage) in &repositories {
        let attached =
            stores.attach_repository(storage).await.with_context(|| format!("repository \"{name}\""))?;
        let opened = stores.open_repository(attached.repository_id, storage, attached.capabilities).await?;
        let backups = opened.catalog_backups().await?;
        found
            .extend(backups.into_iter().filter_map(|name| Some((moment(&name)?, name, Arc::clone(&opened)))));
    }
    found.retain(|(at, name, _)| {
        arguments.at.is_none_or(|latest| *at <= latest)
            && arguments.organization.as_deref().is_none_or(|id| organization_of(name) == id)
    });
    let organizations: BTreeSet<_> = found.iter().map(|(_, name, _)| organization_of(name)).collect();
    if 1 < organizations.len() {
        let ids: Vec<_> = organizations.into_iter().collect();
        bail!("there are backups of several catalogs; choose one with --organization: {}", ids.join(", "));
    }
    let latest = found.iter().max_by_key(|(at, name, _)| (*at, name.clone()));
    let (at, name, opened) = latest
        .context("the repositories have no such backup of a catalog; milvault catalog rebuild needs none")?;
    let catalog = milvault_catalog::open(url.expose(), sealer).await.context("cannot open the catalog")?;
    milvault_catalog::refuse_while_in_use(catalog.as_ref()).await?;
    let mut source = opened.open_catalog_backup(name).await?;
    let rows = catalog
        .import(source.as_mut(), system.clock.now())
        .await
        .with_context(|| format!("the catalog was not restored from {name}"))?;
    let organization_id = OrganizationId::from_uuid(system.ids.new_uuid());
    let (_, owner_key) = new_key(organization_id, system.clock.as_ref(), system.ids.as_ref());
    let grace = TimeDelta::days(i64::from(arguments.grace_days));
    let request = RebuildRequest { repositories, grace, merge: true, owner_key };
    let rebuilt = rebuild_catalog(&system.deps(catalog), request, false).await.context(
        "the catalog is restored; what came since was not added: run milvault catalog rebuild --merge",
    )?;
    let mut text = format!("{rows} rows of the catalog are as they were at {}\n", at.to_rfc3339());
    text.push_str(&table(&rebuilt, false, arguments.grace_days));
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// When a backup of a catalog was made, by its name: `<organization>/<time>-<digits>`.
fn moment(name: &str) -> Option<DateTime<Utc>> {
    let (_, file) = name.split_once('/')?;
    let (time, _) = file.split_once('-')?;
    Some(NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?.and_utc())
}

fn organization_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(organization, _)| organization)
}

/// The repositories that the command line names, else those of the configuration.
pub(crate) fn places(
    configuration: &Configuration,
    named: &[String],
) -> anyhow::Result<Vec<(String, milvault_domain::storage::StorageConfig)>> {
    let places = if named.is_empty() {
        configuration.catalog.repositories.clone()
    } else {
        let parse = |text: &String| RepositoryPlace::parse(text).context("--repository");
        named.iter().map(parse).collect::<anyhow::Result<_>>()?
    };
    if places.is_empty() {
        bail!(
            "name at least one repository: --repository NAME=KIND:..., or [[catalog.repositories]] in the configuration"
        );
    }
    places.iter().map(RepositoryPlace::storage).collect()
}

/// What became of a policy, in words.
fn told(policy: &RebuiltPolicy) -> String {
    let mut text = String::from(match (policy.outcome, policy.was_enabled) {
        (PolicyReturn::Shown, true) => "found, switched on",
        (PolicyReturn::Shown, false) => "found, switched off",
        (PolicyReturn::Kept, _) => "the catalog has it",
        (PolicyReturn::Returned { switched_off: true, .. }, _) => {
            "came back switched off; it was on: switch it on with setBackupPolicy when the cluster has its address"
        }
        (PolicyReturn::Returned { .. }, _) => "came back",
    });
    if matches!(policy.outcome, PolicyReturn::Returned { copy_left_out: true, .. }) {
        text.push_str("; its second repository is not in this catalog, so it copies nowhere");
    }
    if let Some(reason) = &policy.unreadable {
        text.push_str(
            "; it cannot be read, so everything that it may have kept is kept until you set it anew: ",
        );
        text.push_str(reason);
    }
    text
}

/// What a person gets to read. Nothing here rests on a failed write: a text takes everything.
fn table(rebuilt: &Rebuilt, dry_run: bool, grace_days: u32) -> String {
    let mut text = String::new();
    let added = if dry_run { "would add" } else { "added" };
    if let Some(organization) = &rebuilt.organization {
        let _ = writeln!(text, "organization  {}  \"{}\"", organization.id, organization.name);
    }
    let _ = writeln!(
        text,
        "\n{:<24} {:<38} {:>8} {:>9} {:>8} {:>10} {:>10}",
        "repository", "id", "backups", added, "deleted", "unfinished", "unreadable"
    );
    for repository in &rebuilt.repositories {
        let _ = writeln!(
            text,
            "{:<24} {:<38} {:>8} {:>9} {:>8} {:>10} {:>10}",
            repository.name,
            repository.id.to_string(),
            repository.readable,
            repository.added,
            repository.deleted,
            repository.unfinished.len(),
            repository.unreadable.len()
        );
    }
    let _ = writeln!(text, "\n{:<24} {:<38} {:>8} {:>20}", "cluster", "id", "backups", "");
    for (id, cluster) in &rebuilt.clusters {
        let state = if cluster.added { "needs registration" } else { "known" };
        let _ =
            writeln!(text, "{:<24} {:<38} {:>8} {state:>20}", cluster.name, id.to_string(), cluster.backups);
    }
    for (id, policy) in &rebuilt.policies {
        let _ = writeln!(text, "policy of {id}: {}", told(policy));
    }
    for repository in &rebuilt.repositories {
        for unfinished in &repository.unfinished {
            let _ = writeln!(text, "unfinished, left as it is: {unfinished}");
        }
        for unreadable in &repository.unreadable {
            let _ = writeln!(text, "cannot be read: {unreadable}");
        }
        for backup in &repository.without_record {
            let _ = writeln!(
                text,
                "as its manifest says, and held if it may expire, for its record cannot be read: {backup}"
            );
        }
    }
    let held: u64 = rebuilt.repositories.iter().map(|repository| repository.held).sum();
    if 0 < held {
        let _ = writeln!(
            text,
            "{held} backups are held: for {grace_days} days where their time is over soon, without end where a record cannot be read"
        );
    }
    if dry_run {
        text.push_str("nothing was written\n");
    } else if rebuilt.clusters.values().any(|cluster| cluster.added) {
        text.push_str(
            "give the clusters their addresses with updateCluster; backups go on incrementally then\n",
        );
    }
    text
}
