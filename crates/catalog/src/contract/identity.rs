//! Projects, users, custom roles, and what keys carry.

use super::Home;
use super::samples::{FIRST_PAGE, api_key, at, sealer, tenancy, uuid};
use milvault_domain::access::{AssignedRole, Assignment, CustomRole, Privilege, Role, RoleGrant};
use milvault_domain::identity::{KeyRecord, PROJECTS_MAX, Project, User, UserPatch};
use milvault_domain::ids::{ApiKeyId, CustomRoleId, ProjectId, UserId};
use milvault_domain::ports::{Catalog, KeyFilter, PageRequest, PortErrorKind, SortKey, Tenancy, UserFilter};
use std::sync::Arc;

super::cases![
    projects_have_names_and_a_limit,
    users_are_found_and_listed,
    roles_are_replaced_in_one_place,
    a_personal_key_carries_what_its_user_has_now,
    a_custom_role_is_what_it_is_at_the_moment,
    the_last_owner_stays,
    racing_owners_cannot_remove_each_other,
    uses_of_keys_are_noted_in_batches
];

const OWNER: AssignedRole = AssignedRole::Predefined(Role::OrganizationOwner);
const MEMBER: AssignedRole = AssignedRole::Predefined(Role::OrganizationMember);
const READS: AssignedRole = AssignedRole::Predefined(Role::ProjectReadOnly);

struct People {
    catalog: Arc<dyn Catalog>,
    tenancy: Tenancy,
    /// The key of the first start.
    owner_key: ApiKeyId,
}

impl People {
    async fn open(home: &dyn Home) -> Self {
        let catalog = home.open(sealer()).await.unwrap();
        let tenancy = tenancy();
        let key = api_key(&tenancy);
        catalog.ensure_tenancy(&tenancy, &key).await.unwrap();
        Self { catalog, tenancy, owner_key: key.id }
    }

    fn project(&self, name: &str) -> Project {
        Project {
            id: ProjectId::from_uuid(uuid()),
            organization_id: self.tenancy.organization_id,
            name: name.to_owned(),
            created_at: at(1),
        }
    }

    async fn add_user(&self, email: &str, role: AssignedRole) -> User {
        let user = User {
            id: UserId::from_uuid(uuid()),
            organization_id: self.tenancy.organization_id,
            name: String::from("Ada"),
            email: email.to_owned(),
            disabled_at: None,
            created_at: at(1),
            assignments: vec![Assignment { role, project_id: None }],
        };
        self.catalog.insert_user(&user).await.unwrap();
        user
    }

