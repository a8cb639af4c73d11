//! A scripted Milvus for the tests and benches of other crates: answers with a given cut, fails or waits when told
//! to, and counts its calls.

use async_trait::async_trait;
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{Cut, ServerInfo};
use milvault_domain::ports::{MilvusCluster, MilvusConnector, MilvusTarget};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The scripted Milvus: connector and, once connected to, cluster. Clones share script and counters.
#[derive(Clone)]
pub struct FakeMilvus {
    script: Arc<Mutex<Script>>,
    /// True while cuts wait.
    held: watch::Sender<bool>,
}

struct Script {
    cut: Arc<Cut>,
    cut_delay: Duration,
    connect_failures: VecDeque<(PortErrorKind, String)>,
    cut_failures: VecDeque<(PortErrorKind, String)>,
    connects: usize,
    scopes: Vec<BackupScope>,
}

impl FakeMilvus {
    /// A Milvus that is reachable and answers each cut with what of `cut` is in the scope, at once.
    #[must_use]
    pub fn new(cut: Cut) -> Self {
        let script = Script {
            cut: Arc::new(cut),
            cut_delay: Duration::ZERO,
            connect_failures: VecDeque::new(),
            cut_failures: VecDeque::new(),
            connects: 0,
            scopes: Vec::new(),
        };
        Self { script: Arc::new(Mutex::new(script)), held: watch::Sender::new(false) }
    }

    /// Later cuts show this. Connections that are open keep telling the server's old version.
    pub fn set_cut(&self, cut: Cut) {
        self.script().cut = Arc::new(cut);
    }

    /// Later cuts take this long.
    pub fn set_cut_delay(&self, delay: Duration) {
        self.script().cut_delay = delay;
    }

    /// Makes the next connect fail; repeated calls queue up.
    pub fn fail_next_connect(&self, kind: PortErrorKind, message: &str) {
        self.script().connect_failures.push_back((kind, message.to_owned()));
    }

    /// Makes the next cut fail; repeated calls queue up.
    pub fn fail_next_cut(&self, kind: PortErrorKind, message: &str) {
        self.script().cut_failures.push_back((kind, message.to_owned()));
    }

    /// Cuts wait from now on, after they were counted, until they are released.
    pub fn hold_cuts(&self) {
        self.held.send_replace(true);
    }

    /// Lets waiting and later cuts go on.
    pub fn release_cuts(&self) {
        self.held.send_replace(false);
    }

    /// Connects so far, failed ones included.
    #[must_use]
    pub fn connect_count(&self) -> usize {
        self.script().connects
    }

