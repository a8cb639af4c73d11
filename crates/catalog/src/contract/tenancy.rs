//! The first start, and API keys.

use super::Home;
use super::samples::{api_key, at, sealer, tenancy};
use milvault_domain::access::{Role, RoleGrant};
use milvault_domain::ports::PortErrorKind;
use std::sync::Arc;

super::cases![
    the_first_start_makes_the_tenancy_once,
    racing_first_starts_make_one,
    keys_are_found_by_their_hash
];

async fn the_first_start_makes_the_tenancy_once(home: Arc<dyn Home>) {
    let catalog = home.open(sealer()).await.unwrap();
    catalog.ping().await.unwrap();
    let first = tenancy();
    let first_key = api_key(&first);
    assert_eq!(catalog.ensure_tenancy(&first, &first_key).await.unwrap(), (first.clone(), true));
    let second = tenancy();
    let second_key = api_key(&second);
    assert_eq!(catalog.ensure_tenancy(&second, &second_key).await.unwrap(), (first, false));
    assert_eq!(catalog.find_api_key(&first_key.secret_hash).await.unwrap(), Some(first_key));
    assert_eq!(catalog.find_api_key(&second_key.secret_hash).await.unwrap(), None);
}

async fn racing_first_starts_make_one(home: Arc<dyn Home>) {
    let catalog = home.open(sealer()).await.unwrap();
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                let tenancy = tenancy();
                catalog.ensure_tenancy(&tenancy, &api_key(&tenancy)).await.unwrap()
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for start in starts {
        outcomes.push(start.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|(_, made)| *made).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|(found, _)| *found == outcomes[0].0), "{outcomes:?}");
}

async fn keys_are_found_by_their_hash(home: Arc<dyn Home>) {
    let catalog = home.open(sealer()).await.unwrap();
    let tenancy = tenancy();
    catalog.ensure_tenancy(&tenancy, &api_key(&tenancy)).await.unwrap();

    let mut key = api_key(&tenancy);
    key.name = String::from("auditor");
    key.expires_at = Some(at(60));
    key.revoked_at = Some(at(30));
    key.grants = vec![
        RoleGrant { role: Role::ProjectReadOnly, project_id: Some(tenancy.project_id) },
        RoleGrant { role: Role::OrganizationOwner, project_id: None },
        RoleGrant { role: Role::ProjectReadWrite, project_id: Some(tenancy.project_id) },
    ];
    catalog.insert_api_key(&key).await.unwrap();
    assert_eq!(catalog.find_api_key(&key.secret_hash).await.unwrap(), Some(key.clone()));

    let mut powerless = api_key(&tenancy);
    powerless.grants.clear();
    catalog.insert_api_key(&powerless).await.unwrap();
    assert_eq!(catalog.find_api_key(&powerless.secret_hash).await.unwrap(), Some(powerless));

    let mut same_secret = api_key(&tenancy);
    same_secret.secret_hash = key.secret_hash;
    assert_eq!(catalog.insert_api_key(&same_secret).await.unwrap_err().kind(), PortErrorKind::Conflict);
    assert_eq!(catalog.find_api_key(&[0xff; 32]).await.unwrap(), None);
}
