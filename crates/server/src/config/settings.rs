//! Every setting with its default. The doc comments here are the text of `docs/configuration.md`.

use crate::places::RepositoryPlace;
use milvault_domain::secret::SecretValue;
use milvault_domain::sign_in::Provisioning;
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
        /// One server at a time may use it; servers that share a PostgreSQL catalog have one each.
        data_dir: PathBuf = PathBuf::from("milvault-data");
        /// Directory of secret files that clusters and repositories may refer to by file name. When it is not set,
        /// references to files are refused.
        secrets_dir: Option<PathBuf> = None;
        /// Seconds that running jobs and requests get to end after SIGTERM or SIGINT (0 to 3600). Jobs that are
        /// not done by then go on at the next start.
        shutdown_grace_seconds: u64 = 30;
        /// Name of this server among others that share its catalog, 1 to 64 characters. When it is not set, it is the name
        /// of the machine.
        name: Option<String> = None;
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
        /// The key itself instead of a file: 64 hexadecimal digits. Older keys that values may still be sealed with follow,
        /// separated by commas. Best given by environment; never written anywhere. Cannot be set together with
        /// `master_key_file`.
        master_key: Option<SecretValue> = None;
        /// Seconds that a server may be silent before others take over its jobs (4 to 300). Only where servers share a
        /// PostgreSQL catalog; give all of them the same. A server that does not reach the catalog for three fourths of
        /// that parks its jobs.
        lease_seconds: u64 = 20;
        /// Repositories from which `milvault catalog` makes a lost catalog again, one `[[catalog.repositories]]` table for
        /// each, with `name`, `kind` (`local`, `s3`, `gcs`, `azure`) and the keys of that kind; see docs/recovery.md.
        repositories: Vec<RepositoryPlace> = Vec::new();
        /// Whether the catalog is backed up into a repository once a day, encrypted with the master key.
        backup: bool = true;
        /// Name or id of the repository for that; when it is not set, the one that was registered first.
        backup_repository: Option<String> = None;
        /// Hour of the day (UTC) after which the day's backup of the catalog is made (0 to 23).
        backup_hour: u32 = 3;
        /// Backups of the catalog that are kept (1 to 1000).
        backup_keep: usize = 14;
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
        /// Whether a browser that opens `/graphql` gets the GraphiQL editor. Its files come from a public network, unpkg.com,
        /// and the browser checks them by their hashes; where it cannot reach that, the page says so. The API needs none.
        graphiql: bool = true;
        /// Whether owners of projects may register clusters and repositories by what is the server's own: its directories,
        /// its identity at a provider, its secret variables and files. All projects share those, so with them the owner of
        /// one project could reach the files of another. Owners of the organization always may.
        project_owners_use_server: bool = false;
        /// Web origins, such as `https://console.example.org`, whose pages may use the API besides the server's own.
        allowed_origins: Vec<String> = Vec::new();
        /// Addresses or networks, such as `10.0.0.0/8`, of proxies in front of the server. Requests from there come, for the
        /// audit log and the log, from where their `X-Forwarded-For` says; from elsewhere the header means nothing.
        trusted_proxies: Vec<String> = Vec::new();
    }

    /// Sign-in of people by OpenID Connect. Without an issuer there are API keys only. docs/sign-in.md is the guide.
    oidc: OidcSettings {
        /// Address of the identity provider, as it publishes it itself: `https://`, or `http://` on this machine.
        issuer: Option<String> = None;
        /// What this server is called at the provider.
        client_id: Option<String> = None;
        /// Environment variable with the client's secret; its name must begin with `MILVAULT_SECRET_`. Without it and
        /// without `client_secret_file` the client is a public one.
        client_secret_env: Option<String> = None;
        /// Name of a file in `server.secrets_dir` with the client's secret.
        client_secret_file: Option<String> = None;
        /// Address of this server as browsers see it, without a path. The provider must know
        /// `<public_url>/auth/callback` as a redirect URL. Several servers on one catalog have the same one.
        public_url: Option<String> = None;
        /// What to ask the provider for, besides `openid`.
        scopes: Vec<String> = vec![String::from("email"), String::from("profile")];
        /// When there are any, only people with a verified e-mail address in one of these domains come in, each time.
        allowed_email_domains: Vec<String> = Vec::new();
        /// What becomes of newcomers: `off` (only those come in who came in before), `invitation` (a user with the verified
        /// address is bound), or `members` (besides, unknown people become users with the role `ORGANIZATION_MEMBER`).
        provision: Provisioning = Provisioning::Invitation;
        /// Whether an e-mail address counts as verified when the provider does not say. One that it calls unverified never does.
        trust_unmarked_email: bool = false;
        /// Seconds that a session lasts at most (1 to 2592000).
        session_seconds: u32 = 43_200;
        /// Seconds that a session may lie unused (120 to 2592000). Uses are recorded once a minute.
        session_idle_seconds: u32 = 7_200;
    }

    /// Where webhooks may lead. docs/webhooks.md is the guide.
    webhooks: WebhookSettings {
        /// Whether webhooks may lead to private, loopback, link-local and other addresses that are not public. Whoever
        /// may make webhooks can then have this server speak to what it reaches in its network.
        allow_private_addresses: bool = false;
        /// Whether webhooks may begin with `http://`. What they are told then travels in the clear.
        allow_http: bool = false;
    }

    /// How jobs run.
    jobs: JobSettings {
        /// How often a job may be tried that crashes cut off or whose last step does not go through (1 to 100). Orderly
        /// shutdowns and lost leases do not count.
        attempts_max: u32 = 5;
        /// Seconds between two runs that look for backups whose retention time is over (1 to 86400).
        retention_interval_seconds: u64 = 60;
        /// Seconds that the files of a deleted or failed backup stay before a sweep removes them (0 to 31536000).
        sweep_grace_seconds: u64 = 86_400;
        /// Days that ended jobs are kept (1 to 36500). Restores, and the making of backups that are available, stay longer.
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
