//! A running API with a client.

mod audit;
mod batches;
pub(crate) mod catalog;
mod checks;
mod copies;
pub(crate) mod identity;
mod keyed;
mod leases;
mod lifecycle;
mod policies;
pub(crate) mod pretended;
pub(crate) mod provider;
mod recovery;
mod schedules;
mod sign_in;
pub(crate) mod socket;
mod webhooks;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use catalog::{TestCatalog, Trouble};
use chrono::{DateTime, TimeDelta, Utc};
use milvault_actors::{Deps, Runtime, Settings, start};
use milvault_catalog::Sealer;
use milvault_domain::access::{ApiKey, Role, RoleGrant};
use milvault_domain::ids::{ApiKeyId, OrganizationId, ProjectId};
use milvault_domain::ports::{Clock, IdSource, Tenancy};
use milvault_gateway::{GatewayLimits, GatewayState, OidcSignIn, hash_api_key, new_api_key_text, router};
use pretended::{Outside, PretendedBinlogs, PretendedMilvus, PretendedStores};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tower::ServiceExt;
use uuid::Uuid;

/// A clock that tests move; it ticks a little with every look, so that rows differ.
pub(crate) struct TestClock(pub(crate) Mutex<DateTime<Utc>>);

impl TestClock {
    pub(crate) fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        let mut now = self.0.lock().unwrap();
        *now += TimeDelta::microseconds(1);
        *now
    }
}

struct TestIds(AtomicU64);

impl IdSource for TestIds {
    fn new_uuid(&self) -> Uuid {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))
    }
}

