//! How a Milvus is configured: its ports, its files and its environment.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Tools;
use super::ports::{free_ports, is_free};

/// How to run a Milvus.
#[derive(Debug, Clone)]
pub struct MilvusOptions {
    /// Everything Milvus keeps on disk, and its log. A Milvus started again on the same directory
    /// finds its data, and listens on the same ports.
    pub dir: PathBuf,
    /// Where collections' files go.
    pub storage: MilvusStorage,
    /// Whether callers must authenticate; the first user is then `root` with password `Milvus`.
    pub auth: bool,
    /// Further settings as in `milvus.yaml`, say `("dataCoord.gc.interval", "5")`; they come last, so
    /// they win over the defaults that suit tests.
    pub extra: Vec<(String, String)>,
}

impl MilvusOptions {
    /// A Milvus that keeps its files in `dir` and lets everybody in.
    #[must_use]
    pub fn local(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), storage: MilvusStorage::Local, auth: false, extra: Vec::new() }
    }

    /// A Milvus that keeps its files in an object store and lets everybody in.
    #[must_use]
    pub fn on_s3(dir: impl Into<PathBuf>, storage: S3Storage) -> Self {
        Self { storage: MilvusStorage::S3(storage), ..Self::local(dir) }
    }

    /// The same with one more setting of `milvus.yaml`.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.extra.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// Where a Milvus keeps the files of its collections.
#[derive(Debug, Clone)]
pub enum MilvusStorage {
    /// In a directory below [`MilvusOptions::dir`]; see [`super::Milvus::storage_dir`].
    Local,
    /// In a bucket.
    S3(S3Storage),
}

/// A bucket for a Milvus. Milvus creates it when it is missing and it may.
#[derive(Clone)]
pub struct S3Storage {
    /// The server's name or address, without scheme.
    pub host: String,
    /// The server's port (plain HTTP).
    pub port: u16,
    /// The bucket's name.
    pub bucket: String,
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// The prefix of every key, without slashes around it: `insert_log/` lies below it.
    pub root_path: String,
}

impl fmt::Debug for S3Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("S3Storage")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("bucket", &self.bucket)
            .field("access_key", &self.access_key)
            .field("root_path", &self.root_path)
            .finish_non_exhaustive()
    }
}

/// The ports on which one Milvus listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct MilvusPorts {
    pub(super) proxy: u16,
    pub(super) metrics: u16,
    proxy_internal: u16,
    etcd: u16,
    etcd_peer: u16,
    root_coord: u16,
    query_coord: u16,
    query_node: u16,
    index_coord: u16,
    index_node: u16,
    data_coord: u16,
    data_node: u16,
}

impl MilvusPorts {
    /// The ports that the Milvus in `dir` used before, or new ones when there are none or another
    /// process took one. The same ports matter: clients keep the address, and a restart after a
    /// crash takes 9 seconds instead of 54, as the sessions in etcd still name the old addresses.
    pub(super) fn for_directory(dir: &Path) -> Result<Self> {
        let kept = fs::read(Self::file(dir)).ok().and_then(|json| serde_json::from_slice::<Self>(&json).ok());
        match kept {
            Some(ports) if ports.all().into_iter().all(is_free) => Ok(ports),
            _ => Self::choose(dir),
        }
    }

    /// New ports, remembered for the next start in `dir`.
    pub(super) fn choose(dir: &Path) -> Result<Self> {
        let [
            proxy,
            metrics,
            proxy_internal,
            etcd,
            etcd_peer,
            root_coord,
            query_coord,
            query_node,
            index_coord,
            index_node,
            data_coord,
            data_node,
        ] = free_ports()?;
        let ports = Self {
            proxy,
            metrics,
            proxy_internal,
            etcd,
            etcd_peer,
            root_coord,
            query_coord,
            query_node,
            index_coord,
            index_node,
            data_coord,
            data_node,
        };
        fs::write(Self::file(dir), serde_json::to_vec(&ports)?)?;
        Ok(ports)
    }

    fn all(&self) -> [u16; 12] {
        [
            self.proxy,
            self.metrics,
            self.proxy_internal,
            self.etcd,
            self.etcd_peer,
            self.root_coord,
            self.query_coord,
            self.query_node,
            self.index_coord,
            self.index_node,
            self.data_coord,
            self.data_node,
        ]
    }

    fn file(dir: &Path) -> PathBuf {
        dir.join("ports.json")
    }
}

/// The directory in which a Milvus with local storage keeps `insert_log/` and its neighbours.
pub(super) fn storage_dir(dir: &Path) -> PathBuf {
    dir.join("storage")
}

/// Writes the files that Milvus reads at start: its own defaults, and its embedded etcd's addresses.
pub(super) fn write_files(tools: &Tools, dir: &Path, ports: &MilvusPorts) -> Result<()> {
    let template_path = tools.milvus_dir().join("config.yaml.template");
    let template =
        fs::read_to_string(&template_path).with_context(|| format!("read {}", template_path.display()))?;
    let configs = dir.join("configs");
    fs::create_dir_all(&configs).with_context(|| format!("create {}", configs.display()))?;
    fs::create_dir_all(storage_dir(dir))?;
    fs::write(configs.join("milvus.yaml"), fill_with_defaults(&template))?;
    fs::copy(tools.milvus_dir().join("glog.conf"), configs.join("glog.conf"))?;
    // Without this file the embedded etcd takes its two well-known ports. A process that is killed
    // loses nothing without fsync; only a machine that loses power does.
    let etcd = format!(
        "name: default\n\
         listen-client-urls: http://127.0.0.1:{client}\n\
         advertise-client-urls: http://127.0.0.1:{client}\n\
         listen-peer-urls: http://127.0.0.1:{peer}\n\
         initial-advertise-peer-urls: http://127.0.0.1:{peer}\n\
         initial-cluster: default=http://127.0.0.1:{peer}\n\
         unsafe-no-fsync: true\n",
        client = ports.etcd,
        peer = ports.etcd_peer,
    );
    fs::write(etcd_config(dir), etcd)?;
    Ok(())
}