    /// Scopes of the cuts so far, failed and waiting ones included.
    #[must_use]
    pub fn cut_scopes(&self) -> Vec<BackupScope> {
        self.script().scopes.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // A test that panics elsewhere must not hide its own message behind a second panic here.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MilvusConnector for FakeMilvus {
    async fn connect(&self, _endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>> {
        let mut script = self.script();
        script.connects += 1;
        if let Some((kind, message)) = script.connect_failures.pop_front() {
            return Err(PortError::new(kind, message));
        }
        Ok(Arc::new(FakeCluster { fake: self.clone(), server: script.cut.server.clone() }))
    }

    /// The script knows cuts only; restores are tested with the fakes of those who carry them out.
    async fn connect_target(&self, _endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusTarget>> {
        let message = "the scripted Milvus cannot be changed";
        Err(PortError::new(PortErrorKind::Unsupported, message))
    }
}

struct FakeCluster {
    fake: FakeMilvus,
    server: ServerInfo,
}

#[async_trait]
impl MilvusCluster for FakeCluster {
    fn server(&self) -> &ServerInfo {
        &self.server
    }

    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut> {
        let (cut, delay, failure) = {
            let mut script = self.fake.script();
            script.scopes.push(scope.clone());
            (Arc::clone(&script.cut), script.cut_delay, script.cut_failures.pop_front())
        };
        let mut held = self.fake.held.subscribe();
        // The sender lives in `self.fake`, so this can only end by a release.
        let released = held.wait_for(|held| !held).await.is_ok();
        debug_assert!(released, "the fake outlives its cuts");
        tokio::time::sleep(delay).await;
        match failure {
            Some((kind, message)) => Err(PortError::new(kind, message)),
            None => in_scope(&cut, scope),
        }
    }
}

/// The part of a cut that a scope asks for; what it names must be there, as with a real Milvus.
fn in_scope(cut: &Cut, scope: &BackupScope) -> PortResult<Cut> {
    let not_found = |what: &str, name: &str| {
        Err(PortError::new(PortErrorKind::NotFound, format!("there is no {what} `{name}` in this cluster")))
    };
    match scope {
        BackupScope::Cluster => return Ok(cut.clone()),
        BackupScope::Databases(names) => {
            for name in names {
                if !cut.databases.iter().any(|database| &database.name == name) {
                    return not_found("database", name);
                }
            }
        }
        BackupScope::Collections(names) => {
            for name in names {
                let is_it = |(database, collection): (&str, &milvault_domain::milvus::CollectionCut)| {
                    database == name.database && collection.name == name.collection
                };
                if !cut.collections().any(is_it) {
                    return not_found("collection", &format!("{}.{}", name.database, name.collection));
                }
            }
        }
    }
    let mut part = Cut { access_control: None, ..cut.clone() };
    part.databases.retain(|database| scope.includes_database(&database.name));
    for database in &mut part.databases {
        let name = &database.name;
        database.collections.retain(|collection| scope.includes_collection(name, &collection.name));
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::versions::server_info;
    use milvault_domain::cluster::MilvusAuth;
    use milvault_domain::milvus::DatabaseCut;

    fn fake() -> FakeMilvus {
        let database =
            |name: &str| DatabaseCut { name: name.to_owned(), properties: vec![], collections: vec![] };
        FakeMilvus::new(Cut {
            cut_at_ms: 7,
            server: server_info("v2.3.5"),
            databases: vec![database("a"), database("b")],
            access_control: None,
        })
    }

    fn endpoint() -> MilvusEndpoint {
        MilvusEndpoint {
            uri: String::from("http://fake:1"),
            auth: MilvusAuth::None,
            ca_pem: None,
            server_name: None,
        }
    }

    #[tokio::test]
    async fn it_answers_fails_and_counts_as_told() {
        let fake = fake();
        fake.fail_next_connect(PortErrorKind::Unavailable, "down");
        assert_eq!(fake.connect(&endpoint()).await.err().unwrap().to_string(), "down");
        let cluster = fake.connect(&endpoint()).await.unwrap();
        assert_eq!((fake.connect_count(), cluster.server().version.as_str()), (2, "v2.3.5"));

        let one = BackupScope::Databases(vec![String::from("a")]);
        fake.fail_next_cut(PortErrorKind::Changed, "moving");
        assert_eq!(cluster.take_cut(&one).await.unwrap_err().kind(), PortErrorKind::Changed);
        assert_eq!(cluster.take_cut(&one).await.unwrap().databases.len(), 1);
        assert_eq!(cluster.take_cut(&BackupScope::Cluster).await.unwrap().databases.len(), 2);
        let missing = BackupScope::Databases(vec![String::from("c")]);
        assert_eq!(cluster.take_cut(&missing).await.unwrap_err().kind(), PortErrorKind::NotFound);
        assert_eq!(fake.cut_scopes().len(), 4);
        let refused = fake.connect_target(&endpoint()).await.err().unwrap();
        assert_eq!(refused.kind(), PortErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn a_held_cut_waits_for_its_release() {
        let fake = fake();
        let cluster = fake.connect(&endpoint()).await.unwrap();
        fake.hold_cuts();
        let cut = tokio::spawn(async move { cluster.take_cut(&BackupScope::Cluster).await });
        while fake.cut_scopes().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!cut.is_finished());
        fake.release_cuts();
        assert_eq!(cut.await.unwrap().unwrap().cut_at_ms, 7);
    }
}
