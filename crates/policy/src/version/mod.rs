//! One version of all that people write: connections, data classes, policies and their tests, read and checked together.
//!
//! A version exists only if every file of it is right; otherwise there is the list of everything that is wrong.

mod cases;
mod classes;
mod connections;
mod machines;
mod problem;
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lc_rs::digest;
use model::{Connection, ConnectionName, VersionHash, classes::DataClass};

pub use cases::{Ask, Expectation, Place, PolicyTest};
pub(crate) use classes::applies;
pub(crate) use problem::{Lines, suggestion};
pub use problem::{Problem, nearest};

use crate::rulebook::{self, Rulebook};
use reading::Page;

/// Files by their path relative to the directory, `/` between folders.
pub type Files = BTreeMap<String, String>;

/// What was written, checked and ready to decide with.
#[derive(Debug)]
pub struct Version {
    /// SHA-256 over policies, connections, data classes and the schema.
    pub hash: VersionHash,
    /// Every connection by its name.
    pub connections: BTreeMap<ConnectionName, Arc<Connection>>,
    /// Every data class, sorted by name.
    pub classes: Vec<DataClass>,
    /// Every policy test, in the order of files and lines.
    pub tests: Vec<PolicyTest>,
    pub(crate) rulebook: Rulebook,
}

impl Version {
    /// Reads and checks `connections/*.toml`, `policy/*.cedar`, `data-classes.toml` and `tests/*.toml`; other files are ignored.
    ///
    /// # Errors
    /// Everything that is wrong in any of them, sorted by place.
    pub fn load(files: &Files) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let sorted = sort(files, &mut problems);
        let connections = load_connections(&sorted, &mut problems);
        let names = sorted.connections.keys().cloned().collect();
        let classes = load_classes(&sorted, &names, &mut problems);
        let rulebook = rulebook::load(&sorted.policies, &mut problems);
        let tests = load_tests(&sorted, &connections, &names, &mut problems);
        problems.sort();
        match rulebook {
            Some(rulebook) if problems.is_empty() => Ok(Self { hash: hash(&sorted), connections, classes, tests, rulebook }),
            _ => Err(problems),
        }
    }

    /// Whether any policy looks at `context.now`: if none does, equal questions have equal answers whenever they are asked.
    #[must_use]
    pub fn looks_at_the_clock(&self) -> bool {
        self.rulebook.looks_at_the_clock()
    }

    /// Whether any policy looks at what the caller did before, so that decisions change with it.
    #[must_use]
    pub fn looks_at_what_was_done(&self) -> bool {
        self.rulebook.looks_at_what_was_done()
    }

    /// What is allowed but probably not meant, such as a policy about an environment that no connection is in.
    #[must_use]
    pub fn doubts(&self) -> Vec<Problem> {
        if self.connections.is_empty() {
            // Every environment would be doubtful, and for one reason.
            let message = "there is no connection yet, so nothing can be reached".to_owned();
            let none = Problem { file: "connections".to_owned(), line: 1, column: 1, message, help: None };
            return vec![none.help("connections/README.md shows how to write one")];
        }
        let detected = self.connections.values().flat_map(|connection| &connection.detect);
        let classes = self.classes.iter().map(|class| &class.name).chain(detected).map(AsRef::as_ref).collect();
        self.rulebook.doubts(&self.connections, &classes)
    }
}

/// The considered files, each with its path, by what they are.
#[derive(Default)]
struct Sorted<'f> {
    connections: BTreeMap<ConnectionName, (&'f str, &'f str)>,
    policies: Vec<(&'f str, &'f str)>,
    classes: Option<(&'f str, &'f str)>,
    tests: Vec<(&'f str, &'f str)>,
}

fn sort<'f>(files: &'f Files, problems: &mut Vec<Problem>) -> Sorted<'f> {
    let mut sorted = Sorted::default();
    for (path, text) in files {
        let file = (path.as_str(), text.as_str());
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        match (folder, name.rsplit_once('.')) {
            ("", _) if name == "data-classes.toml" => sorted.classes = Some(file),
            ("connections", Some((stem, "toml"))) if seen(path, name, problems) => match stem.parse() {
                Ok(stem) => drop(sorted.connections.insert(stem, file)),
                Err(error) => problems.push(Problem::at(path, text, 0, format!("the file's name is the connection's: {error}"))),
            },
            ("policy", Some((_, "cedar"))) if seen(path, name, problems) => sorted.policies.push(file),
            ("tests", Some((_, "toml"))) if seen(path, name, problems) => sorted.tests.push(file),
            _ => {}
        }
    }
    sorted
}

