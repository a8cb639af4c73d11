//! Users, roles and grants.

use crate::server::{connect_target, ok, setting, target, unique};
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::MilvusAuth;
use milvault_domain::milvus::{AccessControl, Grant, RoleDescription};
use milvault_domain::ports::MilvusTarget;
use milvault_domain::restore::UserPassword;
use milvault_domain::secret::{Secret, SecretValue};
use milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use milvus::proto::milvus::{
    DropRoleRequest, GrantEntity, GrantorEntity, ObjectEntity, OperatePrivilegeRequest, OperatePrivilegeType,
    PrivilegeEntity, RoleEntity,
};
use std::sync::Arc;
use tonic::transport::Channel;

const PASSWORD: &str = "correct horse";

fn value(password: &str) -> Secret {
    Secret::Value(SecretValue::new(password.to_owned()))
}

async fn with_authentication(user: &str, password: &str) -> Arc<dyn MilvusTarget> {
    let auth = MilvusAuth::Password { user: user.to_owned(), password: value(password) };
    connect_target(&setting("MILVAULT_TEST_MILVUS_AUTH_URI"), auth).await
}

fn grant(role: &str, privilege: &str) -> Grant {
    Grant {
        role: role.to_owned(),
        object_type: String::from("Collection"),
        object_name: String::from("books"),
        database: String::from("default"),
        privilege: privilege.to_owned(),
        grantor: String::from("somebody else"),
    }
}

fn role(name: &str, users: &[&str]) -> RoleDescription {
    RoleDescription { name: name.to_owned(), users: users.iter().map(|user| (*user).to_owned()).collect() }
}

async fn found(target: &dyn MilvusTarget) -> AccessControl {
    target.take_cut(&BackupScope::Cluster).await.unwrap().access_control.unwrap()
}

/// A server keeps ten roles by default.
async fn drop_roles(uri: &str, roles: &[&str], grants: &[Grant]) {
    let channel = Channel::from_shared(uri.to_owned()).unwrap().connect().await.unwrap();
    let mut client = MilvusServiceClient::new(channel);
    for grant in grants {
        let entity = GrantEntity {
            role: Some(RoleEntity { name: grant.role.clone(), ..Default::default() }),
            object: Some(ObjectEntity { name: grant.object_type.clone() }),
            object_name: grant.object_name.clone(),
            grantor: Some(GrantorEntity {
                privilege: Some(PrivilegeEntity { name: grant.privilege.clone() }),
                ..Default::default()
            }),
            db_name: grant.database.clone(),
        };
        let request = OperatePrivilegeRequest {
            entity: Some(entity),
            r#type: OperatePrivilegeType::Revoke.into(),
            ..Default::default()
        };
        ok(Some(client.operate_privilege(as_root(request)).await.unwrap().into_inner()));
    }
    for role in roles {
        let request = DropRoleRequest { role_name: (*role).to_owned(), ..Default::default() };
        ok(Some(client.drop_role(as_root(request)).await.unwrap().into_inner()));
    }
}

fn as_root<T>(request: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("authorization", "cm9vdDpNaWx2dXM=".parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn users_roles_and_grants_are_made_once() {
    let target = with_authentication("root", "Milvus").await;
    let (reader, forgotten, short) = (unique("reader"), unique("forgotten"), unique("short"));
    let (readers, nobody) = (unique("readers"), unique("nobody"));
    let wanted = AccessControl {
        users: vec![String::from("root"), reader.clone(), forgotten.clone(), short.clone()],
        roles: vec![role("admin", &[&reader]), role(&readers, &[&reader, &forgotten]), role(&nobody, &[])],
        grants: vec![grant(&readers, "Query"), grant(&readers, "Search"), grant(&readers, "Fly")],
    };
    let passwords = [(&reader, PASSWORD), (&short, "123")]
        .map(|(user, password)| UserPassword { user: user.clone(), password: value(password) });
    let words = target.restore_access(&wanted, &passwords).await.unwrap();
    let again = target.restore_access(&wanted, &passwords).await.unwrap();
    assert_eq!(words, again);
    let [first, second, third] = words.as_slice() else { panic!("{words:?}") };
    assert!(first.contains(&format!("`{forgotten}` was not made: no password")), "{first}");
    assert!(
        second.contains(&short) && second.contains("password length") && !second.contains("123,"),
        "{second}"
    );
    assert!(third.contains("`Fly`") && third.contains(&readers), "{third}");

    let access = found(target.as_ref()).await;
    assert!(access.users.contains(&reader) && !access.users.contains(&forgotten), "{access:?}");
    let inventory = target.inventory().await.unwrap();
    assert!(inventory.users.contains(&reader) && inventory.roles.contains(&nobody), "{inventory:?}");
    for name in [readers.as_str(), "admin"] {
        let made = access.roles.iter().find(|role| role.name == name).unwrap();
        assert!(made.users.contains(&reader) && !made.users.contains(&forgotten), "{made:?}");
    }
    let mut made: Vec<_> = access.grants.iter().filter(|grant| grant.role == readers).cloned().collect();
    made.sort_by(|a, b| a.privilege.cmp(&b.privilege));
    let by_root = |privilege| Grant { grantor: String::from("root"), ..grant(&readers, privilege) };
    assert_eq!(made, [by_root("Query"), by_root("Search")]);

    // The password is the one that was given.
    with_authentication(&reader, PASSWORD).await;
    drop_roles(&setting("MILVAULT_TEST_MILVUS_AUTH_URI"), &[&readers, &nobody], &made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_manage_users_is_told_so() {
    let target = with_authentication("root", "Milvus").await;
    let (user, looker) = (unique("powerless"), unique("looker"));
    let look = |privilege: &str| Grant {
        object_type: String::from("Global"),
        object_name: String::from("*"),
        ..grant(&looker, privilege)
    };
    let wanted = AccessControl {
        users: vec![user.clone()],
        roles: vec![role(&looker, &[&user])],
        grants: vec![look("ListDatabases"), look("ShowCollections")],
    };
    let password = UserPassword { user: user.clone(), password: value(PASSWORD) };
    assert_eq!(target.restore_access(&wanted, &[password]).await.unwrap(), Vec::<String>::new());

    let powerless = with_authentication(&user, PASSWORD).await;
    let words = powerless.restore_access(&wanted, &[]).await.unwrap();
    assert!(words.len() == 1 && words[0].contains("may not manage"), "{words:?}");
    let inventory = powerless.inventory().await.unwrap();
    assert_eq!((inventory.users.len(), inventory.roles.len()), (0, 0));
    drop_roles(&setting("MILVAULT_TEST_MILVUS_AUTH_URI"), &[&looker], &wanted.grants).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_made_where_nobody_has_to_authenticate() {
    let target = target().await;
    let readers = unique("readers");
    let wanted = AccessControl { grants: vec![grant(&readers, "Query")], ..AccessControl::default() };
    assert_eq!(target.restore_access(&wanted, &[]).await.unwrap(), Vec::<String>::new());
    let access = found(target.as_ref()).await;
    let made: Vec<_> = access.grants.iter().filter(|grant| grant.role == readers).cloned().collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].privilege, "Query");
    drop_roles(&setting("MILVAULT_TEST_MILVUS_URI"), &[&readers], &made).await;
}