/// A running API.
pub(crate) struct Api {
    pub(crate) router: axum::Router,
    pub(crate) catalog: Arc<TestCatalog>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) tenancy: Tenancy,
    /// Key of the organization's owner.
    pub(crate) owner: String,
    pub(crate) runtime: Option<Runtime>,
    next_key: AtomicU64,
    _directory: tempfile::TempDir,
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of the first error.
    pub(crate) fn code(&self) -> &str {
        self.body["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
    }

    /// The words of the first error.
    pub(crate) fn words(&self) -> &str {
        self.body["errors"][0]["message"].as_str().unwrap_or_default()
    }

    /// The data of an answer without errors.
    pub(crate) fn data(mut self) -> Value {
        assert!(self.body.get("errors").is_none(), "{}", self.body);
        self.body["data"].take()
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::start_with(GatewayLimits::default()).await
    }

    pub(crate) async fn start_with(limits: GatewayLimits) -> Self {
        Self::start_signing_in(limits, None).await
    }

    pub(crate) async fn start_signing_in(limits: GatewayLimits, sign_in: Option<OidcSignIn>) -> Self {
        // A file, not memory: a request that is dropped half-way may cost its connection, and memory goes with it.
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("catalog.db").display());
        let inner = milvault_catalog::open(&url, Sealer::from_key_bytes([7; 32])).await.unwrap();
        let catalog = Arc::new(TestCatalog {
            inner,
            keys: Mutex::default(),
            trouble: Mutex::new(Trouble::None),
            key_use_batches: AtomicU64::default(),
            audit_fails: AtomicBool::new(false),
            elsewhere: Mutex::default(),
            calls: Mutex::default(),
        });
        let clock = Arc::new(TestClock(Mutex::new(DateTime::from_timestamp(1_750_000_000, 0).unwrap())));
        let id = |number| Uuid::from_u128(number);
        let proposed = Tenancy {
            organization_id: OrganizationId::from_uuid(id(1)),
            organization_name: String::from("default"),
            project_id: ProjectId::from_uuid(id(2)),
            project_name: String::from("default"),
        };
        let owner = new_api_key_text([1; 32]).expose().to_owned();
        let grants = vec![RoleGrant { role: Role::OrganizationOwner, project_id: None }];
        let owner_key = api_key(1, "owner", &owner, grants, clock.now());
        let (tenancy, _) = catalog.inner.ensure_tenancy(&proposed, &owner_key).await.unwrap();
        let outside = Outside::new();
        let deps = Deps {
            catalog: Arc::clone(&catalog) as _,
            stores: Arc::new(PretendedStores(Arc::clone(&outside))),
            milvus: Arc::new(PretendedMilvus(Arc::clone(&outside))),
            binlogs: Arc::new(PretendedBinlogs),
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(TestIds(AtomicU64::new(1))),
            webhooks: Arc::new(webhooks::PretendedSender),
        };
        let settings = Settings {
            shutdown_grace: Duration::from_millis(50),
            progress_interval: Duration::from_millis(5),
            poll_interval_min: Duration::from_millis(2),
            poll_interval_max: Duration::from_millis(10),
            ..Settings::default()
        };
        let (service, runtime) = start(deps, settings).await.unwrap();
        let router = router(GatewayState {
            catalog: Arc::clone(&catalog) as _,
            service,
            clock: Arc::clone(&clock) as _,
            organization_id: tenancy.organization_id,
            sign_in,
            limits,
            metrics_render: Arc::new(|| String::from("milvault_up 1\n")),
            project_owners_use_server: false,
            graphiql: true,
            allowed_origins: vec![String::from("https://console.example")],
        });
        Self {
            router,
            catalog,
            outside,
            clock,
            tenancy,
            owner,
            runtime: Some(runtime),
            next_key: AtomicU64::new(2),
            _directory: directory,
        }
    }

    /// A further key.
    pub(crate) fn key(&self, grants: Vec<RoleGrant>) -> String {
        let number = self.next_key.fetch_add(1, Ordering::Relaxed);
        let text = new_api_key_text([u8::try_from(number).unwrap(); 32]).expose().to_owned();
        let key = api_key(number, "somebody", &text, grants, self.clock.now());
        self.catalog.keys.lock().unwrap().push(key);
        text
    }

    /// A key with one role in this project.
    pub(crate) fn key_with(&self, role: Role) -> String {
        self.key(vec![RoleGrant { role, project_id: Some(self.tenancy.project_id) }])
    }

    /// A key of an owner of another project.
    pub(crate) fn foreign_key(&self) -> String {
        let project_id = Some(ProjectId::from_uuid(Uuid::from_u128(99)));
        self.key(vec![RoleGrant { role: Role::ProjectOwner, project_id }])
    }

    /// Changes a further key, as an operator would.
    pub(crate) fn change_key(&self, text: &str, change: impl FnOnce(&mut ApiKey)) {
        let hash = hash_api_key(text);
        let mut keys = self.catalog.keys.lock().unwrap();
        change(keys.iter_mut().find(|key| key.secret_hash == hash).unwrap());
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, key: Option<&str>, body: String) -> Answer {
        let mut request = Request::post("/graphql").header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.call(request.body(Body::from(body)).unwrap()).await
    }

    pub(crate) async fn ask_as(&self, key: &str, query: &str, variables: Value) -> Answer {
        self.post(Some(key), json!({"query": query, "variables": variables}).to_string()).await
    }

    pub(crate) async fn ask(&self, query: &str, variables: Value) -> Answer {
        self.ask_as(&self.owner, query, variables).await
    }

    /// Serves on a port of its own, for clients that need a connection.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(crate) async fn register_repository(&self, name: &str) -> String {
        let query = "mutation($input: RegisterRepositoryInput!) {
            registerRepository(input: $input) { repository { id } } }";
        let input = json!({"name": name, "storage": {"local": {"path": format!("/backups/{name}")}}});
        let data = self.ask(query, json!({"input": input})).await.data();
        data["registerRepository"]["repository"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn register_cluster(&self, name: &str, repository_id: &str) -> String {
        self.register_cluster_at("http://milvus:19530", name, repository_id).await
    }

    pub(crate) async fn register_cluster_at(&self, uri: &str, name: &str, repository_id: &str) -> String {
        let query =
            "mutation($input: RegisterClusterInput!) { registerCluster(input: $input) { cluster { id } } }";
        let input = json!({
            "name": name, "uri": uri, "repositoryId": repository_id,
            "storage": {"local": {"path": "/milvus"}},
        });
        let data = self.ask(query, json!({"input": input})).await.data();
        data["registerCluster"]["cluster"]["id"].as_str().unwrap().to_owned()
    }

    /// A repository and a cluster.
    pub(crate) async fn furnish(&self) -> String {
        let repository_id = self.register_repository("main").await;
        self.register_cluster("prod", &repository_id).await
    }

    /// Asks for a backup of a cluster; returns the ids of backup and job.
    pub(crate) async fn create_backup(&self, cluster_id: &str) -> (String, String) {
        let query = "mutation($input: CreateBackupInput!) { createBackup(input: $input) { backup { id } job { id } } }";
        let data = self.ask(query, json!({"input": {"clusterId": cluster_id}})).await.data();
        let text = |noun: &str| data["createBackup"][noun]["id"].as_str().unwrap().to_owned();
        (text("backup"), text("job"))
    }

    /// Waits for a job's end through the API and returns its last event.
    pub(crate) async fn await_job(&self, address: SocketAddr, job_id: &str) -> Value {
        let mut client = socket::SocketClient::admitted(address, &self.owner).await;
        let query =
            "subscription($id: ID!) { jobUpdated(jobId: $id) { state failure progress { percent } } }";
        client.subscribe("1", query, json!({"id": job_id})).await;
        let mut last = Value::Null;
        while let Some(mut event) = client.event().await {
            assert!(event.get("errors").is_none(), "{event}");
            last = event["data"]["jobUpdated"].take();
        }
        last
    }
}

fn api_key(number: u64, name: &str, text: &str, grants: Vec<RoleGrant>, now: DateTime<Utc>) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(Uuid::from_u128(1000 + u128::from(number))),
        organization_id: OrganizationId::from_uuid(Uuid::from_u128(1)),
        name: name.to_owned(),
        secret_hash: hash_api_key(text),
        user: None,
        grants,
        created_at: now,
        expires_at: None,
        revoked_at: None,
    }
}
