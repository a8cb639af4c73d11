//! What a SeaweedFS keeps from one start on its directory to the next.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ports::{free_ports, is_free};

/// The keys of one who may talk to an S3 server.
#[derive(Clone, Serialize, Deserialize)]
pub struct S3Identity {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
}

impl S3Identity {
    fn generate() -> Self {
        Self {
            access_key: Alphanumeric.sample_string(&mut rand::rng(), 20),
            secret_key: Alphanumeric.sample_string(&mut rand::rng(), 40),
        }
    }
}

impl fmt::Debug for S3Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("S3Identity").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// What stays the same from one start on a directory to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) ports: Ports,
    pub(super) admin: S3Identity,
    pub(super) read_only: S3Identity,
}

impl State {
    /// What an earlier server in `dir` had, or something new.
    pub(super) fn for_directory(dir: &Path) -> Result<Self> {
        let kept = fs::read(Self::file(dir)).ok().and_then(|json| serde_json::from_slice::<Self>(&json).ok());
        if let Some(state) = kept {
            return Ok(state);
        }
        let state = Self {
            ports: Ports::choose()?,
            admin: S3Identity::generate(),
            read_only: S3Identity::generate(),
        };
        state.save(dir)?;
        Ok(state)
    }

    /// Takes other ports and remembers them for the next start in `dir`.
    pub(super) fn change_ports(&mut self, dir: &Path) -> Result<()> {
        self.ports = Ports::choose()?;
        self.save(dir)
    }

    fn save(&self, dir: &Path) -> Result<()> {
        let file = Self::file(dir);
        fs::write(&file, serde_json::to_vec(self)?).with_context(|| format!("write {}", file.display()))
    }

    fn file(dir: &Path) -> PathBuf {
        dir.join("state.json")
    }

    /// Writes who may do what, for the server to read at start.
    pub(super) fn write_identities(&self, dir: &Path, read_only_bucket: Option<&str>) -> Result<()> {
        let identity = |name: &str, keys: &S3Identity, actions: Vec<String>| {
            json!({
                "name": name,
                "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
                "actions": actions,
            })
        };
        let everything = ["Admin", "Read", "Write", "List", "Tagging"].map(str::to_owned);
        let mut identities = vec![identity("admin", &self.admin, everything.to_vec())];
        if let Some(bucket) = read_only_bucket {
            let reading = vec![format!("Read:{bucket}"), format!("List:{bucket}")];
            identities.push(identity("read-only", &self.read_only, reading));
        }
        let config = json!({ "identities": identities });
        fs::write(identities_path(dir), serde_json::to_vec_pretty(&config)?)?;
        Ok(())
    }
}

/// Each part listens for HTTP and for gRPC.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) master: u16,
    pub(super) master_grpc: u16,
    pub(super) volume: u16,
    pub(super) volume_grpc: u16,
    pub(super) filer: u16,
    pub(super) filer_grpc: u16,
    pub(super) s3: u16,
    pub(super) s3_grpc: u16,
    pub(super) s3_tls: u16,
    pub(super) metrics: u16,
}

impl Ports {
    fn choose() -> Result<Self> {
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc, s3_tls, metrics] =
            free_ports()?;
        Ok(Self { master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc, s3_tls, metrics })
    }

    /// Whether a server could listen on all of them now.
    pub(super) fn are_free(&self) -> bool {
        [
            self.master,
            self.master_grpc,
            self.volume,
            self.volume_grpc,
            self.filer,
            self.filer_grpc,
            self.s3,
            self.s3_grpc,
            self.s3_tls,
            self.metrics,
        ]
        .into_iter()
        .all(is_free)
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3)
    }

    /// Its parts talk through sockets that it names after its ports and leaves behind when killed.
    pub(super) fn remove_sockets(&self) {
        let parts = [
            ("master", self.master, self.master_grpc),
            ("volume", self.volume, self.volume_grpc),
            ("filer", self.filer, self.filer_grpc),
            ("s3", self.s3, self.s3_grpc),
        ];
        for (part, http, grpc) in parts {
            // Most are not there; one that stays is in nobody's way.
            let _ = fs::remove_file(format!("/tmp/seaweedfs-{part}-{http}.sock"));
            let _ = fs::remove_file(format!("/tmp/seaweedfs-{part}-grpc-{grpc}.sock"));
        }
    }
}

pub(super) fn identities_path(dir: &Path) -> PathBuf {
    dir.join("identities.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_key_is_not_shown() {
        let identity = S3Identity::generate();
        let shown = format!("{identity:?}");
        assert!(shown.contains(&identity.access_key) && !shown.contains(&identity.secret_key));
    }
}
