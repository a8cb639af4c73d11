//! Puts the parts together: opens the catalog, starts the actors, serves the API, and ends all in order.

use crate::config::{Configuration, WebhookSettings};
use crate::connections;
use crate::master_key::MasterKey;
use crate::owner_key::{KeyOutput, Occasion, ensure_owner};
use crate::residence::Residence;
use crate::runtime::{SystemClock, SystemIds};
use crate::secrets::LocalSecrets;
use crate::shutdown::EndSignals;
use crate::sign_in;
use crate::telemetry;
use crate::webhooks::HttpSender;
use anyhow::Context;
use milvault_actors::{CatalogBackupSettings, Deps, Runtime, Service, Settings};
use milvault_domain::ids::ServerId;
use milvault_domain::ports::{Catalog, Clock, IdSource, SecretSource, Tenancy};
use milvault_domain::secret::SecretValue;
use milvault_gateway::{GatewayLimits, GatewayState, Network, behind_proxies};
use milvault_milvus::{MilvusBinlogReader, MilvusGrpcConnector};
use milvault_repository::RepositoryStores;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Files that `serve` writes on request.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Gets the owner key of a first start instead of standard output.
    pub(crate) owner_key_file: Option<PathBuf>,
    /// Gets the bound address.
    pub(crate) listen_file: Option<PathBuf>,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// It cannot start: the address is taken, the SQLite catalog is used by another server, and so on.
pub(crate) async fn serve(configuration: Configuration, outputs: Outputs) -> anyhow::Result<()> {
    telemetry::start_log(configuration.log.format, &configuration.log.filter)?;
    let mut signals = EndSignals::catch()?;
    let metrics = telemetry::start_metrics()?;
    let system = System::new(&configuration);
    let own_secrets = LocalSecrets::new(configuration.server.secrets_dir.clone());
    let sign_in = sign_in::configured(&configuration, &own_secrets)?;
    let catalog = tokio::select! {
        opened = open_catalog(&configuration) => opened?,
        // A database that does not answer must not keep the server from being stopped.
        _ = signals.next() => return Ok(()),
    };
    let listener = bind(configuration.server.listen).await?;
    let key_output = KeyOutput::from(outputs.owner_key_file);
    let tenancy = system.ensure_owner(catalog.as_ref(), Occasion::FirstStart, &key_output).await?;
    // Kept as long as the server works.
    let server_id = ServerId::from_uuid(system.ids.new_uuid());
    let residence = Residence::take(&configuration.server.data_dir, server_id)?;
    let (service, runtime) = start_actors(&configuration, &system, Arc::clone(&catalog), &residence).await?;
    let router = milvault_gateway::router(GatewayState {
        catalog,
        service,
        clock: Arc::clone(&system.clock),
        organization_id: tenancy.organization_id,
        sign_in,
        limits: GatewayLimits::default(),
        metrics_render: Arc::new(move || metrics.render()),
        project_owners_use_server: configuration.gateway.project_owners_use_server,
        graphiql: configuration.gateway.graphiql,
        allowed_origins: configuration.gateway.allowed_origins.clone(),
    });
    let proxies = configuration.gateway.trusted_proxies.iter().map(|text| text.parse::<Network>());
    let router = behind_proxies(router, proxies.collect::<Result<_, _>>()?);
    let stop = CancellationToken::new();
    let api = tokio::spawn(connections::serve(
        listener.socket,
        router,
        configuration.server.connections_max,
        stop.clone(),
    ));
    announce(listener.address, outputs.listen_file.as_deref())?;

    let signal = signals.next().await;
    tracing::info!(signal, "shutting down");
    stop.cancel();
    let grace = Duration::from_secs(configuration.server.shutdown_grace_seconds);
    signals.or_exit_at_once(end(runtime, api, grace)).await;
    tracing::info!("stopped");
    Ok(())
}

/// Makes another owner key. A SQLite catalog must not be in use by a server.
///
/// # Errors
/// The catalog cannot be opened, or the key cannot be handed out.
pub(crate) async fn make_owner_key(
    configuration: Configuration,
    owner_key_file: Option<PathBuf>,
) -> anyhow::Result<()> {
    telemetry::start_log(configuration.log.format, &configuration.log.filter)?;
    let catalog = open_catalog(&configuration).await?;
    let output = KeyOutput::from(owner_key_file);
    System::new(&configuration).ensure_owner(catalog.as_ref(), Occasion::OnRequest, &output).await?;
    Ok(())
}

/// What the parts need of the system around them.
pub(crate) struct System {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    secrets: Arc<dyn SecretSource>,
    webhooks: WebhookSettings,
}

impl System {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            secrets: Arc::new(LocalSecrets::for_callers(configuration)),
            webhooks: configuration.webhooks.clone(),
        }
    }

    /// The outside world, as the actors see it.
    pub(crate) fn deps(&self, catalog: Arc<dyn Catalog>) -> Deps {
        Deps {
            catalog,
            stores: Arc::new(RepositoryStores::new(Arc::clone(&self.secrets))),
            milvus: Arc::new(MilvusGrpcConnector::new(Arc::clone(&self.secrets))),
            binlogs: Arc::new(MilvusBinlogReader),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            webhooks: Arc::new(HttpSender::new(self.webhooks.clone())),
        }
    }

    async fn ensure_owner(
        &self,
        catalog: &dyn Catalog,
        occasion: Occasion,
        output: &KeyOutput,
    ) -> anyhow::Result<Tenancy> {
        ensure_owner(catalog, self.clock.as_ref(), self.ids.as_ref(), occasion, output).await
    }
}