/// Whether a file counts. One in a folder below would be passed over without a word, and a forbid lost, so it is a problem.
fn seen(path: &str, name: &str, problems: &mut Vec<Problem>) -> bool {
    if name.starts_with('.') {
        return false;
    }
    let nested = name.contains('/');
    if nested {
        let problem = Problem::at(path, "", 0, "files in folders below are not read");
        problems.push(problem.help("move it up, so that it is read, or give it another ending"));
    }
    !nested
}

fn load_connections(sorted: &Sorted<'_>, problems: &mut Vec<Problem>) -> BTreeMap<ConnectionName, Arc<Connection>> {
    let mut connections = BTreeMap::new();
    for (name, (file, text)) in &sorted.connections {
        let mut page = Page::new(file, text);
        if let Some(connection) = connections::read(&mut page, name.clone()) {
            connections.insert(name.clone(), Arc::new(connection));
        }
        problems.append(&mut page.problems);
    }
    connections
}

fn load_classes(sorted: &Sorted<'_>, names: &BTreeSet<ConnectionName>, problems: &mut Vec<Problem>) -> Vec<DataClass> {
    let Some((file, text)) = sorted.classes else { return Vec::new() };
    let mut page = Page::new(file, text);
    let classes = classes::read(&mut page, names);
    problems.append(&mut page.problems);
    classes
}

fn load_tests(
    sorted: &Sorted<'_>,
    connections: &BTreeMap<ConnectionName, Arc<Connection>>,
    names: &BTreeSet<ConnectionName>,
    problems: &mut Vec<Problem>,
) -> Vec<PolicyTest> {
    // A test of a connection that could not be read would be reported for the wrong reason.
    if connections.len() != names.len() {
        return Vec::new();
    }
    let mut tests = Vec::new();
    for (file, text) in &sorted.tests {
        let mut page = Page::new(file, text);
        tests.append(&mut cases::read(&mut page, connections));
        problems.append(&mut page.problems);
    }
    tests
}

