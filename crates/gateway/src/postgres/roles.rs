//! Roles that are made at a target for one session each: by the gateway, with a credential that makes roles and does nothing else, or by a vault.
//!
//! A role is written down in the state store before it is made, and forgotten when it is known to be gone: what a killed gateway left is found there, and
//! nothing that is not written there is ever dropped. One way leads to a role's end, whatever the session's was: [`Roles::watch`] looks for those whose
//! session does not live. A role's password is random, is known to nobody else, and crosses no link: the target gets what it would have kept of it.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use jiff::SignedDuration;
use model::{
    Connection, ConnectionName, Secret, SessionId, Timestamp,
    connection::{JustInTime, Maker, TargetLogin},
};
use protocol::postgres::login::scram;
use session::{Admission, Guard};
use store::{State, StoreError, secrets::SourceError, state::TargetRole};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use super::questions::{AskFailed, Question, Questions};
use crate::dial::{self, Credential, DialError, Wish};

/// How long a target may take to make a role, its login included.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long it may take to drop what ended together.
const DROPPING: Duration = Duration::from_secs(60);

/// How often it is looked whether a role is left, beside every end of a session.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long a role is left alone that could not be dropped.
const REST: Duration = Duration::from_secs(30);

/// How old a role must be that is not there, until it counts as gone: what was sent to make it may be under way still.
const SETTLED_S: i64 = 300;

/// How long a role may sign in whose session has no end of its own, in seconds. It signs in once, at once; what holds after that is the session.
const VALID_S: i64 = 86_400;

/// As PostgreSQL's default. <https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-SCRAM-ITERATIONS>
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4_095);

/// The first version in which whoever makes roles has power over those only, and membership without inheritance can be granted.
const SCOPED_SINCE: u32 = 16;

/// What every transaction of this file begins with.
const BEGINNING: [&str; 5] = [
    "BEGIN",
    "SET LOCAL statement_timeout = '10s'",
    "SET LOCAL lock_timeout = '5s'",
    "SET LOCAL search_path = pg_catalog",
    "SET LOCAL standard_conforming_strings = on",
];

