//! The API against a real guard on a store of its own: who may what, on every route there is.

mod access;
mod document;
mod follow;
mod listeners;
mod matrix;
mod oauth;

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body, http::Request, response::Response};
use http_body_util::BodyExt;
use hyper_util::service::TowerToHyperService;
use identity::register::{Machine, MachineKind, NewIdentity};
use model::{Connection, IdentityId, Secret, SessionId, Timestamp, session::SessionRow};
use policy::{Files, Version, classify::postgres::catalog::Catalog};
use serde_json::{Value, json};
use session::{
    Guard, Limits,
    catalogs::{Asked, CatalogSource},
};
use store::Store;
use tempfile::TempDir;

use crate::{Api, caller::Peer, types::GatewayView};

/// Password of everybody here.
const PASSWORD: &str = "correct horse battery";

/// Everything the API stands on, with people in it: `admin` governs, `audrey` audits, `alice` is an engineer with a session, `bob` may sign, `mallory` has nothing.
struct House {
    api: Arc<Api>,
    router: Router,
    store: Store,
    _folder: TempDir,
}

/// A target that has no catalog to give.
struct NoTarget;

impl CatalogSource for NoTarget {
    fn read<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
        Box::pin(async { Err("the target is down".to_owned()) })
    }

    fn estimate<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: &'a [Arc<str>], _: &'a str) -> Asked<'a, String> {
        Box::pin(async { Err("the target is down".to_owned()) })
    }

    fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
        Box::pin(async { Err("the target is down".to_owned()) })
    }
}

/// The session alice had.
fn session_of_alice() -> SessionId {
    SessionId::from_random(7)
}

fn files() -> Files {
    let policy = "
        permit (principal in Group::\"engineers\", action in [Action::\"connect\", Action::\"read\"], resource);
        permit (principal in Group::\"administrators\", action in [Action::\"administer\", Action::\"revoke\"], resource == System::\"countersign\");
        permit (principal in Group::\"auditors\", action == Action::\"audit\", resource == System::\"countersign\");
        permit (principal in Group::\"dba\", action == Action::\"approve\", resource == System::\"countersign\");";
    let connection = "protocol = \"postgres\"\nhost = \"127.0.0.1\"\ndatabase = \"shop\"\nenvironment = \"production\"\nuser = \"app\"\n[tls]\nmode = \"loopback-plain\"\n";
    [("policy/a.cedar", policy), ("connections/prod-pg.toml", connection)].map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data")).await.unwrap();
        let version = Version::load(&files()).unwrap_or_else(|problems| panic!("{problems:?}"));
        store.state().add_version(version.hash, &files(), &"init".parse().unwrap(), Timestamp::now()).await.unwrap();
        let guard = Guard::new(store.clone(), version, Limits::default(), Arc::new(NoTarget));
        let gateway = GatewayView { postgres: vec!["127.0.0.1:6432".to_owned()], ssh: Vec::new(), ssh_keys: None, ca: None };
        let api = Api::new(guard, gateway, Timestamp::now());
        let house = Self { router: crate::router(api.clone()), api, store, _folder: folder };
        house.people().await;
        house
    }

    async fn people(&self) {
        let now = Timestamp::now();
        let hash = identity::password::hash(&Secret::from(PASSWORD.to_owned())).unwrap();
        let people = [("admin", "administrators"), ("audrey", "auditors"), ("alice", "engineers"), ("mallory", "nobodies"), ("bob", "dba")];
        for (number, (name, group)) in people.into_iter().enumerate() {
            let new = NewIdentity::user(name.parse().unwrap(), vec![group.parse().unwrap()]).unwrap();
            self.add(number as u64, &new).await;
            self.store.state().set_password_hash(&name.parse().unwrap(), Some(&hash)).await.unwrap();
        }
        let end = now.checked_add(std::time::Duration::from_secs(86_400)).unwrap();
        let nightly = Machine::new(MachineKind::Workload, "nightly".parse().unwrap(), "alice".parse().unwrap(), "exports".parse().unwrap(), end, now);
        self.add(50, &NewIdentity::machine(nightly.unwrap(), vec!["engineers".parse().unwrap()])).await;
        let row = SessionRow {
            id: session_of_alice(),
            subject: "alice".parse().unwrap(),
            chain: "alice".to_owned(),
            connection: "prod-pg".parse().unwrap(),
            database: "shop".to_owned(),
            token: None,
            peer: "127.0.0.1:5".to_owned(),
            started_at: now,
            ended_at: None,
            ending: None,
            operations: 0,
        };
        self.store.state().add_session(&row).await.unwrap();
    }

    async fn add(&self, number: u64, new: &NewIdentity) {
        self.store.state().add_identity(IdentityId::from_random(number), new, &"init".parse().unwrap(), Timestamp::now()).await.unwrap();
    }

    /// Signs in and returns the token.
    async fn login(&self, name: &str) -> String {
        let (status, answer) = self.ask("POST", "/v1/login", None, Some(json!({ "name": name, "password": PASSWORD }))).await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    /// One request; the answer's status and JSON.
    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        let bearer = token.map(|token| ("authorization", format!("Bearer {token}")));
        self.ask_with(method, path, &bearer.into_iter().collect::<Vec<_>>(), body).await
    }

    /// One request with these headers.
    async fn ask_with(&self, method: &str, path: &str, headers: &[(&str, String)], body: Option<Value>) -> (u16, Value) {
        let response = self.answer(method, path, headers, body).await;
        let status = response.status().as_u16();
        // A stream that never ends tells enough by its beginning.
        if response.headers()["content-type"] == "application/x-ndjson" {
            return (status, Value::Null);
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// The answer to one, as it comes.
    async fn answer(&self, method: &str, path: &str, headers: &[(&str, String)], body: Option<Value>) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = match body {
            // A form.
            Some(Value::String(form)) => {
                request = request.header("content-type", "application/x-www-form-urlencoded");
                Body::from(form)
            }
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Peer("127.0.0.1:1".parse::<SocketAddr>().unwrap().ip()));
        hyper::service::Service::call(&TowerToHyperService::new(self.router.clone()), request).await.unwrap()
    }
}
