//! A real S3 server: SeaweedFS, all its parts in one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::signer::Signer as _;
use object_store::{ObjectStoreExt as _, RetryConfig};
use reqwest::{Method, StatusCode};

use super::certificate::{TlsEndpoint, TlsFiles, write_certificate};
use super::process::{ServerProcess, command};
use super::seaweedfs_state::{Ports, S3Identity, State, identities_path};
use super::{S3Storage, Tools, probe};

const START_TIME_LIMIT: Duration = Duration::from_mins(2);
const URL_LIFETIME: Duration = Duration::from_mins(1);
const MAX_STARTS: usize = 3;
/// One object is written and read back here before the server counts as ready.
const READINESS_BUCKET: &str = "server-readiness";

/// How to run a SeaweedFS.
#[derive(Debug, Clone, Default)]
pub struct SeaweedFsOptions {
    /// A bucket that [`SeaweedFs::read_only`] may read and list; that identity may do nothing else.
    pub read_only_bucket: Option<String>,
    /// Whether to listen with TLS too; see [`SeaweedFs::tls`].
    pub tls: bool,
}

/// The bodies that an S3 server took in and gave out since it started. Copies inside the server
/// count as neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Traffic {
    /// Bytes that clients sent.
    pub received_bytes: u64,
    /// Bytes that clients got.
    pub sent_bytes: u64,
}

/// A running SeaweedFS. It is killed when dropped; its directory stays.
#[derive(Debug)]
pub struct SeaweedFs {
    tools: Tools,
    dir: PathBuf,
    state: State,
    tls: Option<TlsFiles>,
    process: ServerProcess,
}

impl SeaweedFs {
    /// Starts a server that keeps its objects in `dir`, and waits until it takes and gives one.
    /// Started again on the same directory it has the same objects, address and keys.
    ///
    /// # Errors
    /// When it does not come up; the message has the last lines of its log.
    pub async fn start(tools: &Tools, dir: &Path, options: SeaweedFsOptions) -> Result<Self> {
        fs::create_dir_all(dir.join("data")).with_context(|| format!("create {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        let tls = options.tls.then(|| write_certificate(&dir)).transpose()?;
        let mut state = State::for_directory(&dir)?;
        state.write_identities(&dir, options.read_only_bucket.as_deref())?;
        let process = launch(tools, &dir, &mut state, tls.as_ref()).await?;
        Ok(Self { tools: tools.clone(), dir, state, tls, process })
    }

    /// Starts it again on the same directory; kills it first if it runs. It has the same address
    /// unless another process took one of its ports.
    ///
    /// # Errors
    /// When it does not come up; the message has the last lines of its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = launch(&self.tools, &self.dir, &mut self.state, self.tls.as_ref()).await?;
        Ok(())
    }

    /// Ends it as a crash would (SIGKILL); it takes a quarter of a minute to end on its own, and
    /// loses nothing either way. Does nothing when it has ended already.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.state.ports.remove_sockets();
        Ok(())
    }

    /// Where clients connect, `http://127.0.0.1:port`; buckets are in the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.state.ports.endpoint()
    }

    /// The host in [`SeaweedFs::endpoint`].
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port in [`SeaweedFs::endpoint`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.state.ports.s3
    }

    /// Where clients connect with TLS, if [`SeaweedFsOptions::tls`] was set.
    #[must_use]
    pub fn tls(&self) -> Option<TlsEndpoint> {
        self.tls.as_ref().map(|files| TlsEndpoint {
            endpoint: format!("https://127.0.0.1:{}", self.state.ports.s3_tls),
            ca_certificate: files.ca_certificate.clone(),
        })
    }

    /// One who may do everything.
    #[must_use]
    pub fn admin(&self) -> &S3Identity {
        &self.state.admin
    }

    /// One who may read and list the bucket of [`SeaweedFsOptions::read_only_bucket`] and do
    /// nothing else; without that option the server does not know this identity.
    #[must_use]
    pub fn read_only(&self) -> &S3Identity {
        &self.state.read_only
    }

    /// Creates a bucket; one that exists stays as it is.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        create_bucket(&self.state, name).await
    }

    /// A bucket as the admin sees it.
    ///
    /// # Errors
    /// When the name cannot be one of a bucket.
    pub fn bucket(&self, name: &str) -> Result<AmazonS3> {
        bucket(&self.state, name)
    }

    /// The bucket as storage for a Milvus, which keeps its files below `files/`.
    #[must_use]
    pub fn milvus_storage(&self, bucket: &str) -> S3Storage {
        S3Storage {
            host: self.host().to_owned(),
            port: self.port(),
            bucket: bucket.to_owned(),
            access_key: self.admin().access_key.clone(),
            secret_key: self.admin().secret_key.clone(),
            root_path: "files".to_owned(),
        }
    }

    /// What went in and out since the start, over all buckets.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn traffic(&self) -> Result<S3Traffic> {
        let url = format!("http://127.0.0.1:{}/metrics", self.state.ports.metrics);
        let metrics = probe::get(&probe::client()?, &url).await?;
        Ok(S3Traffic {
            received_bytes: sum_of(&metrics, "SeaweedFS_s3_bucket_traffic_received_bytes_total"),
            sent_bytes: sum_of(&metrics, "SeaweedFS_s3_bucket_traffic_sent_bytes_total"),
        })
    }

    /// The process id, for measurements.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.dir)
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure here, and the kernel ends the server with us.
        let _ = self.kill();
    }
}

