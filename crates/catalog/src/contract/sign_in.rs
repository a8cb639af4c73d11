//! Attempts to sign in, accounts at identity providers, sessions.

use super::Home;
use super::samples::{api_key, at, sealer, tenancy, uuid};
use milvault_domain::access::{AssignedRole, Assignment, Role, RoleGrant};
use milvault_domain::identity::{User, UserPatch};
use milvault_domain::ids::{SessionId, UserId};
use milvault_domain::ports::{Catalog, PortErrorKind, Tenancy};
use milvault_domain::sign_in::{
    ClaimedEmail, ProvenIdentity, Provisioning, SESSIONS_PER_USER_MAX, SessionRules, SignIn, SignInAttempt,
    SignInPolicy, SignInRefusal, SignedIn,
};
use std::sync::Arc;

super::cases![
    an_attempt_is_claimed_once_by_the_browser_that_began_it,
    attempts_expire,
    an_account_is_bound_once_and_stays,
    the_policy_decides_about_newcomers,
    racing_newcomers_are_one_user,
    a_session_opens_what_its_user_may_now,
    sessions_are_listed_ended_and_limited,
    a_disabled_user_has_no_sessions_left,
    no_token_nor_account_secret_is_stored
];

struct Door {
    catalog: Arc<dyn Catalog>,
    tenancy: Tenancy,
}

impl Door {
    async fn open(home: &dyn Home) -> Self {
        let catalog = home.open(sealer()).await.unwrap();
        let tenancy = tenancy();
        catalog.ensure_tenancy(&tenancy, &api_key(&tenancy)).await.unwrap();
        Self { catalog, tenancy }
    }

    async fn invite(&self, email: &str) -> UserId {
        let member = AssignedRole::Predefined(Role::OrganizationMember);
        let user = User {
            id: UserId::from_uuid(uuid()),
            organization_id: self.tenancy.organization_id,
            name: String::from("Ada"),
            email: email.to_owned(),
            disabled_at: None,
            created_at: at(1),
            assignments: vec![Assignment { role: member, project_id: None }],
        };
        self.catalog.insert_user(&user).await.unwrap();
        user.id
    }

    fn request(&self, subject: &str, email: &str, provisioning: Provisioning) -> SignIn {
        let session_id = SessionId::from_uuid(uuid());
        SignIn {
            organization_id: self.tenancy.organization_id,
            identity: ProvenIdentity {
                issuer: String::from("https://id.example"),
                subject: subject.to_owned(),
                email: Some(ClaimedEmail { address: email.to_owned(), is_verified: Some(true) }),
                name: Some(String::from("Ada Lovelace")),
            },
            policy: SignInPolicy {
                provisioning,
                allowed_email_domains: Vec::new(),
                silent_email_counts: false,
            },
            new_user_id: UserId::from_uuid(uuid()),
            session_id,
            token_hash: token(session_id),
            now: at(10),
            expires_at: at(1_000),
            remote_address: Some(String::from("192.0.2.1")),
            user_agent: None,
        }
    }

    async fn enter(&self, request: &SignIn) -> Result<SignedIn, SignInRefusal> {
        self.catalog.sign_in(request).await.unwrap()
    }
}

fn token(session_id: SessionId) -> [u8; 32] {
    let mut hash = [9; 32];
    hash[..16].copy_from_slice(session_id.as_uuid().as_bytes());
    hash
}

fn attempt(number: u8) -> SignInAttempt {
    SignInAttempt {
        state_hash: [number; 32],
        browser_hash: [number + 100; 32],
        return_to: String::from("/graphql"),
        created_at: at(1),
        expires_at: at(601),
    }
}

async fn an_attempt_is_claimed_once_by_the_browser_that_began_it(home: Arc<dyn Home>) {
    let Door { catalog, .. } = Door::open(&*home).await;
    let (first, second) = (attempt(1), attempt(2));
    for attempt in [&first, &second] {
        catalog.insert_sign_in_attempt(attempt).await.unwrap();
    }
    let claim = async |state: &SignInAttempt, browser: &SignInAttempt| {
        catalog.claim_sign_in_attempt(&state.state_hash, &browser.browser_hash, at(2)).await.unwrap()
    };
    // Another browser does not get it, and does not spoil it.
    assert_eq!(claim(&first, &second).await, None);
    assert_eq!(claim(&second, &second).await, Some(second.clone()));
    assert_eq!(claim(&second, &second).await, None);

    let claims: Vec<_> = (0..8)
        .map(|_| {
            let (catalog, attempt) = (Arc::clone(&catalog), first.clone());
            tokio::spawn(async move {
                catalog.claim_sign_in_attempt(&attempt.state_hash, &attempt.browser_hash, at(2)).await
            })
        })
        .collect();
    let mut claimed = 0;
    for claim in claims {
        claimed += usize::from(claim.await.unwrap().unwrap().is_some());
    }
    assert_eq!(claimed, 1);
}

