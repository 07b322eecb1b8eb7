//! Which values a reader of a recording may see.
//!
//! What was bound to or compared with classified columns, and the rows that came back, are shown to the session's own subject (who has seen
//! them) and to those who may `reveal` every class the operation touches. Others read the statement without its literals. Doubt hides.

use std::{collections::HashSet, sync::Arc};

use evidence::record::{Cell, Parameter, Record};
use model::{ActorChain, Connection, ConnectionName, Facts, IdentityName, Timestamp, classes::DataClass};
use policy::{Version, decide};
use store::index::without_literals;

use crate::caller::Caller;

/// Stands where a value is not shown.
const WITHHELD: &str = "[withheld]";

/// One reader of one recording.
pub(crate) struct Reader {
    pub(crate) version: Arc<Version>,
    pub(crate) viewer: ActorChain,
    pub(crate) now: Timestamp,
    name: IdentityName,
    subject: IdentityName,
    connection: ConnectionName,
    database: String,
    /// Operations whose values are hidden.
    hidden: HashSet<u64>,
}

impl Reader {
    pub(crate) fn new(version: Arc<Version>, caller: &Caller, row: &model::session::SessionRow) -> Self {
        Self {
            version,
            viewer: caller.chain.clone(),
            now: caller.now,
            name: caller.actor.name.clone(),
            subject: row.subject.clone(),
            connection: row.connection.clone(),
            database: row.database.clone(),
            hidden: HashSet::new(),
        }
    }

    /// The record as this reader may see it.
    pub(crate) fn show(&mut self, mut record: Record) -> Record {
        if self.name == self.subject {
            return record;
        }
        if let Record::Asked(asked) = &record
            && !self.may_see(&asked.facts)
        {
            self.hidden.insert(asked.op);
        }
        if record.op().is_some_and(|op| self.hidden.contains(&op)) {
            hide(&mut record);
        }
        if let Record::Answered(answered) = &record {
            self.hidden.remove(&answered.op);
        }
        record
    }

    fn may_see(&self, facts: &Facts) -> bool {
        let Some(connection) = self.version.connections.get(&self.connection) else {
            return facts.reads.is_empty() && facts.writes.is_empty() && !facts.touches_unknown();
        };
        let touched = self.version.classes.iter().filter(|class| touches(class, connection, &self.database, facts));
        let mut classes = touched.map(|class| decide::may_reveal(&self.version, &self.viewer, connection, &self.database, &class.name, self.now));
        classes.all(|may| may)
    }
}

/// Whether an operation may have to do with a class: a relation of it is touched, or what is touched is not known.
fn touches(class: &DataClass, connection: &Connection, database: &str, facts: &Facts) -> bool {
    class.columns.iter().any(|column| {
        let here =
            column.connection.as_ref().is_none_or(|name| *name == connection.name) && column.database.as_deref().is_none_or(|name| name == database);
        let mut relations = facts.reads.iter().chain(&facts.writes);
        here && (facts.touches_unknown() || relations.any(|relation| *relation.schema == *column.schema && *relation.name == *column.table))
    })
}