/// Why a session gets no role. For operators; callers are told less.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoleError {
    /// What is not written down is not made.
    #[error("the state store cannot be reached: {0}")]
    State(#[from] StoreError),
    /// The credential that makes roles does not get in.
    #[error("as the role that makes roles: {0}")]
    Admin(#[from] DialError),
    /// The vault does not make it.
    #[error(transparent)]
    Vault(#[from] SourceError),
    /// The target does not make it.
    #[error("{0}")]
    Refused(String),
    /// It is not known whether the target made it.
    #[error("the target did not say whether it made the role: {0}")]
    Unknown(String),
}

/// A role that was made for one session.
#[derive(Debug)]
pub(crate) struct MadeRole {
    pub(crate) name: String,
    pub(crate) password: Secret,
    /// What ends it.
    pub(crate) place: RolePlace,
}

/// As long as this is there, so is the role.
#[derive(Debug)]
pub(crate) struct RolePlace {
    roles: Arc<Roles>,
    session: SessionId,
}

impl Drop for RolePlace {
    fn drop(&mut self) {
        lock(&self.roles.ended).insert(self.session);
        self.roles.wake.notify_one();
    }
}

/// The roles of this process's sessions, and what earlier processes left.
#[derive(Debug)]
pub(crate) struct Roles {
    guard: Arc<Guard>,
    /// Sessions whose role is needed no more, though they may be listed as live for another moment.
    ended: Mutex<HashSet<SessionId>>,
    wake: Notify,
    settled: Notify,
    /// Connections of which operators were told what their target's version or their admin's rights mean.
    told: Mutex<HashSet<ConnectionName>>,
}

/// Where roles are dropped one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    /// Over one link to a database.
    Target { host: String, port: u16, database: String },
    /// By the vault that made them.
    Vault,
}

/// What was done at a place.
struct Done {
    place: Place,
    /// Names of the roles that are still there, as far as is known.
    left: Vec<String>,
}

impl Roles {
    pub(crate) fn new(guard: Arc<Guard>) -> Arc<Self> {
        Arc::new(Self { guard, ended: Mutex::default(), wake: Notify::new(), settled: Notify::new(), told: Mutex::default() })
    }

    /// Makes the role of an admitted session.
    ///
    /// # Errors
    /// It was not made, or it is not known whether it was; then it is dropped as soon as it is found.
    pub(crate) async fn make(self: &Arc<Self>, admission: &Admission, jit: &JustInTime) -> Result<MadeRole, RoleError> {
        match &jit.maker {
            Maker::Admin { login, prefix } => self.make_as(admission, jit, login, prefix).await,
            Maker::Vault(path) => self.lease(admission, jit, path).await,
        }
    }

    async fn make_as(self: &Arc<Self>, admission: &Admission, jit: &JustInTime, admin: &TargetLogin, prefix: &str) -> Result<MadeRole, RoleError> {
        let (connection, session, now) = (admission.connection(), admission.session(), Timestamp::now());
        let row = row(admission, jit, format!("{prefix}{session}"), None, now);
        // From here on its end is looked after, whatever becomes of this future.
        let place = RolePlace { roles: self.clone(), session };
        self.state().add_target_role(&row).await?;
        let password = password()?;
        // Begun seconds count: the session itself ends in time.
        let left_s = admission.ends_at().map_or(VALID_S, |end| end.duration_since(now).as_secs().saturating_add(1).clamp(1, VALID_S));
        let comment = comment(session, &admission.chain().to_string());
        let new = New { name: &row.name, verifier: verifier(&password)?, acts_as: &jit.acts_as, comment, left_s };
        let made = tokio::time::timeout(PATIENCE, self.create(connection, admin, admission.database(), &new)).await;
        match made.unwrap_or_else(|_| Err(RoleError::Unknown(format!("no answer within {} seconds", PATIENCE.as_secs())))) {
            Ok(()) => Ok(MadeRole { name: row.name, password, place }),
            Err(error) => {
                if !matches!(error, RoleError::Unknown(_))
                    && let Err(error) = self.state().remove_target_role(&row.name).await
                {
                    tracing::warn!(%error, role = row.name, "a role that was not made could not be forgotten yet");
                }
                Err(error)
            }
        }
    }

    /// Has it made by the vault. The session ends with it: what the vault ends is not to be found out by a statement that fails.
    async fn lease(self: &Arc<Self>, admission: &Admission, jit: &JustInTime, path: &str) -> Result<MadeRole, RoleError> {
        let now = Timestamp::now();
        let vault = self.guard.store().secrets().vault()?;
        let leased = vault.lease(path).await.map_err(SourceError::from)?;
        let place = RolePlace { roles: self.clone(), session: admission.session() };
        let row = row(admission, jit, leased.user.clone(), Some(leased.lease), now);
        if let Err(error) = self.state().add_target_role(&row).await {
            if let Err(error) = vault.revoke(row.lease.as_deref().unwrap_or_default()).await {
                tracing::warn!(%error, role = row.name, "a role that could not be written down ends with its lease");
            }
            return Err(error.into());
        }
        if let Ok(end) = now.checked_add(SignedDuration::from_secs(i64::try_from(leased.valid_s).unwrap_or(i64::MAX))) {
            admission.end_by(end);
        }
        Ok(MadeRole { name: leased.user, password: leased.password, place })
    }

    fn state(&self) -> &State {
        self.guard.store().state()
    }

    async fn create(&self, connection: &Connection, admin: &TargetLogin, database: &str, new: &New<'_>) -> Result<(), RoleError> {
        let (mut questions, version) = self.open(connection, admin, database).await?;
        let standing = format!(
            "SELECT (SELECT r.rolsuper::text FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), \
             (SELECT r.rolsuper::text FROM pg_catalog.pg_roles r WHERE r.rolname = {}), \
             to_char((clock_timestamp() + '{} s'::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' UTC'",
            literal(new.acts_as),
            new.left_s
        );
        let asked: Vec<Question<'_>> = BEGINNING.into_iter().chain([standing.as_str()]).map(Question::Once).collect();
        let answers = questions.ask(&asked).await.map_err(unmade)?;
        let row = answers.last().and_then(|rows| rows.first()).map(Vec::as_slice);
        let Some([admin_is_super, owner_is_super, Some(until)]) = row else { return Err(RoleError::Unknown("it did not answer".to_owned())) };
        match owner_is_super.as_deref() {
            None => return Err(RoleError::Refused(format!("there is no role {} there for sessions to act as", model::name::printable(new.acts_as)))),
            Some("true") => {
                let owner = model::name::printable(new.acts_as);
                return Err(RoleError::Refused(format!("{owner} is a superuser there: sessions act as a role that is none")));
            }
            Some(_) => {}
        }
        self.tell(connection, version, admin_is_super.as_deref() == Some("true"));
        let statements = new.statements(version, until);
        let asked: Vec<Question<'_>> = statements.iter().map(|text| Question::Once(text)).collect();
        questions.ask(&asked).await.map_err(unmade)?;
        questions.end().await;
        Ok(())
    }

    /// A link as the one who makes roles, and the target's major version.
    async fn open(&self, connection: &Connection, admin: &TargetLogin, database: &str) -> Result<(Questions, u32), DialError> {
        let credential = Credential::Standing(admin);
        let wish = Wish { connection, credential, database, application_name: "countersign roles".to_owned(), parameters: Vec::new() };
        let dialled = dial::dial(self.guard.store(), wish).await?;
        let version = dialled.ready.parameters.iter().find(|(name, _)| name == b"server_version");
        let version = version.and_then(|(_, version)| String::from_utf8_lossy(version).split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        Ok((Questions::of(dialled), version.unwrap_or(0)))
    }

    /// Says once for each connection what more its admin can do than it should.
    fn tell(&self, connection: &Connection, version: u32, admin_is_super: bool) {
        if !lock(&self.told).insert(connection.name.clone()) {
            return;
        }
        if admin_is_super {
            tracing::warn!(connection = %connection.name, "[jit] admin is a superuser at the target: CREATEROLE is all it needs");
        } else if version < SCOPED_SINCE {
            tracing::warn!(
                connection = %connection.name, version,
                "before PostgreSQL 16 whoever has CREATEROLE can change every role there that is no superuser, and become it: \
                 docs/just-in-time-credentials.md says what to use instead"
            );
        }
    }

    /// Drops roles whose session does not live, until it is dropped itself.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut at_work = JoinSet::new();
        let (mut busy, mut resting) = (HashSet::<Place>::new(), HashMap::<String, Instant>::new());
        loop {
            resting.retain(|_, until| *until > Instant::now());
            for (place, mut roles) in self.due().await {
                roles.retain(|role| !resting.contains_key(&role.name));
                if !roles.is_empty() && !busy.contains(&place) {
                    busy.insert(place.clone());
                    let this = self.clone();
                    at_work.spawn(async move { this.drop_at(place, roles).await });
                }
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
                Some(done) = at_work.join_next() => match done {
                    Ok(Done { place, left }) => {
                        busy.remove(&place);
                        resting.extend(left.into_iter().map(|name| (name, Instant::now() + REST)));
                        self.settled.notify_one();
                    }
                    // It panicked, and with it went the name of its place.
                    Err(_) => busy.clear(),
                },
            }
        }
    }

    /// Waits until what can be dropped is, or time is up. For the end of the process, beside [`watch`](Self::watch).
    pub(crate) async fn finish(&self, within: Duration) {
        let all = async {
            while self.due().await.values().flatten().any(|role| role.failure.is_none()) {
                self.wake.notify_one();
                self.settled.notified().await;
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("roles of ended sessions are left at targets: they are dropped at the next start");
        }
    }

    /// The roles whose session does not live, by where they are.
    async fn due(&self) -> HashMap<Place, Vec<TargetRole>> {
        let known: Vec<SessionId> = lock(&self.ended).iter().copied().collect();
        let roles = match self.state().target_roles().await {
            Ok(roles) => roles,
            Err(error) => {
                tracing::debug!(%error, "it is not known which roles are left at targets");
                return HashMap::new();
            }
        };
        let mut ended = lock(&self.ended);
        for session in known {
            if !roles.iter().any(|role| role.session == session) {
                ended.remove(&session);
            }
        }
        let mut due = HashMap::<Place, Vec<TargetRole>>::new();
        for role in roles {
            if ended.contains(&role.session) || self.guard.live().get(role.session).is_none() {
                let place = match role.lease {
                    Some(_) => Place::Vault,
                    None => Place::Target { host: role.host.clone(), port: role.port, database: role.database.clone() },
                };
                due.entry(place).or_default().push(role);
            }
        }
        due
    }

    async fn drop_at(&self, place: Place, mut roles: Vec<TargetRole>) -> Done {
        let dropping = async {
            match &place {
                Place::Target { host, port, database } => self.drop_all(host, *port, database, &mut roles).await,
                Place::Vault => self.revoke_all(&mut roles).await,
            }
        };
        let dropped = tokio::time::timeout(DROPPING, dropping).await;
        let failed = dropped.unwrap_or_else(|_| Err(format!("there was no answer within {} seconds", DROPPING.as_secs())));
        if let Err(why) = failed {
            for role in &roles {
                self.note(role, &why).await;
            }
        }
        Done { place, left: roles.into_iter().map(|role| role.name).collect() }
    }

    /// One after the other over one link; those that are gone are taken out. An error is about all that are left.
    async fn drop_all(&self, host: &str, port: u16, database: &str, roles: &mut Vec<TargetRole>) -> Result<(), String> {
        let version = self.guard.version();
        let there = |connection: &&Arc<Connection>| connection.host == host && connection.port == port && admin_of(connection).is_some();
        let named = roles.first().and_then(|role| version.connections.get(&role.connection)).filter(there);
        let found = named.or_else(|| version.connections.values().find(there)).and_then(|connection| Some((connection, admin_of(connection)?)));
        let (connection, admin) = found.ok_or_else(|| format!("no connection that makes roles leads to {host}:{port} any more"))?;
        let (mut questions, version) = match self.open(connection, admin, database).await {
            // The database is gone, and with it all that was in it.
            Err(error) if error.for_the_caller().is_some_and(|reported| reported.sqlstate == "3D000") => {
                self.open(connection, admin, &connection.database).await.map_err(|error| error.to_string())?
            }
            opened => opened.map_err(|error| error.to_string())?,
        };
        for role in std::mem::take(roles) {
            let dropped = drop_role(&mut questions, version, &role).await;
            let Ok(Dropped::Gone) = dropped else {
                roles.push(role);
                match dropped {
                    Err(error) if error.sqlstate.is_none() => return Err(error.message),
                    Err(error) => {
                        if let Some(role) = roles.last() {
                            self.note(role, &error.message).await
                        }
                    }
                    Ok(_) => {}
                }
                continue;
            };
            self.forget(&role).await;
        }
        questions.end().await;
        Ok(())
    }

    /// As [`drop_all`](Self::drop_all) at the vault.
    async fn revoke_all(&self, roles: &mut Vec<TargetRole>) -> Result<(), String> {
        let vault = self.guard.store().secrets().vault().map_err(|error| error.to_string())?;
        while let Some(role) = roles.last() {
            vault.revoke(role.lease.as_deref().unwrap_or_default()).await.map_err(|error| error.to_string())?;
            self.forget(role).await;
            roles.pop();
        }
        Ok(())
    }

    async fn forget(&self, role: &TargetRole) {
        match self.state().remove_target_role(&role.name).await {
            Ok(()) => tracing::debug!(role = role.name, session = %role.session, "a session's role was dropped"),
            Err(error) => tracing::warn!(%error, role = role.name, "a role was dropped and could not be forgotten yet"),
        }
    }

    /// Says once why a role is left.
    async fn note(&self, role: &TargetRole, why: &str) {
        if role.failure.as_deref() == Some(why) {
            return;
        }
        tracing::error!(connection = %role.connection, role = role.name, session = %role.session, why, "the role of an ended session could not be dropped yet");
        if let Err(error) = self.state().note_target_role(&role.name, why).await {
            tracing::warn!(%error, role = role.name, "why a role is left could not be written down");
        }
    }
}

fn row(admission: &Admission, jit: &JustInTime, name: String, lease: Option<String>, now: Timestamp) -> TargetRole {
    let connection = admission.connection();
    TargetRole {
        name,
        session: admission.session(),
        connection: connection.name.clone(),
        host: connection.host.clone(),
        port: connection.port,
        database: admission.database().to_owned(),
        acts_as: jit.acts_as.clone(),
        lease,
        made_at: now,
        failure: None,
    }
}

fn admin_of(connection: &Connection) -> Option<&TargetLogin> {
    match &connection.jit.as_ref()?.maker {
        Maker::Admin { login, .. } => Some(login),
        Maker::Vault(_) => None,
    }
}

/// A role to be made.
struct New<'a> {
    name: &'a str,
    verifier: String,
    acts_as: &'a str,
    comment: String,
    left_s: i64,
}

impl New<'_> {
    /// What makes it, to the end of the transaction. Inside it has no rights of its own, and those of the role it acts as only after SET ROLE.
    fn statements(&self, version: u32, until: &str) -> [String; 5] {
        let (name, owner) = (identifier(self.name), identifier(self.acts_as));
        let [acting, dropping] = if version < SCOPED_SINCE {
            ["", ""]
        } else {
            [" WITH ADMIN FALSE, INHERIT FALSE, SET TRUE", " WITH ADMIN FALSE, INHERIT TRUE, SET FALSE"]
        };
        [
            format!(
                "CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT CONNECTION LIMIT 1 \
                 PASSWORD {} VALID UNTIL {}",
                literal(&self.verifier),
                literal(until)
            ),
            format!("GRANT {owner} TO {name}{acting}"),
            // Who made it may end its backends and take over what it owns only as its member.
            format!("GRANT {name} TO CURRENT_USER{dropping}"),
            format!("COMMENT ON ROLE {name} IS {}", literal(&self.comment)),
            "COMMIT".to_owned(),
        ]
    }
}