/// SHA-256 over a canonical encoding: a heading, the schema, then each file's path and text in the order of the paths, every item after its
/// length in bytes as eight big-endian octets. Policy tests change no decision and are not part of it.
fn hash(sorted: &Sorted<'_>) -> VersionHash {
    let mut files: BTreeMap<&str, &str> = sorted.policies.iter().copied().collect();
    files.extend(sorted.connections.values().copied());
    files.extend(sorted.classes);
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |item: &str| {
        context.update(&u64::try_from(item.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(item.as_bytes());
    };
    add("countersign policy version 1");
    add(rulebook::SCHEMA);
    for (path, text) in files {
        add(path);
        add(text);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    VersionHash(bytes)
}

#[cfg(test)]
mod tests {
    use model::{
        RecordLevel,
        connection::{MachineProof, Maker, SecretSource, TargetTls},
    };

    use super::*;
    use crate::fixtures;

    const GOOD: &str = "protocol = \"postgres\"\nhost = \"db\"\ndatabase = \"shop\"\nenvironment = \"production\"\nuser = \"u\"\n";

    fn problems(path: &str, text: &str) -> Vec<String> {
        let mut files = fixtures::files("");
        files.insert(path.to_owned(), text.to_owned());
        Version::load(&files).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_connection_is_read_whole() {
        let text = r#"
protocol = "postgres"
host = "db.internal"
port = 6000
database = "shop"
databases = ["shop", "crm"]
environment = "production"
tags = ["pci"]
description = "the shop"
user = "app"
password = { store = "pg" }
certificate = { file = "c.pem", key = { file = "/k.pem" } }
record = "full"
[catalog]
user = "reader"
password = { file = "/run/secret" }
[tls]
ca = "/ca.pem"
server_name = "db.example"
[roles]
writer = "engineers"
"#;
        let mut files = Files::new();
        files.insert("connections/shop.toml".to_owned(), text.to_owned());
        let version = fixtures::load_files(&files);
        let shop = version.connections.values().next().unwrap();
        assert_eq!((shop.name.as_str(), shop.port, shop.databases.len(), shop.record), ("shop", 6000, 2, RecordLevel::Full));
        assert_eq!(shop.login.password, Some(SecretSource::Store("pg".to_owned())));
        assert_eq!(shop.login.certificate.as_ref().unwrap().key, SecretSource::File("/k.pem".into()));
        assert_eq!(shop.catalog_login.as_ref().unwrap().user, "reader");
        assert_eq!(shop.tls, TargetTls::VerifyFull { ca: Some("/ca.pem".into()), server_name: Some("db.example".to_owned()) });
        assert_eq!(shop.roles["writer"].as_str(), "engineers");
        files.insert("connections/shop.toml".to_owned(), GOOD.to_owned());
        let version = fixtures::load_files(&files);
        let plain = version.connections.values().next().unwrap();
        assert_eq!((plain.port, plain.record), (5432, RecordLevel::Statements));
        assert_eq!(plain.tls, TargetTls::VerifyFull { ca: None, server_name: None });
    }

    #[test]
    fn a_session_may_get_a_role_of_its_own() {
        let text = "protocol = \"postgres\"\nhost = \"db\"\ndatabase = \"shop\"\nenvironment = \"production\"\n\
                    [jit]\nadmin = { user = \"maker\", password = { store = \"maker\" } }\nacts_as = \"app_owner\"\n";
        let catalog = "[catalog]\nuser = \"reader\"\n";
        let mut files = Files::from([("connections/shop.toml".to_owned(), format!("{text}{catalog}"))]);
        let version = fixtures::load_files(&files);
        let shop = version.connections.values().next().unwrap();
        let jit = shop.jit.as_ref().unwrap();
        let Maker::Admin { login, prefix } = &jit.maker else { panic!("{jit:?}") };
        assert_eq!((login.user.as_str(), jit.acts_as.as_str(), prefix.as_str(), jit.valid_for_s), ("maker", "app_owner", "countersign_", None));
        assert_eq!((shop.login.user.as_str(), &shop.login.password), ("app_owner", &None));
        files.insert("connections/shop.toml".to_owned(), format!("{text}prefix = \"cs_\"\nvalid_for_s = 900\n{catalog}"));
        let version = fixtures::load_files(&files);
        let jit = version.connections.values().next().unwrap().jit.clone().unwrap();
        assert!(matches!(&jit.maker, Maker::Admin { prefix, .. } if prefix == "cs_") && jit.valid_for_s == Some(900));
        let vaults = "[jit]\nvault_database = \"shop\"\nvault_mount = \"db/prod\"\nacts_as = \"app_owner\"\n";
        let (head, _) = text.split_once("[jit]").unwrap();
        files.insert("connections/shop.toml".to_owned(), format!("{head}{vaults}{catalog}"));
        let version = fixtures::load_files(&files);
        assert_eq!(version.connections.values().next().unwrap().jit.as_ref().unwrap().maker, Maker::Vault("db/prod/creds/shop".to_owned()));
        for (text, expected) in [
            (text.to_owned(), "a connection lacks `[catalog]`\n  help: with [jit] the catalog is read as a role that may sign in and nothing else"),
            (format!("user = \"app\"\n{text}{catalog}"), "1:8: with [jit] each session gets credentials of its own, and `user` would not be used"),
            (format!("{text}prefix = \"Cs\"\n{catalog}"), "8:10: names of roles cannot begin with `Cs`"),
            (format!("{text}valid_for_s = 0\n{catalog}"), "8:15: `valid_for_s` must be a number from 1 to 86400"),
            (text.replace("app_owner", "pg_monitor") + catalog, "7:11: `pg_monitor` is no role that a session may act as"),
            (text.replace("acts_as = \"app_owner\"", "") + catalog, "5:1: [jit] lacks `acts_as`"),
            (text.replace("admin = ", "maker = ") + catalog, "[jit] lacks `admin`"),
            (format!("{text}vault_database = \"shop\"\n{catalog}"), "8:18: [jit] has two who make roles"),
            (format!("{head}{}{catalog}", vaults.replace("shop", "../sys")), "6:18: `db/prod/creds/../sys` is no path of a vault"),
        ] {
            let found = problems("connections/shop.toml", &text);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_machine_is_known_by_its_keys_and_proved_to_in_one_way() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjuB9cmyVhFZxJW7xYk2";
        let text =
            format!("protocol = \"ssh\"\nhost = \"web1\"\nuser = \"deploy\"\nenvironment = \"production\"\nhost_keys = [\"{key} root@web1\"]\n");
        let proof = "key = { store = \"web1\" }\n";
        let mut files = Files::from([("connections/web1.toml".to_owned(), format!("{text}{proof}commands = [\"uptime\"]\n"))]);
        let version = fixtures::load_files(&files);
        let web1 = version.connections.values().next().unwrap();
        let machine = web1.machine.as_ref().unwrap();
        assert_eq!((web1.protocol, web1.port, web1.login.user.as_str()), (model::connection::Protocol::Ssh, 22, "deploy"));
        assert_eq!(machine.proof, MachineProof::Key(SecretSource::Store("web1".to_owned())));
        assert_eq!((machine.host_keys.as_slice(), machine.commands.as_slice()), ([key.to_owned()].as_slice(), ["uptime".to_owned()].as_slice()));
        files.insert("connections/web1.toml".to_owned(), format!("{text}principals = [\"deploy\", \"app\"]\n"));
        let version = fixtures::load_files(&files);
        let certified = version.connections.values().next().unwrap().machine.clone().unwrap().proof;
        assert_eq!(certified, MachineProof::Certificate(vec!["deploy".to_owned(), "app".to_owned()]));
        for (text, expected) in [
            (text.clone(), "a connection lacks `key`\n  help: write key ="),
            (format!("{text}{proof}password = {{ store = \"x\" }}\n"), "the gateway proves itself to a machine in one way only"),
            (format!("{text}principals = []\n"), "6:14: `principals` names nobody"),
            (format!("{text}{proof}").replace("web1\"]", "web1\", \"ssh-dss AAAA\"]"), "`ssh-dss` is no kind of host key that is taken"),
            (format!("{text}{proof}").replace(key, "ssh-ed25519 AAAA"), "this is not a whole ssh-ed25519 key"),
            (format!("{text}{proof}").replace("host_keys", "keys"), "a connection lacks `host_keys`\n  help: a machine is known by its keys"),
            (format!("{text}{proof}").replace("\"web1\"\n", "\"/run/ssh\"\n"), "2:8: SSH goes over TCP"),
            (format!("{text}{proof}database = \"shop\"\n"), "a connection has no key `database`"),
        ] {
            let found = problems("connections/web1.toml", &text);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_connection_has_its_place_and_help() {
        let table: [(&str, &str); 17] = [
            ("hots = \"x\"\n", "6:1: a connection has no key `hots`\n  help: did you mean `host`?"),
            ("port = 0\n", "6:8: `port` must be a number from 1 to 65535, not a number"),
            ("port = \"5432\"\n", "6:8: `port` must be a number from 1 to 65535, not a text"),
            ("record = \"ful\"\n", "6:10: `record` cannot be `ful`\n  help: did you mean `full`?"),
            ("tags = \"pci\"\n", "6:8: `tags` must be a list of texts, not a text"),
            ("databases = [\"crm\"]\n", "3:12: `databases` does not name the default `shop`"),
            ("password = \"hunter2\"\n", "6:1: `password` holds the secret itself: secrets are never written in these files"),
            ("password = { env = \"A\", file = \"b\" }\n", "6:1: `password` needs exactly one place"),
            ("password = { safe = \"A\" }\n", "6:14: [password] has no key `safe`"),
            ("certificate = { file = \"c.pem\" }\n", "6:15: [certificate] lacks `key`"),
            ("[tls]\nmode = \"off\"\n", "7:8: `mode` cannot be `off`"),
            ("[tls]\nmode = \"loopback-plain\"\n", "7:8: loopback-plain is for this machine only, and `db` is not"),
            ("[tls]\nmode = \"loopback-plain\"\nca = \"x\"\n", "7:8: loopback-plain is for this machine only"),
            ("[roles]\nwriter = \"a b\"\n", "7:10: a group name `a b` has a character"),
            ("[catalog]\npassword = { env = \"x\" }\n", "6:1: [catalog] lacks `user`"),
            ("host = \"again\"\n", "6:1: duplicate key"),
            ("x = \n", "6:5:"),
        ];
        for (text, expected) in table {
            let found = problems("connections/a.toml", &format!("{GOOD}{text}"));
            assert!(found.first().is_some_and(|first| first.starts_with(&format!("connections/a.toml:{expected}"))), "{text}: {found:?}");
            assert!(found.iter().all(|problem| !problem.contains("hunter2")), "a secret is repeated: {found:?}");
        }
        let missing = problems("connections/a.toml", "");
        assert_eq!(missing.len(), 5, "{missing:?}");
    }

    #[test]
    fn plain_text_is_for_this_machine_only() {
        let with = |host: &str, tls: &str| problems("connections/a.toml", &format!("{}{tls}", GOOD.replace("\"db\"", &format!("{host:?}"))));
        let plain = "[tls]\nmode = \"loopback-plain\"\n";
        for host in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LocalHost", "/var/run/postgresql"] {
            assert!(with(host, plain).is_empty(), "{host}");
        }
        for host in ["10.0.0.1", "0.0.0.0", "::", "localhost.example.com", "127.0.0.1.example.com", "db"] {
            assert_eq!(with(host, plain).len(), 1, "{host}");
        }
        assert!(with("/var/run/postgresql", "").is_empty());
        assert_eq!(with("/var/run/postgresql", "[tls]\nmode = \"verify-full\"\n").len(), 1);
        for host in ["db:5432", "a b", "", "postgres://db", "[::1]"] {
            assert_eq!(with(host, "").len(), 1, "{host}");
        }
    }

    #[test]
    fn data_classes_name_their_columns_in_three_ways() {
        let text = "[email]\ncolumns = [\"public.customers.email\", \"prod-pg/public.c.e\", \"prod-pg/shop/public.c.e\", { schema = \"a.b\", table = \"t\", column = \"c\" }]\n";
        let mut files = fixtures::files("");
        files.insert("data-classes.toml".to_owned(), text.to_owned());
        let version = fixtures::load_files(&files);
        let columns = &version.classes[0].columns;
        assert_eq!(columns.len(), 4);
        assert_eq!((columns[2].connection.as_ref().map(AsRef::as_ref), columns[2].database.as_deref()), (Some("prod-pg"), Some("shop")));
        assert_eq!(columns[3].schema, "a.b");
        for (text, expected) in [
            ("[email]\ncolumns = [\"customers.email\"]", "2:12: `customers.email` does not name a column"),
            ("[email]\ncolumns = [\"a..b\"]", "2:12: `a..b` has an empty name in it"),
            ("[email]\ncolumns = [\"prod-gp/a.b.c\"]", "2:12: the connection `prod-gp` has no file in connections/\n  help: did you mean `prod-pg`?"),
            ("[email]\nmask = \"hsah\"", "2:8: `mask` cannot be `hsah`\n  help: did you mean `hash`?"),
            ("[email]\nmask = \"token\"\nlength = \"hidden\"", "3:10: this mask has no `length` to choose"),
            ("[email]\nmask = \"hash\"\nnulls = \"hidden\"", "3:9: with this mask it cannot be hidden which values are missing"),
            ("[email]\nlength = \"shown\"\nnulls = \"hidden\"", "2:10: a length that shows tells which values are missing"),
            ("[born]\nmask = \"generalise\"\nband = 1", "3:8: `band` must be a number from 2 to 4294967295"),
            ("[born]\nmask = \"redact\"\nband = 10", "3:1: [born] has no key `band`"),
            ("[x]\ncolumns = [{ schema = \"a\", table = \"t\", column = \"c\", path = \"mail\" }]", "2:62: a path is written as $.member"),
            ("[email]\ncolumn = []", "2:1: [email] has no key `column`\n  help: did you mean `columns`?"),
            ("email = 1", "1:9: `email` must be a table, such as [email], not a number"),
            ("[\"e mail\"]\n", "1:2: a data class name `e mail`"),
        ] {
            let found = problems("data-classes.toml", text);
            assert!(found.first().is_some_and(|first| first.starts_with(&format!("data-classes.toml:{expected}"))), "{text}: {found:?}");
        }
    }

    #[test]
    fn tests_must_make_sense() {
        let head = "[identities]\nalice = { groups = [\"a\"] }\n[[test]]\nname = \"x\"\nexpect = \"allow\"\n";
        for (text, expected) in [
            (
                "identity = \"alcie\"\nenvironment = \"e\"\naction = \"read\"",
                "6:12: [identities] of this file has no `alcie`\n  help: did you mean `alice`?",
            ),
            ("identity = \"alice\"\naction = \"read\"", "3:1: [[test]] needs either `connection` or `environment`"),
            ("identity = \"alice\"\nenvironment = \"e\"", "3:1: [[test]] needs either `statement` or `action`"),
            ("identity = \"alice\"\nenvironment = \"e\"\naction = \"raed\"", "8:10: there is no action `raed`\n  help: did you mean `read`?"),
            ("identity = \"alice\"\nconnection = \"prod\"\naction = \"read\"", "7:14: there is no connection `prod`"),
            ("identity = \"alice\"\nenvironment = \"e\"\naction = \"reveal\"", "3:1: [[test]] lacks `class`"),
            ("identity = \"alice\"\nenvironment = \"e\"\naction = \"read\"\ntable = \"payments\"", "9:9: `payments` is not of the form schema.table"),
        ] {
            let found = problems("tests/a.toml", &format!("{head}{text}"));
            assert!(found.first().is_some_and(|first| first.starts_with(&format!("tests/a.toml:{expected}"))), "{text}: {found:?}");
        }
    }

    #[test]
    fn every_problem_of_every_file_is_told_at_once() {
        let mut files = fixtures::files("permit (principal, action == Action::\"raed\", resource);");
        files.insert("connections/a.toml".to_owned(), format!("{GOOD}hots = 1\nprot = 2\n"));
        files.insert("connections/b c.toml".to_owned(), GOOD.to_owned());
        files.insert("policy/deep/x.cedar".to_owned(), "forbid (principal, action, resource);".to_owned());
        files.insert("policy/notes.txt".to_owned(), "not read".to_owned());
        files.insert("policy/.x.cedar".to_owned(), "not read".to_owned());
        let found = Version::load(&files).unwrap_err();
        let places: Vec<String> = found.iter().map(|problem| format!("{}:{}", problem.file, problem.line)).collect();
        assert_eq!(
            places,
            ["connections/a.toml:6", "connections/a.toml:7", "connections/b c.toml:1", "policy/deep/x.cedar:1", "policy/main.cedar:1"]
        );
    }

    #[test]
    fn the_hash_covers_what_decides_and_nothing_else() {
        let base = fixtures::files("permit (principal, action, resource);");
        let hash = |change: &[(&str, &str)]| {
            let mut files = base.clone();
            files.extend(change.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
            fixtures::load_files(&files).hash
        };
        let plain = hash(&[]);
        assert_eq!(plain, hash(&[("countersign.toml", "x"), ("README.md", "x"), ("tests/a.toml", "")]));
        let changes = [
            ("policy/main.cedar", "permit (principal, action, resource); "),
            ("policy/other.cedar", ""),
            ("data-classes.toml", ""),
            ("connections/b.toml", GOOD),
        ];
        let mut hashes: Vec<VersionHash> = changes.iter().map(|change| hash(std::slice::from_ref(change))).collect();
        hashes.push(plain);
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), changes.len() + 1);
        // Where one file ends and the next begins is part of it.
        assert_ne!(hash(&[("policy/a.cedar", "// x\n"), ("policy/b.cedar", "")]), hash(&[("policy/a.cedar", ""), ("policy/b.cedar", "// x\n")]));
    }
}