    fn key(&self, user_id: Option<UserId>, assignments: Vec<Assignment>) -> (KeyRecord, [u8; 32]) {
        let id = ApiKeyId::from_uuid(uuid());
        let mut secret_hash = [1; 32];
        secret_hash[..16].copy_from_slice(id.as_uuid().as_bytes());
        let record = KeyRecord {
            id,
            organization_id: self.tenancy.organization_id,
            name: String::from("laptop"),
            user_id,
            assignments,
            created_at: at(2),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        (record, secret_hash)
    }

    async fn add_key(&self, user_id: Option<UserId>, assignments: Vec<Assignment>) -> (ApiKeyId, [u8; 32]) {
        let (record, secret_hash) = self.key(user_id, assignments);
        self.catalog.insert_key(&record, &secret_hash).await.unwrap();
        (record.id, secret_hash)
    }

    async fn grants(&self, secret_hash: &[u8; 32]) -> Vec<RoleGrant> {
        self.catalog.find_api_key(secret_hash).await.unwrap().unwrap().grants
    }

    async fn disable(&self, user_id: UserId) -> Result<User, PortErrorKind> {
        let patch = UserPatch { disabled: Some(true), ..UserPatch::default() };
        self.catalog.update_user(user_id, &patch, at(9)).await.map_err(|error| error.kind())
    }

    async fn revoke(&self, api_key_id: ApiKeyId) -> Result<KeyRecord, PortErrorKind> {
        self.catalog.revoke_key(api_key_id, at(9)).await.map_err(|error| error.kind())
    }
}

async fn projects_have_names_and_a_limit(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let (catalog, organization_id) = (&people.catalog, people.tenancy.organization_id);
    let second = people.project("Analytics");
    catalog.insert_project(&second).await.unwrap();
    let names = async || {
        let projects = catalog.projects(organization_id).await.unwrap();
        projects.into_iter().map(|project| project.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["Analytics", "Default"]);
    let taken = people.project("Analytics");
    assert_eq!(catalog.insert_project(&taken).await.unwrap_err().kind(), PortErrorKind::Conflict);
    let renamed = catalog.rename_project(second.id, "Search").await.unwrap();
    assert_eq!(renamed, Project { name: String::from("Search"), ..second.clone() });
    assert_eq!(names().await, ["Default", "Search"]);
    let clash = catalog.rename_project(second.id, "Default").await.unwrap_err();
    assert_eq!(clash.kind(), PortErrorKind::Conflict);
    let missing = catalog.rename_project(ProjectId::from_uuid(uuid()), "x").await.unwrap_err();
    assert_eq!(missing.kind(), PortErrorKind::NotFound);
    for number in 2..PROJECTS_MAX {
        catalog.insert_project(&people.project(&number.to_string())).await.unwrap();
    }
    let over = catalog.insert_project(&people.project("over")).await.unwrap_err();
    assert_eq!(over.kind(), PortErrorKind::Conflict);
    assert_eq!(names().await.len(), PROJECTS_MAX);
}

async fn users_are_found_and_listed(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let (catalog, organization_id) = (&people.catalog, people.tenancy.organization_id);
    let ada = people.add_user("Ada@Example.com", MEMBER).await;
    let grace = people.add_user("grace@example.com", MEMBER).await;
    assert_eq!(catalog.user(ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(catalog.user_by_email(organization_id, "ADA@example.COM").await.unwrap(), Some(ada.clone()));
    assert_eq!(catalog.user_by_email(organization_id, "nobody@example.com").await.unwrap(), None);
    let same = User { id: UserId::from_uuid(uuid()), email: String::from("ada@example.com"), ..ada.clone() };
    assert_eq!(catalog.insert_user(&same).await.unwrap_err().kind(), PortErrorKind::Conflict);

    let patch = UserPatch { name: Some(String::from("Grace H.")), ..UserPatch::default() };
    let renamed = catalog.update_user(grace.id, &patch, at(3)).await.unwrap();
    assert_eq!(renamed, User { name: String::from("Grace H."), ..grace.clone() });
    let clash = UserPatch { email: Some(String::from("ADA@example.com")), ..UserPatch::default() };
    assert_eq!(
        catalog.update_user(grace.id, &clash, at(3)).await.unwrap_err().kind(),
        PortErrorKind::Conflict
    );

    let here = people.tenancy.project_id;
    catalog.set_user_roles(grace.id, Some(here), &[READS], at(4)).await.unwrap();
    let everybody = UserFilter { organization_id, project_id: None };
    let first = PageRequest { limit: 1, after: None };
    let page = catalog.users(&everybody, first).await.unwrap();
    assert!(page.has_more);
    let last = &page.items[0];
    assert_eq!((last.id, last.assignments.len()), (grace.id, 2));
    let after = Some(SortKey { created_at: last.created_at, id: last.id.as_uuid() });
    let rest = catalog.users(&everybody, PageRequest { limit: 1, after }).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.has_more), ([ada].as_slice(), false));
    let of_project = UserFilter { organization_id, project_id: Some(here) };
    let found = catalog.users(&of_project, FIRST_PAGE).await.unwrap().items;
    assert_eq!(found.iter().map(|user| user.id).collect::<Vec<_>>(), [grace.id]);
}

async fn roles_are_replaced_in_one_place(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let catalog = &people.catalog;
    let (here, other) = (people.tenancy.project_id, people.project("other"));
    catalog.insert_project(&other).await.unwrap();
    let ada = people.add_user("ada@example.com", MEMBER).await;
    let writes = AssignedRole::Predefined(Role::ProjectReadWrite);
    catalog.set_user_roles(ada.id, Some(other.id), &[READS], at(3)).await.unwrap();
    catalog.set_user_roles(ada.id, Some(here), &[READS, writes], at(3)).await.unwrap();
    let changed = catalog.set_user_roles(ada.id, Some(here), &[writes], at(3)).await.unwrap();
    let at_place = |role, project_id| Assignment { role, project_id };
    assert_eq!(
        changed.assignments,
        [at_place(MEMBER, None), at_place(READS, Some(other.id)), at_place(writes, Some(here))]
    );
    let changed = catalog.set_user_roles(ada.id, None, &[], at(3)).await.unwrap();
    assert_eq!(changed.assignments.len(), 2);
    let nowhere = Some(ProjectId::from_uuid(uuid()));
    let missing = catalog.set_user_roles(ada.id, nowhere, &[READS], at(3)).await.unwrap_err();
    assert_eq!(missing.kind(), PortErrorKind::NotFound);
    assert_eq!(catalog.user(ada.id).await.unwrap(), Some(changed));
    let nobody = UserId::from_uuid(uuid());
    let missing = catalog.set_user_roles(nobody, None, &[], at(3)).await.unwrap_err();
    assert_eq!(missing.kind(), PortErrorKind::NotFound);
}

async fn a_personal_key_carries_what_its_user_has_now(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let catalog = &people.catalog;
    let ada = people.add_user("ada@example.com", MEMBER).await;
    let (key_id, secret_hash) = people.add_key(Some(ada.id), vec![]).await;
    let member = RoleGrant { role: Role::OrganizationMember, project_id: None };
    assert_eq!(people.grants(&secret_hash).await, [member]);
    let here = people.tenancy.project_id;
    catalog.set_user_roles(ada.id, Some(here), &[READS], at(3)).await.unwrap();
    let reads = RoleGrant { role: Role::ProjectReadOnly, project_id: Some(here) };
    assert_eq!(people.grants(&secret_hash).await, [member, reads]);

    let key = catalog.find_api_key(&secret_hash).await.unwrap().unwrap();
    let user = key.user.as_ref().unwrap();
    assert_eq!((user.id, user.name.as_str(), key.is_valid_at(at(5))), (ada.id, "Ada", true));
    people.disable(ada.id).await.unwrap();
    assert!(!catalog.find_api_key(&secret_hash).await.unwrap().unwrap().is_valid_at(at(10)));
    let enable = UserPatch { disabled: Some(false), ..UserPatch::default() };
    catalog.update_user(ada.id, &enable, at(11)).await.unwrap();
    assert!(catalog.find_api_key(&secret_hash).await.unwrap().unwrap().is_valid_at(at(12)));

    let mine = KeyFilter { organization_id: people.tenancy.organization_id, user_id: Some(ada.id) };
    let listed = catalog.keys(&mine, FIRST_PAGE).await.unwrap().items;
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [key_id]);
    let all = KeyFilter { user_id: None, ..mine };
    let listed = catalog.keys(&all, FIRST_PAGE).await.unwrap().items;
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [key_id, people.owner_key]);
    assert_eq!(listed[1].assignments, [Assignment { role: OWNER, project_id: None }]);
    let revoked = people.revoke(key_id).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(at(9)));
    assert_eq!(catalog.revoke_key(key_id, at(20)).await.unwrap(), revoked);
    assert!(!catalog.find_api_key(&secret_hash).await.unwrap().unwrap().is_valid_at(at(12)));
    let stray = people.key(Some(UserId::from_uuid(uuid())), vec![]);
    let missing = catalog.insert_key(&stray.0, &stray.1).await.unwrap_err();
    assert_eq!(missing.kind(), PortErrorKind::NotFound);
}

