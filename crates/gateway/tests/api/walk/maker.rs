//! Makes what the arguments of the table speak of, through the API itself.

use super::scene::{Things, ask};
use super::session;
use crate::support::Api;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

const SOURCE: &str = "http://milvus:19530";
/// What rests on a cluster with a backup.
const ON_A_CLUSTER: [&str; 11] = [
    "$repository",
    "$cluster",
    "$backup",
    "$job",
    "$busy",
    "$open",
    "$canceled",
    "$hold",
    "$target",
    "$restored",
    "$unrestored",
];

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that was not used before.
pub(super) fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes things in one project.
pub(super) struct Maker<'a> {
    pub(super) api: &'a Api,
    pub(super) address: SocketAddr,
    pub(super) project: &'a str,
    /// Begin of all names.
    pub(super) prefix: &'static str,
}

impl Maker<'_> {
    /// Makes what arguments speak of.
    pub(super) async fn make(&self, arguments: &str) -> Things {
        let speaks_of = |names: &[&str]| names.iter().any(|name| arguments.contains(name));
        let mut ids = BTreeMap::from([("$project", self.project.to_owned())]);
        if speaks_of(&ON_A_CLUSTER) {
            let repository = self.repository().await;
            self.api.outside.open_gate();
            let (cluster, backup, job) = self.backed_up(&repository).await;
            if speaks_of(&["$target", "$restored", "$unrestored"]) {
                let (target, restored, unrestored) = self.restores(&repository, &backup).await;
                ids.extend([("$target", target), ("$restored", restored), ("$unrestored", unrestored)]);
            }
            if speaks_of(&["$hold"]) {
                let (_, held, _) = self.backed_up(&repository).await;
                let input = format!(r#"backupId: "{held}", reason: "{}""#, self.prefix);
                ids.insert("$hold", make(self.api, "holdBackup", &input, "hold").await);
            }
            // Last: what waits at the gate goes on as soon as anything else is made.
            if speaks_of(&["$busy", "$open", "$canceled"]) {
                let (busy, open, canceled) = self.busy(&repository).await;
                ids.extend([("$busy", busy), ("$open", open), ("$canceled", canceled)]);
            }
            let here =
                [("$backup", backup), ("$job", job), ("$repository", repository), ("$cluster", cluster)];
            ids.extend(here);
        }
        if speaks_of(&["$second"]) {
            ids.insert("$second", self.repository().await);
        }
        if speaks_of(&["$webhook", "$delivery"]) {
            ids.extend(self.webhook().await);
        }
        if speaks_of(&["$user", "$key", "$session"]) {
            ids.extend(self.person().await);
        }
        if speaks_of(&["$role"]) {
            let input = format!(r#"name: "{}", privileges: [BACKUP_VIEW]"#, self.unique());
            ids.insert("$role", make(self.api, "createCustomRole", &input, "customRole").await);
        }
        Things { ids, prefix: self.prefix }
    }

    fn unique(&self) -> String {
        format!("{}-{}", self.prefix, next())
    }

    async fn repository(&self) -> String {
        let (name, project) = (self.unique(), self.project);
        let input =
            format!(r#"name: "{name}", projectId: "{project}", storage: {{local: {{path: "/{name}"}}}}"#);
        make(self.api, "registerRepository", &input, "repository").await
    }

    async fn cluster(&self, uri: &str, repository: &str) -> String {
        let (name, project) = (self.unique(), self.project);
        let input = format!(
            r#"name: "{name}", projectId: "{project}", uri: "{uri}", repositoryId: "{repository}", storage: {{local: {{path: "/milvus"}}}}"#
        );
        make(self.api, "registerCluster", &input, "cluster").await
    }

    /// A cluster that holds nothing, unlike any other.
    async fn empty(&self, repository: &str) -> String {
        self.cluster(&format!("http://target-{}:19530", next()), repository).await
    }

    async fn ended(&self, job: &str, state: &str) {
        assert_eq!(self.api.await_job(self.address, job).await["state"], state);
    }

    /// A cluster, an available backup of it, and the job that made that.
    async fn backed_up(&self, repository: &str) -> (String, String, String) {
        let cluster = self.cluster(SOURCE, repository).await;
        let (backup, job) = self.api.create_backup(&cluster).await;
        self.ended(&job, "SUCCESSFUL").await;
        (cluster, backup, job)
    }

    /// A cluster to restore to, a restore into another one that succeeded, and one that failed.
    async fn restores(&self, repository: &str, backup: &str) -> (String, String, String) {
        let restore = async |target: &str, state: &str| {
            let input = format!(r#"backupId: "{backup}", targetClusterId: "{target}""#);
            let job = make(self.api, "restoreBackup", &input, "job").await;
            self.ended(&job, state).await;
            job
        };
        let target = self.empty(repository).await;
        self.api.outside.fail_imports(true);
        let unrestored = restore(&target, "FAILED").await;
        self.api.outside.fail_imports(false);
        let restored = restore(&self.empty(repository).await, "SUCCESSFUL").await;
        (target, restored, unrestored)
    }

    /// A cluster with an open job, and a canceled job of another one.
    async fn busy(&self, repository: &str) -> (String, String, String) {
        self.api.outside.close_gate();
        let (_, canceled) = self.api.create_backup(&self.cluster(SOURCE, repository).await).await;
        let cancel = format!(r#"mutation {{ cancelJob(input: {{jobId: "{canceled}"}}) {{ __typename }} }}"#);
        ask(self.api, &cancel).await;
        self.ended(&canceled, "CANCELED").await;
        let busy = self.cluster(SOURCE, repository).await;
        let (_, open) = self.api.create_backup(&busy).await;
        (busy, open, canceled)
    }

    async fn webhook(&self) -> [(&'static str, String); 2] {
        let (name, project) = (self.unique(), self.project);
        let input = format!(
            r#"name: "{name}", projectId: "{project}", url: "https://hooks.test/", events: [BACKUP_FAILED]"#
        );
        let webhook = make(self.api, "createWebhook", &input, "webhook").await;
        let delivery = make(self.api, "testWebhook", &format!(r#"webhookId: "{webhook}""#), "delivery").await;
        [("$webhook", webhook), ("$delivery", delivery)]
    }

    async fn person(&self) -> [(&'static str, String); 3] {
        let (name, project) = (self.unique(), self.project);
        let email = format!("{name}@example.com");
        let input = format!(r#"name: "{name}", email: "{email}""#);
        let user = make(self.api, "createUser", &input, "user").await;
        let query = format!(
            r#"mutation {{ setUserRoles(input: {{userId: "{user}", projectId: "{project}", roles: [{{role: PROJECT_READ_ONLY}}]}}) {{ __typename }} }}"#
        );
        ask(self.api, &query).await;
        let input = format!(r#"name: "{name}", userId: "{user}""#);
        let key = make(self.api, "createApiKey", &input, "apiKey").await;
        let session = session::enter(self.api, &email, next()).await;
        [("$user", user), ("$key", key), ("$session", session)]
    }
}

/// Calls a mutation, and gives the id of what it made.
pub(super) async fn make(api: &Api, field: &str, input: &str, noun: &str) -> String {
    let made = ask(api, &format!("mutation {{ {field}(input: {{{input}}}) {{ {noun} {{ id }} }} }}")).await;
    made[field][noun]["id"].as_str().unwrap().to_owned()
}