/// What became of a role.
enum Dropped {
    /// It is not there any more.
    Gone,
    /// It is not there yet, and may come.
    Unsettled,
}

async fn drop_role(questions: &mut Questions, version: u32, role: &TargetRole) -> Result<Dropped, AskFailed> {
    let can_act = if version < SCOPED_SINCE {
        "pg_catalog.pg_has_role(o.oid, 'USAGE')"
    } else {
        "(pg_catalog.pg_has_role(o.oid, 'USAGE') AND pg_catalog.pg_has_role(o.oid, 'SET'))"
    };
    let found = questions
        .ask_one(format!(
            "SELECT r.oid::pg_catalog.text, pg_catalog.shobj_description(r.oid, 'pg_authid'), \
             (SELECT {can_act}::pg_catalog.text FROM pg_catalog.pg_roles o WHERE o.rolname OPERATOR(pg_catalog.=) {}) \
             FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) {}",
            literal(&role.acts_as),
            literal(&role.name)
        ))
        .await?;
    let Some(found) = found.into_iter().next() else {
        let settled = Timestamp::now().duration_since(role.made_at).as_secs() >= SETTLED_S;
        return Ok(if settled { Dropped::Gone } else { Dropped::Unsettled });
    };
    let [Some(oid), comment, can_act] = found.as_slice() else { return Err(AskFailed::lost("it did not answer what was asked")) };
    if !comment.as_deref().is_some_and(|comment| comment.starts_with(&self::comment(role.session, ""))) {
        return Err(AskFailed::refused("there is a role of that name that this gateway did not make: it is left alone"));
    }
    let name = identifier(&role.name);
    questions.ask_one(format!("ALTER ROLE {name} NOLOGIN")).await?;
    let end = format!(
        "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid"
    );
    questions.ask_one(end).await?;
    let dropped = questions.ask_one(format!("DROP ROLE {name}")).await;
    match dropped {
        Ok(_) => Ok(Dropped::Gone),
        // It owns something, or was granted something: it left the role it was to act as.
        Err(error) if error.sqlstate.as_deref() == Some(DEPENDENT) => {
            let statements = take_over(&name, &identifier(&role.acts_as), can_act.as_deref() == Some("true"), version);
            let asked: Vec<Question<'_>> = statements.iter().map(|text| Question::Once(text)).collect();
            let taken = questions.ask(&asked).await;
            if taken.is_err() {
                // The link is used for the next one.
                questions.ask_one("ROLLBACK".to_owned()).await?;
            }
            taken.map(|_| Dropped::Gone)
        }
        Err(error) => Err(error),
    }
}

