//! Sign-ins: attempts, accounts at identity providers, sessions.

#[cfg(test)]
mod plans;

use crate::catalog::SqlCatalog;
use crate::database::{Record, Statement, Transaction};
use crate::identity::users;
use crate::model::{id, optional_time, time};
use crate::tenancy::read_grant;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::{AssignedRole, Assignment, KeyUser, Role};
use milvault_domain::identity::User;
use milvault_domain::ids::{SessionId, UserId};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult, SignInCatalog};
use milvault_domain::sign_in::{
    ATTEMPTS_MAX, Admission, Invited, SESSIONS_PER_USER_MAX, Session, SessionAccess, SignIn, SignInAttempt,
    SignInRefusal, SignedIn,
};

#[async_trait]
impl SignInCatalog for SqlCatalog {
    async fn insert_sign_in_attempt(&self, attempt: &SignInAttempt) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        transaction.execute(delete_expired_attempts(attempt.created_at)).await?;
        transaction.execute(delete_oldest_attempts(ATTEMPTS_MAX - 1)).await?;
        transaction.execute(insert_attempt(attempt)).await?;
        transaction.commit().await
    }

    async fn claim_sign_in_attempt(
        &self,
        state_hash: &[u8; 32],
        browser_hash: &[u8; 32],
        now: DateTime<Utc>,
    ) -> PortResult<Option<SignInAttempt>> {
        let mut transaction = self.begin().await?;
        let rows = transaction.query(select_attempt(state_hash, browser_hash)).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        // Of several that read the row, the one that removes it has it.
        let removed = transaction.execute(delete_attempt(state_hash)).await?;
        transaction.commit().await?;
        let attempt = read_attempt(&mut row)?;
        Ok(Some(attempt).filter(|attempt| removed == 1 && now < attempt.expires_at))
    }

    async fn sign_in(&self, sign_in: &SignIn) -> PortResult<Result<SignedIn, SignInRefusal>> {
        let mut transaction = self.begin_identity_change().await?;
        let outcome = admit(&mut *transaction, sign_in).await?;
        if outcome.is_ok() {
            transaction.commit().await?;
        }
        Ok(outcome)
    }

    async fn find_session(&self, token_hash: &[u8; 32]) -> PortResult<Option<SessionAccess>> {
        read_access(self.database.read(select_access(token_hash)).await?)
    }

    async fn session(&self, session_id: SessionId) -> PortResult<Option<Session>> {
        self.find(select(session_id), read).await
    }

    async fn open_sessions(&self, user_id: UserId) -> PortResult<Vec<Session>> {
        self.database.read(select_open(user_id)).await?.iter_mut().map(read).collect()
    }

    async fn end_session(&self, session_id: SessionId, now: DateTime<Utc>) -> PortResult<Session> {
        self.write(end(now).push(" AND id = ").bind(session_id.to_string())).await?;
        self.session(session_id).await?.ok_or_else(|| {
            PortError::new(PortErrorKind::NotFound, format!("there is no session `{session_id}`"))
        })
    }

    async fn end_sessions(
        &self,
        user_id: UserId,
        forget_accounts: bool,
        now: DateTime<Utc>,
    ) -> PortResult<u64> {
        let mut transaction = self.begin_identity_change().await?;
        let ended = transaction.execute(end_of_user(user_id, now)).await?;
        if forget_accounts {
            let forget =
                Statement::new("DELETE FROM user_accounts WHERE user_id = ").bind(user_id.to_string());
            transaction.execute(forget).await?;
        }
        transaction.commit().await?;
        Ok(ended)
    }

    async fn note_session_uses(&self, uses: &[(SessionId, DateTime<Utc>)]) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        // In the order of ids, so that two batches cannot wait for each other.
        let mut uses = uses.to_vec();
        uses.sort_unstable();
        for (session_id, used_at) in uses {
            transaction.execute(note_use(session_id, used_at)).await?;
        }
        transaction.commit().await
    }
}