/// The whole environment of a Milvus: it takes any setting of `milvus.yaml` from there, the dots
/// written as underscores, and the environment wins over the file.
pub(super) fn environment(
    tools: &Tools,
    options: &MilvusOptions,
    ports: &MilvusPorts,
) -> BTreeMap<String, String> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let dir = &options.dir;
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), path(dir.clone())),
        ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
        ("LD_LIBRARY_PATH".to_owned(), path(tools.milvus_dir().join("bin"))),
        ("DEPLOY_MODE".to_owned(), "STANDALONE".to_owned()),
        ("METRICS_PORT".to_owned(), ports.metrics.to_string()),
        ("MILVUS_RUN_DIR".to_owned(), path(dir.join("run"))),
        ("ETCD_CONFIG_PATH".to_owned(), path(etcd_config(dir))),
    ]);
    let settings = directories(dir)
        .into_iter()
        .chain(addresses(ports))
        .chain(storage(&options.storage))
        .chain([
            ("common.security.authorizationEnabled", options.auth.to_string()),
            // Milvus limits flushes and writes when it deems the machine busy; tests keep it busy.
            ("quotaAndLimits.enabled", "false".to_owned()),
        ])
        .map(|(key, value)| (key.to_owned(), value))
        .chain(options.extra.iter().cloned());
    for (key, value) in settings {
        environment.insert(key.replace('.', "_"), value);
    }
    environment
}

fn etcd_config(dir: &Path) -> PathBuf {
    dir.join("etcd.yaml")
}

fn directories(dir: &Path) -> Vec<(&'static str, String)> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    vec![
        ("etcd.data.dir", path(dir.join("etcd"))),
        ("etcd.log.path", path(dir.join("etcd.log"))),
        ("rocksmq.path", path(dir.join("rocksmq"))),
        ("localStorage.path", path(storage_dir(dir))),
        // Empty: to stdout only, which goes to our log file.
        ("log.file.rootPath", String::new()),
    ]
}

/// Milvus listens on all interfaces whatever it is told; it announces itself on loopback only.
fn addresses(ports: &MilvusPorts) -> Vec<(&'static str, String)> {
    let loopback = || "127.0.0.1".to_owned();
    vec![
        ("etcd.endpoints", format!("127.0.0.1:{}", ports.etcd)),
        ("proxy.ip", loopback()),
        ("proxy.port", ports.proxy.to_string()),
        ("proxy.internalPort", ports.proxy_internal.to_string()),
        ("rootCoord.ip", loopback()),
        ("rootCoord.port", ports.root_coord.to_string()),
        ("queryCoord.ip", loopback()),
        ("queryCoord.port", ports.query_coord.to_string()),
        ("queryNode.ip", loopback()),
        ("queryNode.port", ports.query_node.to_string()),
        ("indexCoord.bindIndexNodeMode.address", format!("127.0.0.1:{}", ports.index_coord)),
        ("indexNode.ip", loopback()),
        ("indexNode.port", ports.index_node.to_string()),
        ("dataCoord.ip", loopback()),
        ("dataCoord.port", ports.data_coord.to_string()),
        ("dataNode.ip", loopback()),
        ("dataNode.port", ports.data_node.to_string()),
    ]
}

fn storage(storage: &MilvusStorage) -> Vec<(&'static str, String)> {
    let MilvusStorage::S3(s3) = storage else {
        return vec![("common.storageType", "local".to_owned())];
    };
    vec![
        ("common.storageType", "minio".to_owned()),
        ("minio.address", s3.host.clone()),
        ("minio.port", s3.port.to_string()),
        ("minio.accessKeyID", s3.access_key.clone()),
        ("minio.secretAccessKey", s3.secret_key.clone()),
        ("minio.useSSL", "false".to_owned()),
        ("minio.bucketName", s3.bucket.clone()),
        ("minio.rootPath", s3.root_path.clone()),
    ]
}

/// The template with each `{{ name(type): default }}` replaced by its default.
fn fill_with_defaults(template: &str) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((placeholder, remainder)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        if let Some((_, default)) = placeholder.split_once(':') {
            filled.push_str(default.trim());
        }
        rest = remainder;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_their_defaults() {
        let template = "a: localhost:{{ etcd_port(int): 2379 }}\nb: {{ data_dir }}\nc: plain";
        assert_eq!(fill_with_defaults(template), "a: localhost:2379\nb: \nc: plain");
    }

    #[test]
    fn an_unclosed_placeholder_stays_as_it_is() {
        assert_eq!(fill_with_defaults("a: {{ b"), "a: {{ b");
    }

    #[test]
    fn the_secret_key_is_not_shown() {
        let storage = S3Storage {
            host: "127.0.0.1".to_owned(),
            port: 1,
            bucket: "b".to_owned(),
            access_key: "visible".to_owned(),
            secret_key: "hidden".to_owned(),
            root_path: "files".to_owned(),
        };
        let shown = format!("{storage:?}");
        assert!(shown.contains("visible") && !shown.contains("hidden"), "{shown}");
    }
}
