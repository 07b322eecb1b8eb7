//! What actions are done to.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Action, ConnectionName};

/// A thing an action is done to. Each is also a Cedar entity; all but data classes have what is above them as ancestors, up to the connection and its
/// environment.
///
/// Names are the target's own, as its catalog spells them, and so may hold any character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Object {
    /// The connection itself.
    Connection,
    /// A database behind the connection.
    Database {
        /// The database's name.
        database: Arc<str>,
    },
    /// A schema of a database.
    Schema {
        /// The database's name.
        database: Arc<str>,
        /// The schema's name.
        schema: Arc<str>,
    },
    /// A table, view, sequence or anything else that is a relation.
    Table {
        /// The database's name.
        database: Arc<str>,
        /// The schema's name.
        schema: Arc<str>,
        /// The relation's name.
        table: Arc<str>,
    },
    /// A column of a relation.
    Column {
        /// The database's name.
        database: Arc<str>,
        /// The schema's name.
        schema: Arc<str>,
        /// The relation's name.
        table: Arc<str>,
        /// The column's name.
        column: Arc<str>,
    },
    /// A function, procedure, operator's or cast's function. Overloads share the name.
    Function {
        /// The database's name.
        database: Arc<str>,
        /// The schema's name.
        schema: Arc<str>,
        /// The function's name.
        function: Arc<str>,
    },
    /// The machine the target runs on, or one reached through it.
    Host {
        /// Its name; for a database's own server, the connection's name.
        host: Arc<str>,
    },
    /// A program of the machine.
    Program {
        /// Its name where it lies in one of the system's own directories (`rm` for `/usr/bin/rm`), else its path, without `.`, `..` and empty parts.
        program: Arc<str>,
    },
    /// A file or directory of the machine.
    Path {
        /// Absolute (`/srv/data`), or from the home directory of whoever the gateway signs in as (`~/data`); without `.`, `..` and empty parts.
        path: Arc<str>,
    },
    /// A role that grants may add a caller to, as the connection names it.
    Role {
        /// The role's name.
        role: Arc<str>,
    },
    /// A kind of sensitive value, wherever it is.
    DataClass {
        /// The class's name.
        class: Arc<str>,
    },
}

impl Object {
    /// The Cedar entity type.
    #[must_use]
    pub const fn entity_type(&self) -> &'static str {
        match self {
            Self::Connection => "Connection",
            Self::Database { .. } => "Database",
            Self::Schema { .. } => "Schema",
            Self::Table { .. } => "Table",
            Self::Column { .. } => "Column",
            Self::Function { .. } => "Function",
            Self::Host { .. } => "Host",
            Self::Program { .. } => "Program",
            Self::Path { .. } => "Path",
            Self::Role { .. } => "Role",
            Self::DataClass { .. } => "DataClass",
        }
    }

    /// The names below the connection, outermost first.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        match self {
            Self::Connection | Self::DataClass { .. } => vec![],
            Self::Database { database } => vec![database],
            Self::Schema { database, schema } => vec![database, schema],
            Self::Table { database, schema, table } => vec![database, schema, table],
            Self::Column { database, schema, table, column } => vec![database, schema, table, column],
            Self::Function { database, schema, function } => vec![database, schema, function],
            Self::Host { host } => vec![host],
            Self::Program { program } => vec![program],
            Self::Path { path } => path.split('/').collect(),
            Self::Role { role } => vec![role],
        }
    }

    /// The Cedar entity id. A data class's is its name; all others': the connection's name and the path below it, joined by `/`, with `%` and `/` inside a name written `%25` and `%2F`.
    /// So the absolute path `/srv/data` of `web1` is `web1//srv/data`, and `~/data` is `web1/~/data`.
    #[must_use]
    pub fn entity_id(&self, connection: &ConnectionName) -> String {
        if let Self::DataClass { class } = self {
            return class.to_string();
        }
        let mut id = connection.as_str().to_owned();
        for part in self.path() {
            id.push('/');
            id.push_str(&part.replace('%', "%25").replace('/', "%2F"));
        }
        id
    }
}

impl fmt::Display for Object {
    /// As people write it: `public.customers`, without the database. Control and format characters are escaped: the names are the target's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self {
            Self::Connection => return f.write_str("the connection"),
            Self::Database { database } => format!("database {database}"),
            Self::Schema { schema, .. } => format!("schema {schema}"),
            Self::Table { schema, table, .. } => format!("{schema}.{table}"),
            Self::Column { schema, table, column, .. } => format!("{schema}.{table}.{column}"),
            Self::Function { schema, function, .. } => format!("{schema}.{function}()"),
            Self::Host { host } => format!("host {host}"),
            Self::Program { program } => format!("program {program}"),
            Self::Path { path } => path.to_string(),
            Self::Role { role } => format!("role {role}"),
            Self::DataClass { class } => format!("data class {class}"),
        };
        f.write_str(&crate::name::printable(&shown))
    }
}

/// One thing an operation asks for: an action on an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// What is done.
    pub action: Action,
    /// To what.
    pub object: Object,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_paths_or_programs_have_one_id() {
        let web1: ConnectionName = "web1".parse().unwrap();
        let path = |path: &str| Object::Path { path: path.into() }.entity_id(&web1);
        let program = |program: &str| Object::Program { program: program.into() }.entity_id(&web1);
        assert_eq!(
            [path("/"), path("/srv/data"), path("~"), path("~/data"), path("/~/data")],
            ["web1//", "web1//srv/data", "web1/~", "web1/~/data", "web1//~/data"]
        );
        assert_eq!([program("rm"), program("/tmp/rm"), path("/100%")], ["web1/rm", "web1/%2Ftmp%2Frm", "web1//100%25"]);
    }
}
