//! The cut under load: what is restored from it is compared with what the writers did.

use crate::restore::{copy_segments, new_collection, restore};
use crate::server::{Server, collection_name, connect, setting, target, unique};
use crate::workload::Workload;
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::cluster::MilvusAuth;
use milvault_domain::milvus::CollectionCut;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// `MILVAULT_TEST_CUT_ROUNDS` and `MILVAULT_TEST_BATCH_ROWS` make a longer and a heavier run of it.
fn number(setting: &str, default: u32) -> u32 {
    std::env::var(setting).map_or(default, |number| number.parse().unwrap())
}

fn find<'a>(cut: &'a milvault_domain::milvus::Cut, name: &str) -> &'a CollectionCut {
    cut.collections().find(|(_, collection)| collection.name == name).unwrap().1
}

/// Drops, creates and renames collections without pause.
async fn churn(server: Server, database: String) {
    for round in 0.. {
        let (first, second) = (unique("churn"), unique("churned"));
        server.create_simple(&database, &first, 1).await;
        server.insert(&database, &first, &[round]).await;
        server.rename(&database, &first, &second).await;
        server.drop_collection(&database, &second).await;
    }
}

async fn compact(server: Server, collection_ids: [i64; 2]) {
    loop {
        for id in collection_ids {
            server.compact(id).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Flushes as a client does that does not know better.
async fn flush(server: Server, database: String, name: String) {
    loop {
        server.flush(&database, &name).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_under_load_is_one_instant() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_test_writer().init();
    let server = Server::open().await;
    let database = unique("db");
    server.create_database(&database).await;
    let (a, b) = (unique("a"), unique("b"));
    server.create_simple("default", &a, 2).await;
    server.create_simple(&database, &b, 1).await;
    // 2.3.5 compacts only what has an index.
    server.index("default", &a).await;
    server.index(&database, &b).await;
    let ids = [server.collection_id("default", &a).await, server.collection_id(&database, &b).await];

    let rows_per_batch = i64::from(number("MILVAULT_TEST_BATCH_ROWS", 100));
    let workload = Workload::new(server.clone(), ("default", &a), (&database, &b), rows_per_batch);
    let cluster = connect(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await.unwrap();
    let target = target().await;
    let directory = tempfile::tempdir().unwrap();
    for round in 0..number("MILVAULT_TEST_CUT_ROUNDS", 1) {
        let mut writers = JoinSet::new();
        for _ in 0..4 {
            writers.spawn(workload.clone().write());
        }
        let mut disturbers = JoinSet::new();
        disturbers.spawn(churn(server.clone(), database.clone()));
        disturbers.spawn(compact(server.clone(), ids));
        disturbers.spawn(flush(server.clone(), database.clone(), b.clone()));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = workload.stages();
        let scope = BackupScope::Databases(vec![String::from("default"), database.clone()]);
        let asked_at = Instant::now();
        let cut = cluster.take_cut(&scope).await.unwrap();
        let taken_in = asked_at.elapsed();
        let after = workload.stages();
        // Later writes must not show either: they land in the same files.
        tokio::time::sleep(Duration::from_secs(2)).await;
        disturbers.shutdown().await;
        workload.stop();
        while let Some(result) = writers.join_next().await {
            result.unwrap();
        }
        let (cut_a, cut_b) = (find(&cut, &a), find(&cut, &b));
        let copies = directory.path().join(round.to_string());
        copy_segments(cut_a, &copies);
        copy_segments(cut_b, &copies);

        let (restored_a, restored_b) = (unique("restored_a"), unique("restored_b"));
        for (cut_of, name) in [(cut_a, &restored_a), (cut_b, &restored_b)] {
            let new = new_collection(cut_of, &collection_name("default", name));
            restore(target.as_ref(), cut_of, cut.cut_at_ms, &copies, &new).await;
        }
        let end = workload.keys_end();
        let keys_a = server.keys("default", &restored_a, end).await;
        let keys_b = server.keys("default", &restored_b, end).await;
        let findings = workload.check(&keys_a, &keys_b, &before, &after);
        println!(
            "round {round}: taken in {taken_in:?}, {} batches, {} rows in A, {} in B, {} and {} segments, {} collections, {:?}",
            findings.batches,
            keys_a.len(),
            keys_b.len(),
            cut_a.segments.len(),
            cut_b.segments.len(),
            cut.collections().count(),
            findings.wrong,
        );
        assert_eq!(findings.wrong, Vec::<String>::new());
        for name in [&restored_a, &restored_b] {
            server.drop_collection("default", name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_collections_and_many_collections_are_fine() {
    let server = Server::open().await;
    let database = unique("db");
    server.create_database(&database).await;
    let mut names = Vec::new();
    for number in 0..40 {
        let name = unique("many");
        server.create_simple(&database, &name, 1).await;
        if number % 2 == 0 {
            server.insert(&database, &name, &[1, 2, 3]).await;
        }
        names.push(name);
    }
    let cluster = connect(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await.unwrap();
    let cut = cluster.take_cut(&BackupScope::Databases(vec![database.clone()])).await.unwrap();
    assert_eq!((cut.collections().count(), cut.row_count()), (40, 60));

    // A second cut shows the same and leaves the segments alone.
    let again = cluster.take_cut(&BackupScope::Databases(vec![database.clone()])).await.unwrap();
    assert!(again.cut_at_ms > cut.cut_at_ms);
    assert_eq!(again.databases, cut.databases);

    let one = CollectionName { database: database.clone(), collection: names[1].clone() };
    let one = cluster.take_cut(&BackupScope::Collections(vec![one])).await.unwrap();
    assert_eq!((one.collections().count(), one.row_count()), (1, 0));
    for name in &names {
        server.drop_collection(&database, name).await;
    }
}
