//! Names as long as Milvus takes them, and keys that need care wherever they are written down.

use super::stage::Stage;
use super::undone::undone;
use crate::support::fakes::server::{Row, fields, name, row};
use crate::support::{Server, bounded};
use milvault_domain::ids::BackupId;
use milvault_domain::job::JobState;
use milvault_domain::restore::{CompareDepth, ConflictPolicy, RestoreRequest};
use std::collections::BTreeMap;

/// Most bytes of a name.
const LONGEST: usize = 255;
/// Quotes, backslashes, what ends or begins an expression, control characters, and characters of several bytes.
const KEYS: [&str; 12] = [
    "'",
    "\"",
    "`",
    "\\",
    "\\\"; --",
    "a' or '1' == '1",
    "tab\tbell\u{7}nul\0",
    "100% {x} [y] (z)",
    "key@1",
    "größe",
    "鍵🔑",
    "e\u{301}\u{202e}",
];

fn long(letter: char) -> String {
    std::iter::repeat_n(letter, LONGEST).collect()
}

/// Adds a collection to the source whose names are as long as can be, and makes a backup.
async fn back_up_exotic(stage: &Stage, server: &Server) -> BackupId {
    let exotic = name("default", &long('c'));
    let partitions = [long('p'), long('q')];
    stage.source.create(&exotic, &fields(&["id", "text"]), &[&partitions[0], &partitions[1]]);
    for partition in ["_default", &partitions[0], &partitions[1]] {
        let rows: Vec<Row> =
            KEYS.iter().map(|key| row(&[&format!("{key}{}", partition.len()), key])).collect();
        stage.source.insert(&exotic, partition, &rows);
    }
    let gone: Vec<String> = KEYS[..6].iter().map(|key| format!("{key}{LONGEST}")).collect();
    stage.source.delete(&exotic, &gone.iter().map(String::as_str).collect::<Vec<_>>());
    let made = server.back_up(stage.source_id).await;
    assert_eq!(server.ended(made.job.id).await.failure, None);
    made.backup.id
}

fn exotic_rows(stage: &Stage) -> BTreeMap<String, Vec<Row>> {
    stage.source.rows(&name("default", &long('c')))
}

#[tokio::test]
async fn the_longest_names_and_odd_keys_come_back() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let backup_id = back_up_exotic(&stage, &server).await;
        let rows = exotic_rows(&stage);
        assert_eq!(rows.values().map(Vec::len).collect::<Vec<_>>(), [12, 6, 6]);
        let collection = long('c');
        let request = |conflict| RestoreRequest {
            backup_id,
            conflict,
            compare: CompareDepth::Rows,
            ..stage.only("default", &collection)
        };
        let job = stage.restore(&server, request(ConflictPolicy::Fail)).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        let own = name("default", &collection);
        assert_eq!(stage.target.rows(&own), rows);
        let first_id = stage.target.state().find(&own).unwrap().collection_id;

        // The name is taken: twice beside it, and in its place.
        for ending in ["_restored", "_restored_2"] {
            let job = stage.restore(&server, request(ConflictPolicy::Rename)).await;
            assert_eq!((job.state, job.failure), (JobState::Successful, None));
            let given = stage.restore_row(job.id).plan.unwrap().collections[0].target.clone();
            assert!(given.collection.len() == LONGEST && given.collection.ends_with(ending), "{given:?}");
            assert_eq!(stage.target.rows(&given), rows);
        }
        let job = stage.restore(&server, request(ConflictPolicy::Replace)).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert_eq!(stage.target.rows(&own), rows);
        assert_eq!(stage.name_of(first_id), None);
        stage.assert_tidy("the end");
        assert!(stage.target.state().created.iter().all(|name| name.collection.len() <= LONGEST));
    })
    .await;
}

#[tokio::test]
async fn what_has_the_longest_name_gives_way_and_comes_back() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let backup_id = back_up_exotic(&stage, &server).await;
        let own = name("default", &long('c'));
        let old_id = stage.target.create(&own, &fields(&["id", "text"]), &[]);
        let orders = stage.source.state().find(&super::stage::orders()).unwrap().collection_id;
        stage.world.stores.repository.damage(|key| key.collection_id == orders);
        let job = stage.restore(&server, RestoreRequest { backup_id, ..stage.replacing() }).await;
        assert_eq!(job.state, JobState::Failed);
        let kept = stage.name_of(old_id).unwrap();
        assert!(
            kept.collection.len() == LONGEST && kept.collection.contains("_milvault_replaced_"),
            "{kept:?}"
        );
        assert_eq!(stage.target.rows(&own), exotic_rows(&stage));
        assert_eq!(undone(&server, job.id).await.state, JobState::Successful);
        assert_eq!(stage.name_of(old_id), Some(own));
    })
    .await;
}