async fn a_custom_role_is_what_it_is_at_the_moment(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let catalog = &people.catalog;
    let role = CustomRole {
        id: CustomRoleId::from_uuid(uuid()),
        organization_id: people.tenancy.organization_id,
        name: String::from("operators"),
        privileges: vec![Privilege::BackupView, Privilege::BackupManage],
    };
    catalog.insert_custom_role(&role).await.unwrap();
    assert_eq!(catalog.custom_roles(role.organization_id).await.unwrap(), *std::slice::from_ref(&role));
    let same_name = CustomRole { id: CustomRoleId::from_uuid(uuid()), ..role.clone() };
    let taken = catalog.insert_custom_role(&same_name).await.unwrap_err();
    assert_eq!(taken.kind(), PortErrorKind::Conflict);

    let here = Some(people.tenancy.project_id);
    let custom = Assignment { role: AssignedRole::Custom(role.id), project_id: here };
    let reads = Assignment { role: READS, project_id: here };
    let (_, service) = people.add_key(None, vec![custom, reads]).await;
    let ada = people.add_user("ada@example.com", MEMBER).await;
    catalog.set_user_roles(ada.id, here, &[custom.role], at(3)).await.unwrap();
    let (_, personal) = people.add_key(Some(ada.id), vec![]).await;
    let manages = RoleGrant { role: Role::CustomBackupManage, project_id: here };
    let looks = RoleGrant { role: Role::ProjectReadOnly, project_id: here };
    let member = RoleGrant { role: Role::OrganizationMember, project_id: None };
    assert_eq!(people.grants(&service).await, [manages, looks]);
    assert_eq!(people.grants(&personal).await, [member, manages]);

    catalog.delete_custom_role(role.id).await.unwrap();
    assert_eq!(people.grants(&service).await, [looks]);
    assert_eq!(people.grants(&personal).await, [member]);
    let missing = catalog.delete_custom_role(role.id).await.unwrap_err();
    assert_eq!(missing.kind(), PortErrorKind::NotFound);
}

