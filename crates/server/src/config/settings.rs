//! Every setting with its default. The doc comments here are the text of `docs/configuration.md`.

use milvault_domain::secret::SecretValue;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A setting as the reference shows it.
#[derive(Debug)]
pub(crate) struct SettingDocumentation {
    /// Key inside its section.
    pub(crate) key: &'static str,
    /// Lines of its doc comment.
    pub(crate) lines: &'static [&'static str],
}

/// A section as the reference shows it.
#[derive(Debug)]
pub(crate) struct SectionDocumentation {
    /// Name of the TOML table.
    pub(crate) name: &'static str,
    /// Lines of its doc comment.
    pub(crate) lines: &'static [&'static str],
    /// Its settings.
    pub(crate) settings: &'static [SettingDocumentation],
}

/// Declares the sections once, so that type, default and documentation of a setting cannot drift apart.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $section_type:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident: $type:ty = $default:expr;
        )+}
    )+) => {
        /// The whole configuration.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct Configuration {$(
            $(#[doc = $section_doc])+
            pub(crate) $section: $section_type,
        )+}

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub(crate) struct $section_type {$(
                $(#[doc = $doc])+
                pub(crate) $key: $type,
            )+}

            impl Default for $section_type {
                fn default() -> Self {
                    Self { $($key: $default,)+ }
                }
            }
        )+

        /// Documentation of all sections, in the order of the struct.
        pub(crate) const SECTIONS: &[SectionDocumentation] = &[$(
            SectionDocumentation {
                name: stringify!($section),
                lines: &[$($section_doc),+],
                settings: &[$(
                    SettingDocumentation { key: stringify!($key), lines: &[$($doc),+] },
                )+],
            },
        )+];
    };
}

sections! {
    /// Where the server listens and keeps its files.
    server: ServerSettings {
        /// Address and port of the API. Port 0 takes a free port, which is printed at start. Milvault speaks plain
        /// HTTP: put a proxy that terminates TLS in front before you listen on anything but loopback.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 19600));
        /// Directory of the embedded catalog and the master key; made with mode 0700 when missing.
        /// One server at a time may use it.
        data_dir: PathBuf = PathBuf::from("milvault-data");
        /// Directory of secret files that clusters and repositories may refer to by file name. When it is not set,
        /// references to files are refused.
        secrets_dir: Option<PathBuf> = None;
        /// Seconds that running jobs and requests get to end after SIGTERM or SIGINT (0 to 3600). Jobs that are
        /// not done by then go on at the next start.
        shutdown_grace_seconds: u64 = 30;
        /// Most HTTP connections at a time (1 to 65536); more wait in the queue of the operating system.
        connections_max: usize = 1024;
    }

    /// The database of clusters, backups, jobs and keys.
    catalog: CatalogSettings {
        /// `sqlite:///absolute/path.db` or `postgres://user:password@host/database`. When it is not set, the catalog
        /// is SQLite in `catalog.db` of the data directory. A URL with a password is best given by environment.
        url: Option<SecretValue> = None;
        /// File of the key that encrypts secrets in the catalog; made at first start. Keep a copy outside the
        /// catalog's own backups: without it stored secrets cannot be read. When it is not set, it is `master.key`
        /// of the data directory.
        master_key_file: Option<PathBuf> = None;
    }

    /// What the server writes to standard error.
    log: LogSettings {
        /// `human` or `json` (one object per line).
        format: LogFormat = LogFormat::Human;
        /// Level, or levels per target such as `info,milvault_actors=debug`.
        filter: String = String::from("info");
    }

    /// The API.
    gateway: GatewaySettings {
        /// Whether a browser that opens `/graphql` gets the GraphiQL editor. The page loads its scripts from a public
        /// network; the API itself needs none.
        graphiql: bool = true;
        /// Web origins, such as `https://console.example.org`, whose pages may use the API besides the server's own.
        allowed_origins: Vec<String> = Vec::new();
    }

    /// How jobs run.
    jobs: JobSettings {
        /// How often an interrupted job is taken up again before it fails (1 to 100).
        attempts_max: u32 = 5;
        /// Seconds between two runs that look for backups whose retention time is over (1 to 86400).
        retention_interval_seconds: u64 = 60;
        /// Seconds that the files of a deleted or failed backup stay before a sweep removes them (0 to 31536000).
        sweep_grace_seconds: u64 = 86_400;
        /// Days that ended jobs are kept (1 to 36500). Restores, and the making of backups that still exist, stay longer.
        kept_days: u32 = 365;
        /// Seconds between two runs that look for automatic backups that are due (1 to 3600).
        schedule_interval_seconds: u64 = 15;
    }
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}