/// `dependent_objects_still_exist`.
const DEPENDENT: &str = "2BP01";

/// What a role owns goes to the one it acted as, what it was granted goes away, and so does it. All of it or nothing.
fn take_over(name: &str, owner: &str, can_act: bool, version: u32) -> Vec<String> {
    let option = if version < SCOPED_SINCE { "" } else { " WITH ADMIN FALSE, INHERIT TRUE, SET TRUE" };
    let mut statements: Vec<String> = BEGINNING.map(str::to_owned).to_vec();
    if !can_act {
        statements.push(format!("GRANT {owner} TO CURRENT_USER{option}"));
    }
    statements.push(format!("REASSIGN OWNED BY {name} TO {owner}"));
    statements.push(format!("DROP OWNED BY {name}"));
    if !can_act {
        statements.push(format!("REVOKE {owner} FROM CURRENT_USER"));
    }
    statements.push(format!("DROP ROLE {name}"));
    statements.push("COMMIT".to_owned());
    statements
}

/// What the target shows of a role, and what tells it from one of somebody else's.
fn comment(session: SessionId, who: &str) -> String {
    let mut comment = format!("countersign session {session} of ");
    let _ = write!(comment, "{}", model::name::printable(who));
    comment
}

/// The target said no: then there is no role.
fn unmade(failed: AskFailed) -> RoleError {
    match &failed.sqlstate {
        Some(code) => RoleError::Refused(format!("{} (SQLSTATE {code})", failed.message)),
        None => RoleError::Unknown(failed.message),
    }
}

fn password() -> Result<Secret, DialError> {
    let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| no_randomness())?;
    Ok(Secret::from(STANDARD_NO_PAD.encode(bytes.as_slice())))
}

fn verifier(password: &Secret) -> Result<String, DialError> {
    let mut salt = [0u8; 16];
    rand::fill(&mut salt).map_err(|_| no_randomness())?;
    Ok(scram::verifier(password.reveal(), &salt, ITERATIONS))
}

fn no_randomness() -> DialError {
    DialError::Secret("the system gives no randomness".to_owned())
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where `standard_conforming_strings` is not known to be on, this holds no backslash: names of roles that hold one are refused in `connections`.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
