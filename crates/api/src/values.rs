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
