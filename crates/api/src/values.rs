//! Which values a reader of a recording may see.
//!
//! What was bound to or compared with classified columns, and the rows that came back, are shown to the session's own subject (who has seen
//! them) and to those who may `reveal` every class the operation touches. Others read the statement without its literals. Doubt hides.

use std::{collections::HashMap, sync::Arc};

use evidence::record::{Answered, Cell, Parameter, Record, Treatment};
use model::{
    ActorChain, Connection, ConnectionName, DataClassName, Facts, IdentityName, Timestamp, Understanding, classes::DataClass, facts::NameEffect,
};
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
    /// Operations of which something is hidden.
    hidden: HashMap<u64, Hidden>,
}

/// What of an operation is hidden.
#[derive(Default)]
struct Hidden {
    /// Statement, parameters and errors: a class it touches may not be revealed to the reader.
    asked: bool,
    /// What came back unmasked: such a class was not masked for the subject.
    rows: bool,
    /// Columns that were masked or withheld for the subject already, as far as they are known.
    masked: Vec<bool>,
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
            hidden: HashMap::new(),
        }
    }

    /// It goes on for who they are now, under the version in force now.
    pub(crate) fn reads_as(&mut self, version: Arc<Version>, caller: &Caller) {
        self.version = version;
        self.viewer = caller.chain.clone();
        self.now = caller.now;
    }

    /// The record as this reader may see it.
    pub(crate) fn show(&mut self, mut record: Record) -> Record {
        if self.name == self.subject {
            return record;
        }
        if let Record::Asked(asked) = &record {
            let hidden = self.hidden(&asked.facts, &asked.ruling.classes);
            if hidden.asked || hidden.rows {
                self.hidden.insert(asked.op, hidden);
            }
        }
        if let Some(hidden) = record.op().and_then(|op| self.hidden.get_mut(&op)) {
            hide(&mut record, hidden);
        }
        if let Record::Answered(answered) = &record {
            self.hidden.remove(&answered.op);
        }
        record
    }

    /// What is to be hidden of an operation; `masked` are the classes that were masked for its subject.
    fn hidden(&self, facts: &Facts, masked: &[DataClassName]) -> Hidden {
        let Some(connection) = self.version.connections.get(&self.connection) else {
            let nothing = facts.reads.is_empty() && facts.writes.is_empty() && !facts.touches_unknown();
            return Hidden { asked: !nothing, rows: !nothing, masked: Vec::new() };
        };
        let may = |class: &DataClass| decide::may_reveal(&self.version, &self.viewer, connection, &self.database, &class.name, self.now);
        let touched = self.version.classes.iter().filter(|class| touches(class, connection, &self.database, facts));
        let closed: Vec<&DataClass> = touched.filter(|class| !may(class)).collect();
        Hidden { asked: !closed.is_empty(), rows: closed.iter().any(|class| !masked.contains(&class.name)), masked: Vec::new() }
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

fn hide(record: &mut Record, hidden: &mut Hidden) {
    match record {
        Record::Asked(asked) if hidden.asked => {
            asked.text = Arc::from(without_literals(&asked.text));
            for parameter in asked.parameters.iter_mut().filter(|parameter| **parameter != Parameter::Null) {
                *parameter = Parameter::Text(WITHHELD.to_owned());
            }
            asked.facts = Arc::new(without_texts(&asked.facts));
        }
        Record::Shape(shape) => hidden.masked = shape.columns.iter().map(|column| column.treatment != Treatment::Pass).collect(),
        Record::Rows(rows) if hidden.rows => {
            for (place, cell) in rows.rows.iter_mut().flat_map(|row| row.iter_mut().enumerate()) {
                if let Some(cell) = cell.as_mut().filter(|_| !hidden.masked.get(place).copied().unwrap_or(false)) {
                    *cell = Cell::Text(WITHHELD.to_owned());
                }
            }
        }
        Record::CopyData(data) => data.data = Cell::Text(WITHHELD.to_owned()),
        Record::Answered(Answered { error: Some(failure), .. }) if hidden.asked => failure.message = WITHHELD.to_owned(),
        Record::Asked(_)
        | Record::Rows(_)
        | Record::Answered(_)
        | Record::Opened(_)
        | Record::Held(_)
        | Record::Settled(_)
        | Record::Output(_)
        | Record::Resized(_)
        | Record::Note(_)
        | Record::Closed(_) => {}
    }
}

/// The facts without what quotes the statement, and without the places of secrets in the text as it was.
fn without_texts(facts: &Facts) -> Facts {
    let mut facts = Facts::clone(facts);
    facts.secret_spans.clear();
    match &mut facts.understanding {
        Understanding::Full => {}
        Understanding::Unreadable(text) | Understanding::Syntax { message: text, .. } | Understanding::Missing { message: text, .. } => {
            *text = WITHHELD.to_owned();
        }
    }
    for name in &mut facts.effects.names {
        if let NameEffect::Prepare { body, .. } | NameEffect::Declare { body, .. } = name {
            *body = without_literals(body);
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use evidence::record::{Asked, AskedOutcome, Ruling, Via};
    use model::{Action, Actor, Effects, IdentityId, IdentityKind, Object, Pair, Risk, RowScope, facts::Outputs, facts::RelationRef};

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
            run: None,
            granted: Vec::new(),
        };
        Reader {
            version: Arc::new(version),
            name: viewer.name.clone(),
            viewer: ActorChain::alone(viewer),
            now: Timestamp::UNIX_EPOCH,
            subject: "alice".parse().unwrap(),
            connection: "prod-pg".parse().unwrap(),
            database: "shop".to_owned(),
            hidden: HashMap::new(),
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
            filters: model::facts::Filters::default(),
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
    fn what_was_masked_for_its_subject_may_be_read_by_all_who_read() {
        let mut reader = reader("audrey", "auditors");
        let Record::Asked(mut asked) = asked("customers", Understanding::Full) else { unreachable!() };
        asked.ruling = Arc::new(Ruling { classes: vec!["email".parse().unwrap()], ..Ruling::clone(&asked.ruling) });
        let told = serde_json::to_string(&[reader.show(Record::Asked(asked)), reader.show(rows())]).unwrap();
        assert!(!told.contains("+43 1 234") && told.contains("ann@example.com"), "the statement is hidden, the masked rows are not: {told}");
        assert_eq!(told.matches("ann@example.com").count(), 1);
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