async fn attempts_expire(home: Arc<dyn Home>) {
    let Door { catalog, .. } = Door::open(&*home).await;
    let (early, late) =
        (attempt(1), SignInAttempt { created_at: at(700), expires_at: at(1_300), ..attempt(2) });
    catalog.insert_sign_in_attempt(&early).await.unwrap();
    let claim = async |attempt: &SignInAttempt, now| {
        catalog.claim_sign_in_attempt(&attempt.state_hash, &attempt.browser_hash, now).await.unwrap()
    };
    assert_eq!(claim(&early, at(601)).await, None);
    catalog.insert_sign_in_attempt(&early).await.unwrap();
    // What has expired goes when another comes.
    catalog.insert_sign_in_attempt(&late).await.unwrap();
    assert_eq!(claim(&early, at(2)).await, None);
    assert_eq!(claim(&late, at(1_299)).await, Some(late));
}

async fn an_account_is_bound_once_and_stays(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    let ada = door.invite("Ada@example.com").await;
    let grace = door.invite("grace@example.com").await;
    let first = door.enter(&door.request("1", "ada@EXAMPLE.com", Provisioning::Invitation)).await.unwrap();
    assert_eq!((first.session.user_id, first.is_new_user), (ada, false));
    assert_eq!(first.user_name, "Ada");

    // The account has another address now, that of another user, or the user has; it is Ada's all the same.
    let moved = door.request("1", "grace@example.com", Provisioning::Off);
    assert_eq!(door.enter(&moved).await.unwrap().session.user_id, ada);
    let patch = UserPatch { email: Some(String::from("countess@example.com")), ..UserPatch::default() };
    door.catalog.update_user(ada, &patch, at(11)).await.unwrap();
    let again = door.request("1", "ada@example.com", Provisioning::Invitation);
    assert_eq!(door.enter(&again).await.unwrap().session.user_id, ada);

    // Another account with her address does not become her.
    let other = door.request("2", "countess@example.com", Provisioning::Members);
    assert_eq!(door.enter(&other).await, Err(SignInRefusal::UserBoundElsewhere));
    // Grace is nobody's yet.
    let bound = door.enter(&door.request("2", "grace@example.com", Provisioning::Invitation)).await.unwrap();
    assert_eq!(bound.session.user_id, grace);

    // Forgotten on request, she is bound anew.
    assert_eq!(door.catalog.end_sessions(ada, true, at(12)).await.unwrap(), 3);
    let anew = door.request("3", "countess@example.com", Provisioning::Invitation);
    assert_eq!(door.enter(&anew).await.unwrap().session.user_id, ada);
    let old = door.request("1", "ada@example.com", Provisioning::Invitation);
    assert_eq!(door.enter(&old).await, Err(SignInRefusal::UserUnknown));
}

async fn the_policy_decides_about_newcomers(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    for provisioning in [Provisioning::Off, Provisioning::Invitation] {
        let request = door.request("1", "ada@example.com", provisioning);
        assert_eq!(door.enter(&request).await, Err(SignInRefusal::UserUnknown));
        assert_eq!(door.catalog.find_session(&request.token_hash).await.unwrap(), None);
    }
    let request = door.request("1", "ada@example.com", Provisioning::Members);
    let made = door.enter(&request).await.unwrap();
    assert!(made.is_new_user);
    let user = door.catalog.user(made.session.user_id).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.email.as_str()), ("Ada Lovelace", "ada@example.com"));
    let member = AssignedRole::Predefined(Role::OrganizationMember);
    assert_eq!(user.assignments, [Assignment { role: member, project_id: None }]);
    // She comes in again as herself.
    let again = door.enter(&door.request("1", "ada@example.com", Provisioning::Members)).await.unwrap();
    assert_eq!((again.session.user_id, again.is_new_user), (user.id, false));
    // An address that is none makes no user.
    let request = door.request("2", "nobody", Provisioning::Members);
    let error = door.catalog.sign_in(&request).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error:?}");
}

async fn racing_newcomers_are_one_user(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    let entries: Vec<_> = (0..6)
        .map(|_| {
            let request = door.request("1", "ada@example.com", Provisioning::Members);
            let catalog = Arc::clone(&door.catalog);
            tokio::spawn(async move { catalog.sign_in(&request).await })
        })
        .collect();
    let (mut users, mut made) = (Vec::new(), 0);
    for entry in entries {
        let signed_in = entry.await.unwrap().unwrap().unwrap();
        made += usize::from(signed_in.is_new_user);
        users.push(signed_in.session.user_id);
    }
    users.dedup();
    assert_eq!((users.len(), made), (1, 1));
}

