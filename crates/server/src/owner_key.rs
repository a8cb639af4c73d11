//! The first organization, its project, and the API key of their owner, which is shown exactly once.

use anyhow::{Context, bail};
use milvault_domain::access::{ApiKey, Role, RoleGrant};
use milvault_domain::ids::{ApiKeyId, OrganizationId, ProjectId};
use milvault_domain::ports::{Catalog, Clock, IdSource, Tenancy};
use milvault_domain::secret::SecretValue;
use milvault_gateway::{hash_api_key, new_api_key_text};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the organization and of the project that a first start makes.
const DEFAULT_NAME: &str = "default";
/// Name of the owner key, which shows up as `createdBy`.
const OWNER_NAME: &str = "owner";

/// Where a new key goes.
#[derive(Debug)]
pub(crate) enum KeyOutput {
    /// One line on standard output.
    Print,
    /// A file with mode 0600.
    File(PathBuf),
}

impl From<Option<PathBuf>> for KeyOutput {
    fn from(file: Option<PathBuf>) -> Self {
        file.map_or(Self::Print, Self::File)
    }
}

/// When to make an owner key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Only when the catalog has no organization yet.
    FirstStart,
    /// Also when it has: the key before was lost.
    OnRequest,
}

/// Makes organization and project when the catalog has none, and on that occasion, or on request, an owner key that
/// is handed out here and never again. Returns what everything belongs to.
///
/// # Errors
/// The catalog fails, or the key cannot be handed out.
pub(crate) async fn ensure_owner(
    catalog: &dyn Catalog,
    clock: &dyn Clock,
    ids: &dyn IdSource,
    occasion: Occasion,
    output: &KeyOutput,
) -> anyhow::Result<Tenancy> {
    let proposed = Tenancy {
        organization_id: OrganizationId::from_uuid(ids.new_uuid()),
        organization_name: DEFAULT_NAME.to_owned(),
        project_id: ProjectId::from_uuid(ids.new_uuid()),
        project_name: DEFAULT_NAME.to_owned(),
    };
    let (text, mut key) = new_key(proposed.organization_id, clock, ids);
    let prepared = PreparedOutput::prepare(output, &text)?;
    let (tenancy, is_new) = catalog
        .ensure_tenancy(&proposed, &key)
        .await
        .context("cannot make the first organization in the catalog")?;
    if !is_new && occasion == Occasion::FirstStart {
        prepared.discard();
        return Ok(tenancy);
    }
    if !is_new {
        key.organization_id = tenancy.organization_id;
        catalog.insert_api_key(&key).await.context("cannot add the owner key to the catalog")?;
    }
    prepared.hand_out(&text)?;
    Ok(tenancy)
}

/// A new owner key and its text, which exists nowhere else.
pub(crate) fn new_key(
    organization_id: OrganizationId,
    clock: &dyn Clock,
    ids: &dyn IdSource,
) -> (SecretValue, ApiKey) {
    let text = new_api_key_text(rand::random());
    let key = ApiKey {
        id: ApiKeyId::from_uuid(ids.new_uuid()),
        organization_id,
        name: OWNER_NAME.to_owned(),
        secret_hash: hash_api_key(text.expose()),
        user: None,
        grants: vec![RoleGrant { role: Role::OrganizationOwner, project_id: None }],
        created_at: clock.now(),
        expires_at: None,
        revoked_at: None,
    };
    (text, key)
}

/// An output that is known to work before the catalog keeps the key's hash: the text exists nowhere else, so a key
/// that cannot be handed out would be lost.
pub(crate) enum PreparedOutput<'a> {
    Print,
    File { path: &'a Path, prepared: PathBuf },
}

impl<'a> PreparedOutput<'a> {
    /// Makes sure that the key can be handed out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn prepare(output: &'a KeyOutput, text: &SecretValue) -> anyhow::Result<Self> {
        let KeyOutput::File(path) = output else { return Ok(Self::Print) };
        let Some(file_name) = path.file_name() else {
            bail!("{} is not the name of a file for the owner key", path.display());
        };
        let mut prepared_name = file_name.to_owned();
        prepared_name.push(".new");
        let prepared = path.with_file_name(prepared_name);
        write_private(&prepared, text)
            .with_context(|| format!("cannot write the owner key to {}", prepared.display()))?;
        Ok(Self::File { path, prepared })
    }

    /// Hands the key out.
    ///
    /// # Errors
    /// The output is closed, or the file cannot be renamed.
    pub(crate) fn hand_out(self, text: &SecretValue) -> anyhow::Result<()> {
        match self {
            Self::Print => {
                writeln!(io::stdout(), "owner API key (shown only now, keep it safe): {}", text.expose())
                    .context("cannot print the owner key; `milvault owner-key` makes another")
            }
            Self::File { path, prepared } => fs::rename(&prepared, path)
                .with_context(|| format!("cannot rename {} to {}", prepared.display(), path.display())),
        }
    }

    /// Removes what was prepared: the key is of no use.
    pub(crate) fn discard(self) {
        if let Self::File { prepared, .. } = self
            && let Err(error) = fs::remove_file(&prepared)
        {
            // What is in it is no key of this catalog.
            tracing::warn!(%error, path = %prepared.display(), "cannot remove an unused key file");
        }
    }
}

fn write_private(path: &Path, text: &SecretValue) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", text.expose())?;
    file.sync_all()
}