async fn launch(
    tools: &Tools,
    dir: &Path,
    state: &mut State,
    tls: Option<&TlsFiles>,
) -> Result<ServerProcess> {
    if !state.ports.are_free() {
        state.change_ports(dir)?;
    }
    for _ in 1..MAX_STARTS {
        let mut process = spawn(tools, dir, &state.ports, tls)?;
        match wait_until_serving(&mut process, state).await {
            Ok(()) => return Ok(process),
            Err(_) if process.port_was_taken() => {
                drop(process);
                state.change_ports(dir)?;
            }
            Err(error) => return Err(error),
        }
    }
    let mut process = spawn(tools, dir, &state.ports, tls)?;
    wait_until_serving(&mut process, state).await?;
    Ok(process)
}

fn spawn(tools: &Tools, dir: &Path, ports: &Ports, tls: Option<&TlsFiles>) -> Result<ServerProcess> {
    let mut command = command(tools.weed());
    command
        .current_dir(dir)
        // Without a key it answers 500 to uploads that ask for encryption.
        .env("WEED_S3_SSE_KEY", "any-text-will-do")
        .args(["-logtostderr=true", "server", "-filer", "-s3"])
        .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-metricsIp=127.0.0.1"])
        .arg(format!("-dir={}", dir.join("data").display()))
        .arg(format!("-s3.config={}", identities_path(dir).display()))
        // It reports to its makers unless told not to.
        .arg("-master.telemetry=false")
        // With the defaults a restart waits a quarter of a minute for an election among one.
        .args(["-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"])
        // Every bucket takes several volumes at once, which are empty at first. If their number followed from the free
        // space, a bucket more would be refused long before the disk is full.
        .args(["-master.volumeSizeLimitMB=512", "-volume.max=1000", "-volume.preStopSeconds=0"])
        // It stops writing when less than a hundredth of the disk is free, which on a large disk is plenty.
        .arg("-volume.minFreeSpace=64MiB")
        .arg("-s3.allowDeleteBucketNotEmpty=false")
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-master.port={}", ports.master))
        .arg(format!("-master.port.grpc={}", ports.master_grpc))
        .arg(format!("-volume.port={}", ports.volume))
        .arg(format!("-volume.port.grpc={}", ports.volume_grpc))
        .arg(format!("-filer.port={}", ports.filer))
        .arg(format!("-filer.port.grpc={}", ports.filer_grpc))
        .arg(format!("-s3.port={}", ports.s3))
        .arg(format!("-s3.port.grpc={}", ports.s3_grpc))
        .arg(format!("-metricsPort={}", ports.metrics));
    if let Some(files) = tls {
        command
            .arg(format!("-s3.port.https={}", ports.s3_tls))
            .arg(format!("-s3.cert.file={}", files.certificate.display()))
            .arg(format!("-s3.key.file={}", files.key.display()));
    }
    ServerProcess::spawn("seaweedfs", command, &log_path(dir))
}

/// It says that it is up before it can store anything, so an object is written and read back.
async fn wait_until_serving(process: &mut ServerProcess, state: &State) -> Result<()> {
    let probe = || async {
        create_bucket(state, READINESS_BUCKET).await?;
        let bucket = bucket(state, READINESS_BUCKET)?;
        let object = ObjectPath::from("object");
        bucket.put(&object, "content".into()).await?;
        let content = bucket.get(&object).await?.bytes().await?;
        if content != "content" {
            bail!("it gave back something else than it took");
        }
        Ok(())
    };
    process.ready_when(START_TIME_LIMIT, probe).await
}

/// The store library has no call for this, but it can sign one.
async fn create_bucket(state: &State, name: &str) -> Result<()> {
    let url = bucket(state, name)?.signed_url(Method::PUT, &ObjectPath::default(), URL_LIFETIME).await?;
    let response = probe::client()?.put(url.as_str()).send().await?;
    let status = response.status();
    if status.is_success() || status == StatusCode::CONFLICT {
        return Ok(());
    }
    let body = response.text().await.unwrap_or_default();
    bail!("creating bucket {name} answered {status}: {body}")
}

fn bucket(state: &State, name: &str) -> Result<AmazonS3> {
    AmazonS3Builder::new()
        .with_endpoint(state.ports.endpoint())
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(name)
        .with_access_key_id(&state.admin.access_key)
        .with_secret_access_key(&state.admin.secret_key)
        // A store that does not answer is asked again by whoever waits for it.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()
        .with_context(|| format!("open bucket {name}"))
}

/// The sum of a counter over its labels, without what readiness cost.
fn sum_of(metrics: &str, counter: &str) -> u64 {
    let sum: f64 = metrics
        .lines()
        .filter(|line| line.starts_with(counter) && !line.contains(READINESS_BUCKET))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter of bytes, exact as a float up to 8 PiB"
    )]
    let bytes = sum as u64;
    bytes
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("seaweedfs.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let metrics = "# TYPE traffic_total counter\n\
                       traffic_total{bucket=\"a\"} 1.5e+06\n\
                       traffic_total{bucket=\"b\"} 7\n\
                       traffic_total{bucket=\"server-readiness\"} 100\n\
                       other_total{bucket=\"a\"} 9\n";
        assert_eq!(sum_of(metrics, "traffic_total"), 1_500_007);
    }
}