fn hide(record: &mut Record) {
    match record {
        Record::Asked(asked) => {
            asked.text = Arc::from(without_literals(&asked.text));
            for parameter in asked.parameters.iter_mut().filter(|parameter| **parameter != Parameter::Null) {
                *parameter = Parameter::Text(WITHHELD.to_owned());
            }
            // Places of secrets in the text as it was.
            let mut facts = Facts::clone(&asked.facts);
            facts.secret_spans.clear();
            asked.facts = Arc::new(facts);
        }
        Record::Rows(rows) => {
            for cell in rows.rows.iter_mut().flatten().flatten() {
                *cell = Cell::Text(WITHHELD.to_owned());
            }
        }
        Record::CopyData(data) => data.data = Cell::Text(WITHHELD.to_owned()),
        Record::Answered(answered) => {
            if let Some(failure) = &mut answered.error {
                failure.message = WITHHELD.to_owned();
            }
        }
        Record::Opened(_) | Record::Held(_) | Record::Settled(_) | Record::Shape(_) | Record::Note(_) | Record::Closed(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use evidence::record::{Asked, AskedOutcome, Ruling, Via};
    use model::{Action, Actor, Effects, IdentityId, IdentityKind, Object, Pair, Risk, RowScope, Understanding, facts::Outputs, facts::RelationRef};

    use super::*;

    fn reader(name: &str, group: &str) -> Reader {
        let policy = "permit (principal in Group::\"leads\", action == Action::\"reveal\", resource == DataClass::\"email\");";
        let connection = "protocol = \"postgres\"\nhost = \"127.0.0.1\"\ndatabase = \"shop\"\nenvironment = \"production\"\nuser = \"app\"\n[tls]\nmode = \"loopback-plain\"\n";
        let classes = "[email]\ncolumns = [\"public.customers.email\"]\n";
        let files = [("policy/a.cedar", policy), ("connections/prod-pg.toml", connection), ("data-classes.toml", classes)];
        let version = Version::load(&files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()).unwrap();
        let viewer = Actor {
            id: IdentityId::from_random(1),
            name: name.parse().unwrap(),
            kind: IdentityKind::User,
            groups: vec![group.parse().unwrap()],
            owner: None,
        };
        Reader {
            version: Arc::new(version),
            name: viewer.name.clone(),
            viewer: ActorChain::alone(viewer),
            now: Timestamp::UNIX_EPOCH,
            subject: "alice".parse().unwrap(),
            connection: "prod-pg".parse().unwrap(),
            database: "shop".to_owned(),
            hidden: HashSet::new(),
        }
    }

    fn asked(table: &str, understanding: Understanding) -> Record {
        let facts = Facts {
            understanding,
            pairs: vec![Pair { action: Action::Read, object: Object::Connection }],
            kinds: vec![],
            statements: 1,
            reads: vec![RelationRef { schema: "public".into(), name: table.into(), oid: 0 }],
            writes: vec![],
            functions: vec![],
            row_scope: RowScope::None,
            risk: Risk::new(1),
            effects: Effects::default(),
            outputs: Outputs::default(),
            secret_spans: vec![],
        };
        let version = model::VersionHash([0; 32]);
        let ruling = Ruling { outcome: AskedOutcome::Allowed, policies: vec![], reasons: vec![], version, classes: vec![] };
        Record::Asked(Asked {
            op: 1,
            at: Timestamp::UNIX_EPOCH,
            text: "SELECT * FROM t WHERE x = 'ann@example.com' AND y = $1".into(),
            facts: Arc::new(facts),
            ruling: Arc::new(ruling),
            parameters: vec![Parameter::Text("+43 1 234".to_owned()), Parameter::Null],
            via: Via::Bind,
        })
    }

    fn rows() -> Record {
        Record::Rows(evidence::record::Rows { op: 1, rows: vec![vec![Some(Cell::Text("ann@example.com".to_owned())), None]] })
    }

    fn told(reader: &mut Reader, table: &str, understanding: Understanding) -> String {
        let records = [reader.show(asked(table, understanding)), reader.show(rows())];
        serde_json::to_string(&records).unwrap()
    }

    #[test]
    fn values_of_a_class_are_shown_to_its_subject_and_to_those_who_may_reveal_it() {
        let shown = ["ann@example.com", "+43 1 234"];
        for (name, group) in [("alice", "engineers"), ("sam", "leads")] {
            let told = told(&mut reader(name, group), "customers", Understanding::Full);
            assert!(shown.iter().all(|value| told.contains(value)), "{name}: {told}");
        }
        let told = told(&mut reader("audrey", "auditors"), "customers", Understanding::Full);
        assert!(!shown.iter().any(|value| told.contains(value)) && told.contains("[withheld]") && told.contains("SELECT * FROM t"), "{told}");
    }

    #[test]
    fn what_touches_no_class_is_shown_whole_and_what_is_not_understood_is_not() {
        let other = told(&mut reader("audrey", "auditors"), "orders", Understanding::Full);
        assert!(other.contains("ann@example.com") && other.contains("+43 1 234"), "{other}");
        let unclear = told(&mut reader("audrey", "auditors"), "orders", Understanding::Unreadable("x".to_owned()));
        assert!(!unclear.contains("ann@example.com"), "{unclear}");
    }

    #[test]
    fn when_the_connection_is_gone_nobody_can_say_and_values_are_hidden() {
        let mut reader = Reader { connection: "old-pg".parse().unwrap(), ..reader("audrey", "auditors") };
        assert!(!told(&mut reader, "orders", Understanding::Full).contains("ann@example.com"));
    }
}