/// Under the lock of changes of who may come in, so that nobody is bound twice or disabled meanwhile.
async fn admit(
    transaction: &mut dyn Transaction,
    sign_in: &SignIn,
) -> PortResult<Result<SignedIn, SignInRefusal>> {
    let SignIn { organization_id, identity, policy, .. } = sign_in;
    let bound = match transaction.query(select_bound(&identity.issuer, &identity.subject)).await?.pop() {
        Some(mut row) => find_user(transaction, users::select(id(&row.text("user_id")?)?)).await?,
        None => None,
    };
    let mut invited = None;
    if let (None, Some(email)) = (&bound, &identity.email) {
        invited = find_user(transaction, users::select_by_email(*organization_id, &email.address)).await?;
    }
    let is_bound = match &invited {
        Some(user) => !transaction.query(select_account(user.id, &identity.issuer)).await?.is_empty(),
        None => false,
    };
    let judged =
        policy.judge(identity, bound.as_ref(), invited.as_ref().map(|user| Invited { user, is_bound }));
    let admission = match judged {
        Ok(admission) => admission,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (user_id, is_new_user) = match admission {
        Admission::Enter(user_id) => (user_id, false),
        Admission::Bind(user_id) => {
            transaction.execute(insert_account(sign_in, user_id)).await?;
            (user_id, false)
        }
        Admission::Create { email } => {
            let user = new_user(sign_in, email)?;
            users::insert(transaction, &user).await?;
            transaction.execute(insert_account(sign_in, user.id)).await?;
            (user.id, true)
        }
    };
    let user = find_user(transaction, users::select(user_id)).await?;
    let user = user.ok_or_else(|| PortError::new(PortErrorKind::Internal, "a user is gone"))?;
    let session = session_of(sign_in, user_id);
    transaction.execute(delete_over(user_id, sign_in.now)).await?;
    transaction.execute(delete_oldest(user_id, SESSIONS_PER_USER_MAX - 1)).await?;
    transaction.execute(insert(&session, &sign_in.token_hash)).await?;
    Ok(Ok(SignedIn { session, user_name: user.name, is_new_user }))
}

async fn find_user(transaction: &mut dyn Transaction, statement: Statement) -> PortResult<Option<User>> {
    Ok(users::read_all(transaction.query(statement).await?)?.into_iter().next())
}

fn new_user(sign_in: &SignIn, email: String) -> PortResult<User> {
    let member = AssignedRole::Predefined(Role::OrganizationMember);
    let user = User {
        id: sign_in.new_user_id,
        organization_id: sign_in.organization_id,
        name: sign_in.identity.user_name(&email),
        email,
        disabled_at: None,
        created_at: sign_in.now,
        assignments: vec![Assignment { role: member, project_id: None }],
    };
    user.validate().map_err(|error| PortError::new(PortErrorKind::InvalidInput, error.to_string()))?;
    Ok(user)
}

fn session_of(sign_in: &SignIn, user_id: UserId) -> Session {
    Session {
        id: sign_in.session_id,
        organization_id: sign_in.organization_id,
        user_id,
        issuer: sign_in.identity.issuer.clone(),
        created_at: sign_in.now,
        last_used_at: sign_in.now,
        expires_at: sign_in.expires_at,
        ended_at: None,
        remote_address: sign_in.remote_address.clone(),
        user_agent: sign_in.user_agent.clone(),
    }
}

fn insert_attempt(attempt: &SignInAttempt) -> Statement {
    Statement::insert(
        "sign_in_attempts",
        [
            ("state_hash", attempt.state_hash.as_slice().into()),
            ("browser_hash", attempt.browser_hash.as_slice().into()),
            ("return_to", attempt.return_to.as_str().into()),
            ("created_at_us", attempt.created_at.timestamp_micros().into()),
            ("expires_at_us", attempt.expires_at.timestamp_micros().into()),
        ],
    )
}

pub(crate) fn delete_expired_attempts(now: DateTime<Utc>) -> Statement {
    Statement::new("DELETE FROM sign_in_attempts WHERE expires_at_us <= ").bind(now.timestamp_micros())
}

/// Leaves so many of the youngest.
pub(crate) fn delete_oldest_attempts(kept: u32) -> Statement {
    Statement::new(
        "DELETE FROM sign_in_attempts WHERE state_hash IN (SELECT state_hash FROM sign_in_attempts \
         ORDER BY expires_at_us DESC, state_hash DESC LIMIT 1000 OFFSET ",
    )
    .bind(i64::from(kept))
    .push(")")
}

pub(crate) fn select_attempt(state_hash: &[u8; 32], browser_hash: &[u8; 32]) -> Statement {
    Statement::new("SELECT * FROM sign_in_attempts WHERE state_hash = ")
        .bind(state_hash.as_slice())
        .push(" AND browser_hash = ")
        .bind(browser_hash.as_slice())
}

fn delete_attempt(state_hash: &[u8; 32]) -> Statement {
    Statement::new("DELETE FROM sign_in_attempts WHERE state_hash = ").bind(state_hash.as_slice())
}

fn read_attempt(row: &mut Record) -> PortResult<SignInAttempt> {
    Ok(SignInAttempt {
        state_hash: row.hash("state_hash")?,
        browser_hash: row.hash("browser_hash")?,
        return_to: row.text("return_to")?,
        created_at: time(row.integer("created_at_us")?)?,
        expires_at: time(row.integer("expires_at_us")?)?,
    })
}

/// The user whom an account of a provider is bound to.
pub(crate) fn select_bound(issuer: &str, subject: &str) -> Statement {
    Statement::new("SELECT user_id FROM user_accounts WHERE issuer = ")
        .bind(issuer)
        .push(" AND subject = ")
        .bind(subject)
}

/// The account of a provider that a user is bound to.
pub(crate) fn select_account(user_id: UserId, issuer: &str) -> Statement {
    Statement::new("SELECT subject FROM user_accounts WHERE user_id = ")
        .bind(user_id.to_string())
        .push(" AND issuer = ")
        .bind(issuer)
}

fn insert_account(sign_in: &SignIn, user_id: UserId) -> Statement {
    Statement::insert(
        "user_accounts",
        [
            ("issuer", sign_in.identity.issuer.as_str().into()),
            ("subject", sign_in.identity.subject.as_str().into()),
            ("user_id", user_id.to_string().into()),
            ("bound_at_us", sign_in.now.timestamp_micros().into()),
        ],
    )
}

fn insert(session: &Session, token_hash: &[u8; 32]) -> Statement {
    Statement::insert(
        "sessions",
        [
            ("id", session.id.to_string().into()),
            ("organization_id", session.organization_id.to_string().into()),
            ("user_id", session.user_id.to_string().into()),
            ("issuer", session.issuer.as_str().into()),
            ("token_hash", token_hash.as_slice().into()),
            ("created_at_us", session.created_at.timestamp_micros().into()),
            ("last_used_at_us", session.last_used_at.timestamp_micros().into()),
            ("expires_at_us", session.expires_at.timestamp_micros().into()),
            ("remote_address", session.remote_address.clone().into()),
            ("user_agent", session.user_agent.clone().into()),
        ],
    )
}

/// Removes sessions of a user that are over.
pub(crate) fn delete_over(user_id: UserId, now: DateTime<Utc>) -> Statement {
    Statement::new("DELETE FROM sessions WHERE user_id = ")
        .bind(user_id.to_string())
        .push(" AND (ended_at_us IS NOT NULL OR expires_at_us <= ")
        .bind(now.timestamp_micros())
        .push(")")
}

/// Leaves so many of the youngest.
pub(crate) fn delete_oldest(user_id: UserId, kept: u32) -> Statement {
    Statement::new("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ")
        .bind(user_id.to_string())
        .push(" ORDER BY created_at_us DESC, id DESC LIMIT 1000 OFFSET ")
        .bind(i64::from(kept))
        .push(")")
}

fn end(now: DateTime<Utc>) -> Statement {
    Statement::update("sessions", [("ended_at_us", now.timestamp_micros().into())])
        .push("ended_at_us IS NULL")
}

/// Ends the sessions of a user.
pub(crate) fn end_of_user(user_id: UserId, now: DateTime<Utc>) -> Statement {
    end(now).push(" AND user_id = ").bind(user_id.to_string())
}

/// The latest use stays, whatever the order of batches.
pub(crate) fn note_use(session_id: SessionId, used_at: DateTime<Utc>) -> Statement {
    let used_at = used_at.timestamp_micros();
    Statement::update("sessions", [("last_used_at_us", used_at.into())])
        .push("id = ")
        .bind(session_id.to_string())
        .push(" AND last_used_at_us < ")
        .bind(used_at)
}

pub(crate) fn select(session_id: SessionId) -> Statement {
    Statement::new("SELECT * FROM sessions WHERE id = ").bind(session_id.to_string())
}

pub(crate) fn select_open(user_id: UserId) -> Statement {
    Statement::new("SELECT * FROM sessions WHERE user_id = ")
        .bind(user_id.to_string())
        .push(" AND ended_at_us IS NULL ORDER BY created_at_us DESC, id DESC LIMIT ")
        .bind(i64::from(SESSIONS_PER_USER_MAX))
}

/// One row per role, and one with nulls for a user without any: read in one statement, so that session, user, roles and
/// custom roles fit.
pub(crate) fn select_access(token_hash: &[u8; 32]) -> Statement {
    Statement::new(
        "SELECT sessions.*, users.name AS user_name, users.disabled_at_us, grants.role, grants.project_id, \
         grants.ordinal, custom_roles.privileges \
         FROM sessions JOIN users ON users.id = sessions.user_id \
         LEFT JOIN user_grants AS grants ON grants.user_id = sessions.user_id \
         LEFT JOIN custom_roles ON custom_roles.id = grants.custom_role_id \
         WHERE sessions.token_hash = ",
    )
    .bind(token_hash.as_slice())
}

fn read_access(rows: Vec<Record>) -> PortResult<Option<SessionAccess>> {
    let mut access: Option<SessionAccess> = None;
    let mut grants = Vec::new();
    for mut row in rows {
        if let Some(grant) = read_grant(&mut row)? {
            grants.push((row.integer("ordinal")?, grant));
        }
        if access.is_none() {
            let name = row.text("user_name")?;
            let is_disabled = row.optional_integer("disabled_at_us")?.is_some();
            let session = read(&mut row)?;
            let user = KeyUser { id: session.user_id, name, is_disabled };
            access = Some(SessionAccess { session, user, grants: Vec::new() });
        }
    }
    grants.sort_by_key(|(ordinal, _)| *ordinal);
    if let Some(access) = &mut access {
        access.grants = grants.into_iter().map(|(_, grant)| grant).collect();
    }
    Ok(access)
}

fn read(row: &mut Record) -> PortResult<Session> {
    Ok(Session {
        id: id(&row.text("id")?)?,
        organization_id: id(&row.text("organization_id")?)?,
        user_id: id(&row.text("user_id")?)?,
        issuer: row.text("issuer")?,
        created_at: time(row.integer("created_at_us")?)?,
        last_used_at: time(row.integer("last_used_at_us")?)?,
        expires_at: time(row.integer("expires_at_us")?)?,
        ended_at: optional_time(row.optional_integer("ended_at_us")?)?,
        remote_address: row.optional_text("remote_address")?,
        user_agent: row.optional_text("user_agent")?,
    })
}