struct BoundListener {
    socket: TcpListener,
    address: SocketAddr,
}

async fn bind(address: SocketAddr) -> anyhow::Result<BoundListener> {
    let socket = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another server.listen"))?;
    let address = socket.local_addr().context("cannot tell the bound address")?;
    Ok(BoundListener { socket, address })
}

/// Where the catalog is, and its key.
pub(crate) struct CatalogPlace {
    pub(crate) url: SecretValue,
    pub(crate) master_key: MasterKey,
}

/// Finds out where the catalog is, and makes the data directory when it is missing.
///
/// # Errors
/// The data directory cannot be used.
pub(crate) fn catalog_place(configuration: &Configuration) -> anyhow::Result<CatalogPlace> {
    let data_dir = prepare_data_dir(&configuration.server.data_dir)?;
    let master_key = MasterKey::configured(configuration, &data_dir);
    let default_url = || SecretValue::new(format!("sqlite://{}", data_dir.join("catalog.db").display()));
    let url = configuration.catalog.url.clone().unwrap_or_else(default_url);
    Ok(CatalogPlace { url, master_key })
}

/// Opens the catalog that the configuration names.
///
/// # Errors
/// The master key or the database cannot be used.
pub(crate) async fn open_catalog(configuration: &Configuration) -> anyhow::Result<Arc<dyn Catalog>> {
    let CatalogPlace { url, master_key } = catalog_place(configuration)?;
    let sealer = master_key.load_or_create().context("cannot use the master key")?;
    milvault_catalog::open(url.expose(), sealer).await.context("cannot open the catalog")
}

/// The absolute path of the data directory, made when it is missing.
fn prepare_data_dir(path: &Path) -> anyhow::Result<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data directory {}", path.display()))?;
    let absolute = fs::canonicalize(path)
        .with_context(|| format!("cannot open the data directory {}", path.display()))?;
    let mode = fs::metadata(&absolute)
        .with_context(|| format!("cannot open the data directory {}", path.display()))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %absolute.display(),
            mode = format_args!("{:o}", mode & 0o777),
            "others on this machine may enter the data directory; set its mode to 700"
        );
    }
    Ok(absolute)
}

async fn start_actors(
    configuration: &Configuration,
    system: &System,
    catalog: Arc<dyn Catalog>,
    residence: &Residence,
) -> anyhow::Result<(Service, Runtime)> {
    let deps = system.deps(catalog);
    let settings = Settings {
        server_id: Some(residence.server_id),
        former_server_id: residence.former,
        shutdown_grace: Duration::from_secs(configuration.server.shutdown_grace_seconds),
        retention_interval: Duration::from_secs(configuration.jobs.retention_interval_seconds),
        sweep_grace: Duration::from_secs(configuration.jobs.sweep_grace_seconds),
        schedule_interval: Duration::from_secs(configuration.jobs.schedule_interval_seconds),
        jobs_kept: Duration::from_hours(u64::from(configuration.jobs.kept_days) * 24),
        job_attempts_max: configuration.jobs.attempts_max,
        catalog_backup: CatalogBackupSettings {
            enabled: configuration.catalog.backup,
            repository: configuration.catalog.backup_repository.clone(),
            hour: configuration.catalog.backup_hour,
            keep: configuration.catalog.backup_keep,
        },
        server_name: server_name(configuration),
        lease_length: Duration::from_secs(configuration.catalog.lease_seconds),
        lease_renew_interval: Duration::from_secs(configuration.catalog.lease_seconds) / 4,
        ..Settings::default()
    };
    milvault_actors::start(deps, settings).await.context("cannot start the actors")
}

/// What people call this server.
fn server_name(configuration: &Configuration) -> String {
    let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    configuration.server.name.clone().unwrap_or_else(machine)
}

/// Tells where the server listens.
fn announce(address: SocketAddr, listen_file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(path) = listen_file {
        // Whoever waits for the file must never see half an address.
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        fs::write(&unfinished, format!("{address}\n"))
            .and_then(|()| fs::rename(&unfinished, path))
            .with_context(|| format!("cannot write the address to {}", path.display()))?;
    }
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "others can reach this address, and it speaks plain HTTP; put a proxy with TLS in front");
    }
    // Standard output may be closed; the log and the file tell the address, too.
    let _ = writeln!(io::stdout(), "milvault listens on http://{address}");
    Ok(())
}

/// Ends jobs and open requests side by side, each within the grace.
async fn end(runtime: Runtime, api: tokio::task::JoinHandle<()>, grace: Duration) {
    let requests = async {
        if tokio::time::timeout(grace, api).await.is_err() {
            tracing::warn!("requests were still open at the end of the grace");
        }
    };
    tokio::join!(runtime.shutdown(), requests);
}