async fn the_last_owner_stays(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let catalog = &people.catalog;
    assert_eq!(people.revoke(people.owner_key).await, Err(PortErrorKind::Conflict));
    // A user who owns, but has no key to come in with, does not count; nor does a key that has expired.
    let ada = people.add_user("ada@example.com", OWNER).await;
    assert_eq!(people.revoke(people.owner_key).await, Err(PortErrorKind::Conflict));
    let (mut ended, hash) = people.key(Some(ada.id), vec![]);
    ended.expires_at = Some(at(8));
    catalog.insert_key(&ended, &hash).await.unwrap();
    assert_eq!(people.revoke(people.owner_key).await, Err(PortErrorKind::Conflict));

    let (adas_key, _) = people.add_key(Some(ada.id), vec![]).await;
    people.revoke(people.owner_key).await.unwrap();
    assert_eq!(people.revoke(adas_key).await, Err(PortErrorKind::Conflict));
    assert_eq!(people.disable(ada.id).await, Err(PortErrorKind::Conflict));
    let demote = catalog.set_user_roles(ada.id, None, &[MEMBER], at(9)).await.unwrap_err();
    assert_eq!(demote.kind(), PortErrorKind::Conflict);
    assert_eq!(catalog.user(ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(catalog.key(adas_key).await.unwrap().unwrap().revoked_at, None);

    people.add_key(None, vec![Assignment { role: OWNER, project_id: None }]).await;
    people.disable(ada.id).await.unwrap();
}

async fn racing_owners_cannot_remove_each_other(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let owner = Assignment { role: OWNER, project_id: None };
    let mut keys = vec![people.owner_key];
    for _ in 0..3 {
        keys.push(people.add_key(None, vec![owner]).await.0);
    }
    let revocations: Vec<_> = keys
        .iter()
        .map(|key_id| {
            let (catalog, key_id) = (Arc::clone(&people.catalog), *key_id);
            tokio::spawn(async move { catalog.revoke_key(key_id, at(9)).await })
        })
        .collect();
    let mut refused = 0;
    for revocation in revocations {
        refused += usize::from(revocation.await.unwrap().is_err());
    }
    assert_eq!(refused, 1);
}

async fn uses_of_keys_are_noted_in_batches(home: Arc<dyn Home>) {
    let people = People::open(&*home).await;
    let catalog = &people.catalog;
    let (other, _) = people.add_key(None, vec![Assignment { role: OWNER, project_id: None }]).await;
    let last_use = async |key_id| catalog.key(key_id).await.unwrap().unwrap().last_used_at;
    assert_eq!(last_use(other).await, None);
    let stray = ApiKeyId::from_uuid(uuid());
    catalog.note_key_uses(&[(other, at(5)), (stray, at(5)), (people.owner_key, at(6))]).await.unwrap();
    catalog.note_key_uses(&[(people.owner_key, at(4))]).await.unwrap();
    catalog.note_key_uses(&[]).await.unwrap();
    assert_eq!((last_use(other).await, last_use(people.owner_key).await), (Some(at(5)), Some(at(6))));
}
