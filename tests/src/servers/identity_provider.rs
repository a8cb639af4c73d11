//! A real identity provider: Canaille, with people in its memory and Milvault as its client.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::Tools;
use super::ports::free_ports;
use super::probe;
use super::process::{ServerProcess, command};

const START_TIME_LIMIT: Duration = Duration::from_mins(1);
const STOP_TIME_LIMIT: Duration = Duration::from_secs(5);
const MAX_STARTS: usize = 3;
/// What Milvault is called at the provider, and its secret there.
const CLIENT_ID: &str = "milvault";
const CLIENT_SECRET: &str = "client-secret-of-milvault";

/// Canaille keeps people in a database or, as here, in memory: they are put there before it serves. Its mapping of claims
/// is configuration; the title of a person says whether his address is verified, and other titles leave that open.
const RUN_CANAILLE: &str = r#"
import datetime, json, os, sys

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"
from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc import jwk
from werkzeug.serving import make_server

port, client_id, secret, callback, people = sys.argv[1:6]
key = jwk.generate_key("RSA", 2048)
key.ensure_kid()
app = create_app({
    "SECRET_KEY": os.urandom(32).hex(),
    "SERVER_NAME": f"127.0.0.1:{port}",
    "PREFERRED_URL_SCHEME": "http",
    "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False},
    "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
})
app.config["CANAILLE_OIDC"]["USERINFO_MAPPING"]["EMAIL_VERIFIED"] = (
    "{% if user.title == 'verified' %}true{% elif user.title == 'unverified' %}false{% endif %}"
)
with app.app_context(), Backend.instance.session():
    for person in json.loads(people):
        Backend.instance.save(models.User(
            user_name=person["name"], formatted_name=person["name"].title(), family_name=person["name"],
            emails=[person["email"]], password=person["password"], title=person["title"],
        ))
    client = models.Client(
        client_id=client_id, client_secret=secret, client_name="Milvault", client_uri="http://127.0.0.1",
        redirect_uris=[callback], grant_types=["authorization_code"], response_types=["code"],
        scope=["openid", "email", "profile"], token_endpoint_auth_method="client_secret_basic",
        client_id_issued_at=datetime.datetime.now(datetime.timezone.utc),
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)
make_server("127.0.0.1", int(port), app, threaded=True).serve_forever()
"#;

/// Somebody whom the provider knows.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// The name that he signs in with.
    pub name: &'static str,
    /// His address.
    pub email: &'static str,
    /// His password.
    pub password: &'static str,
    /// Whether his address is verified; `None` when the provider does not say.
    pub is_verified: Option<bool>,
}

/// A running provider. It is stopped when dropped, and forgets everybody.
///
/// One sign-in at a time: its memory finds the code of a sign-in by the client alone, so it tells nothing about codes that
/// were made up, and two that are under way at once may be mixed up.
#[derive(Debug)]
pub struct IdentityProvider {
    port: u16,
    process: ServerProcess,
    log: PathBuf,
}

impl IdentityProvider {
    /// Starts a provider that knows these people, and Milvault at this address. Its log goes to `dir`.
    ///
    /// # Errors
    /// When it cannot be installed or does not come up; the message says what to do, or has the last lines of its log.
    pub async fn start(dir: &Path, public_url: &str, people: &[Person]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let packages = Tools::identity_provider().await?;
        let log = dir.join("identity-provider.log");
        let http = probe::client()?;
        let callback = format!("{public_url}/auth/callback");
        let people = people_as_json(people);
        for _ in 1..MAX_STARTS {
            let [port] = free_ports()?;
            let mut python = command(Path::new("python3"));
            python
                .env("PYTHONPATH", &packages)
                .env("PYTHONNOUSERSITE", "1")
                .args(["-c", RUN_CANAILLE])
                .args([&port.to_string(), CLIENT_ID, CLIENT_SECRET, &callback, &people]);
            let mut process = ServerProcess::spawn("identity provider", python, &log)?;
            let published = format!("http://127.0.0.1:{port}/.well-known/openid-configuration");
            let serving = process
                .ready_when(START_TIME_LIMIT, || async { probe::get(&http, &published).await.map(|_| ()) });
            match serving.await {
                Err(_) if process.port_was_taken() => {}
                outcome => {
                    outcome?;
                    return Ok(Self { port, process, log });
                }
            }
        }
        bail!("the identity provider found its port taken {MAX_STARTS} times; end some servers")
    }

    /// What it calls itself.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What Milvault is called there, and its secret.
    #[must_use]
    pub const fn client(&self) -> (&'static str, &'static str) {
        (CLIENT_ID, CLIENT_SECRET)
    }

    /// Ends it. Does nothing when it has ended already.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, STOP_TIME_LIMIT).await
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

fn people_as_json(people: &[Person]) -> String {
    let people = people.iter().map(|person| {
        let title = match person.is_verified {
            Some(true) => "verified",
            Some(false) => "unverified",
            None => "silent",
        };
        serde_json::json!({ "name": person.name, "email": person.email, "password": person.password, "title": title })
    });
    serde_json::Value::Array(people.collect()).to_string()
}
