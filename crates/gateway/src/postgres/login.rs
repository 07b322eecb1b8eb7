//! From an accepted stream to a session that may begin: the caller's login, admission, the target's login, and what the caller is told of it.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use model::{
    Connection, ConnectionName, Timestamp,
    connection::{JustInTime, Protocol},
    name::printable,
};
use protocol::{
    Side,
    postgres::{
        dialogue::{Dialogue, Limits, Settings},
        login::{
            caller::{CallerLogin, CallerMove, Peer, SignIn, TlsOffer},
            startup::Parameter,
            target::TargetReady,
        },
        message::backend::{self, Transaction},
        refusal::{self, Refusal, Sqlstate},
    },
};
use session::{
    Admission, NotAdmitted, Opening, Session, Wanted, admit,
    sign_in::{SignInFor, SignInRefused, TokenRefused},
    trace::Span,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{
    cancel::{CancelPlace, TargetCancel},
    pump::Pump,
    roles::{MadeRole, RoleError, RolePlace},
    signals::Signals,
};
use crate::{
    dial::{self, Credential, DialError, Dialled, Wish},
    link::{Ahead, Link, Wire},
    listen::{Shared, Stop},
};

/// Bytes read at once during a login: the longest startup packet and password fit without a reallocation that would leave a copy.
const LOGIN_ROOM_BYTES: usize = 16 << 10;

/// Logs a caller in and its target for it. None when there is nothing to carry on with; the caller was told what it may know.
pub(crate) async fn log_in(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Option<Box<Pump>> {
    let Greeted { mut wire, sign_in, ahead } = greet(shared, stream, peer).await?;
    let mut span = shared.guard.traces().begin("login");
    span.note("client.address", peer.ip());
    match open(shared, *sign_in, peer, &span).await {
        Ok((opened, greeting)) => {
            wire.push(greeting);
            Some(opened.pump(wire, &ahead, shared))
        }
        Err(refusal) => {
            span.note("db.response.status_code", refusal.sqlstate());
            span.fail();
            let mut out = BytesMut::new();
            refusal.fatal(&mut out);
            wire.push(out.freeze());
            let _ = wire.finish().await;
            None
        }
    }
}

/// A caller who has said all that a sign-in needs.
struct Greeted {
    wire: Wire,
    sign_in: Box<SignIn>,
    /// What it said after its secret without waiting for an answer: in a buffer of its own, for the secret's is to be gone.
    ahead: BytesMut,
}

/// The caller's side up to the secret. Cancel requests are carried out here.
async fn greet(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Option<Greeted> {
    let from = if dial::is_loopback(&peer) { Peer::Loopback } else { Peer::Remote };
    let offer = if shared.tls.is_some() { TlsOffer::Offered } else { TlsOffer::Unavailable };
    let mut login = CallerLogin::new(from, offer);
    let mut wire = Wire::new(Link::Tcp(Ahead::new(BytesMut::new(), stream)));
    let (mut input, mut out) = (BytesMut::with_capacity(LOGIN_ROOM_BYTES), BytesMut::new());
    let (mut next, mut taken) = (CallerMove::Read, false);
    loop {
        wire.push(out.split().freeze());
        wire.drain().await.ok()?;
        next = match next {
            CallerMove::Read => {
                // What arrived together with the last packet is looked at before more is waited for.
                if (!taken || input.is_empty()) && wire.fill(&mut input, LOGIN_ROOM_BYTES).await.ok()? == 0 {
                    return None;
                }
                let before = input.len();
                let next = login.receive(&mut input, &mut out);
                taken = input.len() < before;
                next
            }
            CallerMove::StartTls => {
                let alpn;
                (wire, alpn) = start_tls(shared, wire, std::mem::take(&mut input)).await?;
                input = BytesMut::with_capacity(LOGIN_ROOM_BYTES);
                login.secured(alpn.as_deref(), &mut out)
            }
            CallerMove::Cancel(request) => {
                shared.cancels.request(&request, peer.ip()).await;
                let _ = wire.finish().await;
                return None;
            }
            CallerMove::SignIn(sign_in) => return Some(Greeted { wire, sign_in, ahead: input.as_ref().into() }),
            CallerMove::Refused(refusal) => {
                tracing::debug!(%peer, refusal = refusal.message(), "a login was refused");
                let _ = wire.finish().await;
                return None;
            }
            CallerMove::Close(why) => {
                tracing::debug!(%peer, why, "a connection was closed before it signed in");
                return None;
            }
        };
    }
}

async fn start_tls(shared: &Shared, wire: Wire, read: BytesMut) -> Option<(Wire, Option<Vec<u8>>)> {
    let (Link::Tcp(ahead), Some(tls)) = (wire.into_link(), &shared.tls) else { return None };
    let stream = TlsAcceptor::from(tls.0.clone()).accept(ahead.with_read(read)).await.ok()?;
    let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Some((Wire::new(Link::Caller(Box::new(stream))), alpn))
}

/// Everything a pump needs but the caller's wire.
struct Opened {
    session: Session,
    target: Dialled,
    dialogue: Dialogue<session::Permit>,
    cancels: CancelPlace,
    cancel: Option<TargetCancel>,
    role: Option<RolePlace>,
}

impl Opened {
    fn pump(mut self, caller: Wire, ahead: &[u8], shared: &Shared) -> Box<Pump> {
        self.dialogue.input(Side::Caller).extend_from_slice(ahead);
        let signals = Signals::new(&self.session, self.cancels, shared.stop.clone());
        Box::new(Pump::new(self.session, self.dialogue, caller, self.target, signals, self.cancel, self.role))
    }
}

/// Signs in, admits, dials; hands back the session and the caller's greeting.
async fn open(shared: &Arc<Shared>, sign_in: SignIn, peer: SocketAddr, span: &Span) -> Result<(Opened, Bytes), Refusal> {
    let now = Timestamp::now();
    if *shared.stop.borrow() != Stop::No {
        return Err(Refusal::new(Sqlstate::CANNOT_CONNECT_NOW, "the gateway is stopping"));
    }
    let SignIn { startup, secret } = sign_in;
    // A name no connection can have opens nothing; signing in for it costs and tells the same as for any other.
    let name = startup.connection.parse::<ConnectionName>().or_else(|_| "unknown".parse()).map_err(|_| Refusal::wrong_password(&startup.user))?;
    let signing_in = shared.guard.sign_in(&startup.user, &secret, SignInFor::Connection(&name), peer.ip(), now);
    let signed_in = span.child("sign_in").over(signing_in.await);
    drop(secret);
    let signed_in = signed_in.map_err(|refused| not_signed_in(&startup.user, &refused, peer))?;
    let from = peer.to_string();
    let wanted = Wanted { connection: &startup.connection, database: startup.database.as_deref(), peer: &from };
    let mut admission = span.child("admit").over(admit(&shared.guard, &signed_in, wanted, now).await).map_err(|error| not_admitted(&error))?;
    if admission.connection().protocol != Protocol::Postgres {
        let sentence = format!("connection {} is no database: it speaks {}", admission.connection().name, admission.connection().protocol.as_str());
        return Err(Refusal::new(Sqlstate::INVALID_CATALOG_NAME, sentence).hint("`countersign connections` says what each connection speaks."));
    }
    let settings = startup.settings().map_err(|error| Refusal::from(error).hint("Only -c name=value and --name=value are understood in options."))?;
    let settings: Vec<(&str, &[u8])> = settings.iter().map(|setting| (setting.name.as_str(), setting.value.as_slice())).collect();
    admission.check_settings(&settings, now).await.map_err(|why| Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, why))?;
    let callers_name = startup.parameter("application_name").map(|name| String::from_utf8_lossy(name).into_owned());
    let ours = admission.application_name();
    let role = match &admission.connection().jit {
        Some(jit) => Some(span.child("role").over(role_of_its_own(shared, &admission, jit, &settings).await)?),
        None => None,
    };
    let target = span.child("dial").over(dial_target(shared, &admission, role.as_ref(), &ours, startup.parameters).await)?;
    let process_id = target.ready.key.as_ref().map_or(0, |key| key.process_id);
    let cancel =
        target.ready.key.clone().map(|key| TargetCancel { store: shared.guard.store().clone(), connection: admission.connection().clone(), key });
    let cancels = shared.cancels.register(process_id).ok_or_else(|| Refusal::new(Sqlstate::INTERNAL_ERROR, "the system gives no randomness"))?;
    let target_role = role.as_ref().map(|role| role.name.clone());
    let opening = Opening { target_pid: process_id, application_name: callers_name.clone(), target_role, span: span.child("session") };
    let session = Session::open(admission, opening).await.map_err(|error| {
        tracing::error!(%error, "a session could not be opened");
        Refusal::new(Sqlstate::CANNOT_CONNECT_NOW, error.to_string())
    })?;
    let mut settings = Settings::new(&ours, callers_name.as_deref().unwrap_or_default());
    let cut = callers_name.as_deref().and_then(of_a_long_name);
    let greeting = greeting(&target.ready, &mut settings, &cancels, cut)?;
    let dialogue = Dialogue::new(limits(shared), settings);
    Ok((Opened { session, target, dialogue, cancels, cancel, role: role.map(|role| role.place) }, greeting))
}

/// A role for this session alone. Which role it acts as the gateway says, and no setting it begins with.
async fn role_of_its_own(shared: &Shared, admission: &Admission, jit: &JustInTime, settings: &[(&str, &[u8])]) -> Result<MadeRole, Refusal> {
    let names = |name: &str| ["role", "session_authorization"].iter().any(|identity| name.eq_ignore_ascii_case(identity));
    if let Some((name, _)) = settings.iter().find(|(name, _)| names(name)) {
        let refusal = Refusal::new(Sqlstate::INVALID_AUTHORIZATION, format!("this session may not begin with setting {}", name.to_ascii_lowercase()));
        return Err(refusal.hint(format!(
            "Leave it out: sessions of connection {} act as role {}.",
            admission.connection().name,
            printable(&jit.acts_as)
        )));
    }
    let connection = admission.connection();
    shared.roles.make(admission, jit).await.map_err(|error| {
        tracing::warn!(connection = %connection.name, session = %admission.session(), %error, "a session got no role at its target");
        match &error {
            RoleError::Admin(error) => undialled(connection, error),
            RoleError::State(_) => Refusal::new(Sqlstate::CANNOT_CONNECT_NOW, "the gateway cannot reach its state store; try again later"),
            RoleError::Vault(_) | RoleError::Refused(_) | RoleError::Unknown(_) => {
                let sentence = format!("connection {} is not available: the gateway cannot make a role there for this session", connection.name);
                Refusal::new(Sqlstate::UNABLE_TO_CONNECT, sentence).hint("An administrator finds the cause in the gateway's log.")
            }
        }
    })
}

async fn dial_target(
    shared: &Shared,
    admission: &Admission,
    role: Option<&MadeRole>,
    ours: &str,
    mut parameters: Vec<Parameter>,
) -> Result<Dialled, Refusal> {
    let connection = admission.connection();
    let credential = role.map_or(Credential::Standing(&connection.login), |role| Credential::Made(&role.name, &role.password));
    if role.is_some() {
        // A setting the session begins with: RESET ROLE and DISCARD ALL lead back to it. The last of all, so that it wins.
        parameters.push(Parameter { name: "role".to_owned(), value: connection.login.user.as_bytes().to_vec() });
    }
    let wish = Wish { connection, credential, database: admission.database(), application_name: ours.to_owned(), parameters };
    dial::dial(shared.guard.store(), wish).await.map_err(|error| {
        tracing::warn!(connection = %connection.name, %error, "a target could not be dialled");
        undialled(connection, &error)
    })
}

/// What the target itself has to say to its caller is said in its words, by its code: that there is no such database, that it starts up.
fn undialled(connection: &Connection, error: &DialError) -> Refusal {
    let Some(reported) = error.for_the_caller() else {
        let sentence = dial::sentence(connection, error);
        return Refusal::new(Sqlstate::UNABLE_TO_CONNECT, sentence).hint("An administrator finds the cause in the gateway's log.");
    };
    let code = Sqlstate::new(&reported.sqlstate).unwrap_or(Sqlstate::UNABLE_TO_CONNECT);
    let refusal = Refusal::new(code, printable(&reported.message));
    let refusal = reported.detail.iter().fold(refusal, |refusal, detail| refusal.detail(printable(detail)));
    reported.hint.iter().fold(refusal, |refusal, hint| refusal.hint(printable(hint)))
}

fn limits(shared: &Shared) -> Limits {
    let limits = shared.guard.limits();
    let mut dialogue = Limits { max_waiting_bytes: limits.max_held_bytes, ..Limits::default() };
    dialogue.frame.max_statement_bytes = limits.max_statement_bytes;
    dialogue.frame.max_bind_bytes = limits.max_bind_bytes;
    dialogue
}

/// What the caller is told of its target: its settings with the caller's own `application_name`, the target's process id with a secret of ours.
fn greeting(ready: &TargetReady, settings: &mut Settings, cancels: &CancelPlace, notice: Option<String>) -> Result<Bytes, Refusal> {
    let unwritable = |_| Refusal::new(Sqlstate::INTERNAL_ERROR, "the target's greeting cannot be passed on");
    let mut out = BytesMut::new();
    backend::authentication_ok(&mut out);
    if let Some(notice) = notice {
        refusal::notice(&mut out, notice, None, None);
    }
    for notice in &ready.notices {
        out.extend_from_slice(notice);
    }
    for (name, value) in &ready.parameters {
        match settings.reported(name, value) {
            Some(callers) => backend::parameter_status(&mut out, name, callers.as_bytes()),
            None => backend::parameter_status(&mut out, name, value),
        }
        .map_err(unwritable)?;
    }
    let (process_id, secret) = cancels.key();
    backend::backend_key_data(&mut out, *process_id, secret).map_err(unwritable)?;
    backend::ready_for_query(&mut out, Transaction::Idle);
    Ok(out.freeze())
}

/// What the target would say of an `application_name` that it cuts, which it does not get: `truncate_identifier`, 63 bytes.
fn of_a_long_name(name: &str) -> Option<String> {
    let cut = name.get(..name.floor_char_boundary(63)).filter(|cut| cut.len() < name.len())?;
    Some(format!("identifier \"{name}\" will be truncated to \"{cut}\""))
}

/// What no password prompt can take.
const OTHER_WAY: &str =
    "If you have a second factor, or sign in at your company's provider, connect with a token: `countersign token CONNECTION` prints one.";

fn not_signed_in(user: &str, refused: &SignInRefused, peer: SocketAddr) -> Refusal {
    tracing::info!(user = %printable(user), %peer, ?refused, "a sign-in was refused");
    match refused {
        // To all the same: who has a second factor is not told apart.
        SignInRefused::Wrong(_) | SignInRefused::TooManyAttempts => Refusal::wrong_password(user).hint(OTHER_WAY),
        _ => Refusal::new(code_of(refused).unwrap_or(Sqlstate::INVALID_PASSWORD), refused.to_string()),
    }
}

/// Of what is no fault of the secret's.
const fn code_of(refused: &SignInRefused) -> Option<Sqlstate> {
    match refused {
        SignInRefused::Busy | SignInRefused::StateLost => Some(Sqlstate::CANNOT_CONNECT_NOW),
        SignInRefused::TooManySessions(_) => Some(Sqlstate::TOO_MANY_CONNECTIONS),
        SignInRefused::Token(TokenRefused::OtherConnection(_)) => Some(Sqlstate::INVALID_CATALOG_NAME),
        SignInRefused::Wrong(_)
        | SignInRefused::TooManyAttempts
        | SignInRefused::MalformedToken(_)
        | SignInRefused::Token(_)
        | SignInRefused::Inactive(_) => None,
    }
}

fn not_admitted(error: &NotAdmitted) -> Refusal {
    let code = match error {
        NotAdmitted::UnknownConnection { .. } | NotAdmitted::UnknownDatabase { .. } => Sqlstate::INVALID_CATALOG_NAME,
        NotAdmitted::Denied(_) => Sqlstate::INSUFFICIENT_PRIVILEGE,
        NotAdmitted::NotRecorded => Sqlstate::CANNOT_CONNECT_NOW,
        NotAdmitted::Refused(refused) => code_of(refused).unwrap_or(Sqlstate::INVALID_AUTHORIZATION),
    };
    Refusal::new(code, error.to_string())
}