async fn a_session_opens_what_its_user_may_now(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    let ada = door.invite("ada@example.com").await;
    let request = door.request("1", "ada@example.com", Provisioning::Invitation);
    let session = door.enter(&request).await.unwrap().session;
    let find = async || door.catalog.find_session(&request.token_hash).await.unwrap().unwrap();
    let found = find().await;
    assert_eq!((&found.session, found.user.id, found.user.is_disabled), (&session, ada, false));
    let grant = |role, project_id| RoleGrant { role, project_id };
    let member = grant(Role::OrganizationMember, None);
    assert_eq!(found.grants, [member]);
    let here = Some(door.tenancy.project_id);
    let owns = AssignedRole::Predefined(Role::ProjectOwner);
    door.catalog.set_user_roles(ada, here, &[owns], at(11)).await.unwrap();
    assert_eq!(find().await.grants, [member, grant(Role::ProjectOwner, here)]);
    assert_eq!(door.catalog.find_session(&[0; 32]).await.unwrap(), None);

    let stray = SessionId::from_uuid(uuid());
    door.catalog.note_session_uses(&[(session.id, at(30)), (stray, at(30))]).await.unwrap();
    door.catalog.note_session_uses(&[(session.id, at(20))]).await.unwrap();
    assert_eq!(find().await.session.last_used_at, at(30));
}

async fn sessions_are_listed_ended_and_limited(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    let ada = door.invite("ada@example.com").await;
    let mut entered = Vec::new();
    for second in 0..=i64::from(SESSIONS_PER_USER_MAX) {
        let request = SignIn { now: at(second), ..door.request("1", "ada@example.com", Provisioning::Off) };
        let policy = SignInPolicy { provisioning: Provisioning::Invitation, ..request.policy.clone() };
        entered.push(door.enter(&SignIn { policy, ..request }).await.unwrap().session);
    }
    let open = async || door.catalog.open_sessions(ada).await.unwrap();
    let newest: Vec<_> = entered.iter().skip(1).rev().cloned().collect();
    assert_eq!(open().await, newest);
    assert_eq!(door.catalog.session(entered[0].id).await.unwrap(), None);

    let ended = door.catalog.end_session(entered[1].id, at(50)).await.unwrap();
    assert_eq!(ended.ended_at, Some(at(50)));
    assert_eq!(door.catalog.end_session(entered[1].id, at(60)).await.unwrap(), ended);
    let rules = SessionRules { issuer: ended.issuer.clone(), idle: chrono::TimeDelta::hours(1) };
    assert!(!ended.is_live_at(at(51), &rules) && entered[2].is_live_at(at(51), &rules));
    let unknown = door.catalog.end_session(SessionId::from_uuid(uuid()), at(50)).await.unwrap_err();
    assert_eq!(unknown.kind(), PortErrorKind::NotFound);
    assert_eq!(open().await.len(), newest.len() - 1);
    let rest = u64::try_from(newest.len()).unwrap() - 1;
    assert_eq!(door.catalog.end_sessions(ada, false, at(61)).await.unwrap(), rest);
    assert_eq!(door.catalog.end_sessions(ada, false, at(62)).await.unwrap(), 0);
    assert_eq!(open().await, []);
    // The account is still hers.
    let again = door.request("1", "elsewhere@example.com", Provisioning::Off);
    assert_eq!(door.enter(&again).await.unwrap().session.user_id, ada);
}

async fn a_disabled_user_has_no_sessions_left(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    let ada = door.invite("ada@example.com").await;
    let request = door.request("1", "ada@example.com", Provisioning::Invitation);
    door.enter(&request).await.unwrap();
    let disabled = |disabled| UserPatch { disabled: Some(disabled), ..UserPatch::default() };
    door.catalog.update_user(ada, &disabled(true), at(20)).await.unwrap();
    let again = door.request("1", "ada@example.com", Provisioning::Invitation);
    assert_eq!(door.enter(&again).await, Err(SignInRefusal::UserDisabled));
    // Enabled again, she has to sign in again.
    door.catalog.update_user(ada, &disabled(false), at(30)).await.unwrap();
    let old = door.catalog.find_session(&request.token_hash).await.unwrap().unwrap();
    assert_eq!(old.session.ended_at, Some(at(20)));
    assert!(door.enter(&again).await.is_ok());
}

async fn no_token_nor_account_secret_is_stored(home: Arc<dyn Home>) {
    let door = Door::open(&*home).await;
    door.invite("ada@example.com").await;
    let request = door.request("subject-canary", "told-canary@example.com", Provisioning::Members);
    door.enter(&request).await.unwrap();
    let moved = door.request("subject-canary", "moved-canary@example.com", Provisioning::Members);
    door.enter(&moved).await.unwrap();
    let contents = home.raw_contents().await;
    let holds = |text: &str| contents.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("subject-canary") && holds("told-canary"));
    // What the provider says later about a person is not kept.
    assert!(!holds("moved-canary"));
}
