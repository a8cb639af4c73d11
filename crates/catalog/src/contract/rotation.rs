//! Changing the key that seals secrets.

use super::Home;
use super::restore_samples::new_restore;
use super::samples::{World, manual_backup, sealer};
use crate::Sealer;
use crate::rotation::SEALED_COLUMNS;
use milvault_domain::ports::PortErrorKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

super::cases![
    every_sealed_column_is_in_the_list,
    values_are_sealed_anew_and_read_as_before,
    a_change_that_was_cut_off_is_finished,
];

const OLD: [u8; 32] = [7; 32];
const NEW: [u8; 32] = [8; 32];

async fn every_sealed_column_is_in_the_list(home: Arc<dyn Home>) {
    drop(home.open(sealer()).await.unwrap());
    let catalog = home.open_sealed(sealer()).await.unwrap();
    let listed: BTreeSet<_> =
        SEALED_COLUMNS.iter().map(|column| (column.table.to_owned(), column.column.to_owned())).collect();
    assert_eq!(catalog.sealed_columns().await.unwrap(), listed, "add the column to SEALED_COLUMNS");
}

/// A world with a value in every column that restores and clusters have.
async fn filled(home: &dyn Home) -> World {
    let world = World::open(home).await;
    let backup = manual_backup(&world.cluster);
    world.add_available(&backup).await;
    world.request(&new_restore(&world.cluster, &backup.backup)).await;
    world
}

async fn values_are_sealed_anew_and_read_as_before(home: Arc<dyn Home>) {
    let world = filled(&*home).await;
    let (cluster, repository) = (world.cluster.clone(), world.repository.clone());
    drop(world);
    let (old, new) = (Sealer::from_key_bytes(OLD), Sealer::from_key_bytes(NEW));
    let catalog = home.open_sealed(Sealer::from_keys(NEW, &[OLD])).await.unwrap();
    let before = catalog.count().await.unwrap();
    let values: u64 = before.iter().flat_map(|column| column.by_key.values()).sum();
    assert!(4 <= values, "{before:?}");
    assert!(before.iter().all(|column| column.by_key.keys().all(|key| key == old.key_id())), "{before:?}");
    assert_eq!(catalog.reseal().await.unwrap(), values);
    assert_eq!(catalog.reseal().await.unwrap(), 0, "repeating it changes nothing");
    for (now, before) in catalog.count().await.unwrap().iter().zip(&before) {
        let number: u64 = before.by_key.values().sum();
        let expected =
            if number == 0 { BTreeMap::new() } else { BTreeMap::from([(new.key_id().to_owned(), number)]) };
        assert_eq!(now.by_key, expected, "{}", now.place);
    }
    drop(catalog);
    let error = home.open(Sealer::from_key_bytes(OLD)).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::PermissionDenied);
    let catalog = home.open(new).await.unwrap();
    assert_eq!(catalog.cluster(cluster.id).await.unwrap(), Some(cluster));
    assert_eq!(catalog.repository(repository.id).await.unwrap(), Some(repository));
}

async fn a_change_that_was_cut_off_is_finished(home: Arc<dyn Home>) {
    let world = filled(&*home).await;
    let (cluster, repository) = (world.cluster.clone(), world.repository.clone());
    drop(world);
    // With both keys everything is read, and what is written is sealed with the new one.
    let catalog = home.open(Sealer::from_keys(NEW, &[OLD])).await.unwrap();
    assert_eq!(catalog.repository(repository.id).await.unwrap(), Some(repository.clone()));
    catalog.update_cluster(&cluster).await.unwrap();
    drop(catalog);
    // The old key alone does not do any more, and the values say so.
    let catalog = home.open(Sealer::from_key_bytes(OLD)).await.unwrap();
    assert_eq!(catalog.cluster(cluster.id).await.unwrap_err().kind(), PortErrorKind::PermissionDenied);
    drop(catalog);
    let catalog = home.open_sealed(Sealer::from_keys(NEW, &[OLD])).await.unwrap();
    assert!(0 < catalog.reseal().await.unwrap());
    drop(catalog);
    let catalog = home.open(Sealer::from_key_bytes(NEW)).await.unwrap();
    assert_eq!(catalog.cluster(cluster.id).await.unwrap(), Some(cluster));
    assert_eq!(catalog.repository(repository.id).await.unwrap(), Some(repository));
}
