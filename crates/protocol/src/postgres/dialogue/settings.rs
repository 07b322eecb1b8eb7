//! What the target reported of the session's settings, and the `application_name` only the caller sees.

use std::sync::Arc;

use model::facts::ApplicationName;

/// Settings that decide how texts are read, and the two application names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    client_encoding: Arc<str>,
    standard_conforming_strings: bool,
    /// What the target has: the true identity and session.
    ours: Arc<str>,
    /// What the caller asked for at the start; RESET goes back to it.
    startup: Arc<str>,
    /// What the caller believes it is.
    callers: Arc<str>,
    /// What it was told last.
    told: Arc<str>,
    /// The caller's name when its transaction began, if it changed since.
    before_transaction: Option<Arc<str>>,
    /// The caller's name before SET LOCAL.
    before_local: Option<Arc<str>>,
    /// The savepoints of the open transaction, outermost first.
    savepoints: Vec<Savepoint>,
    /// Savepoints the target made for the open transaction, those of which only the tag was seen too.
    savepoints_made: usize,
    /// And those that are remembered.
    savepoints_named: usize,
    /// The target's name is no longer ours.
    displaced: bool,
}

/// A savepoint, and the caller's name at it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Savepoint {
    name: String,
    callers: Arc<str>,
    before_local: Option<Arc<str>>,
}

/// Savepoints remembered for one transaction. Beyond, the outermost is forgotten: going back to it leaves the caller's name as it is.
const MAX_SAVEPOINTS: usize = 1_024;

impl Settings {
    /// `ours` is the name the target was given at login, `callers` the one the caller asked for (empty if none).
    #[must_use]
    pub fn new(ours: &str, callers: &str) -> Self {
        let callers: Arc<str> = Arc::from(callers);
        Self {
            client_encoding: Arc::from("UTF8"),
            standard_conforming_strings: true,
            ours: Arc::from(ours),
            startup: callers.clone(),
            told: callers.clone(),
            callers,
            before_transaction: None,
            before_local: None,
            savepoints: Vec::new(),
            savepoints_made: 0,
            savepoints_named: 0,
            displaced: false,
        }
    }

    /// Takes in a ParameterStatus of the target. Hands back the value the caller is told in its place, if it is another.
    pub fn reported(&mut self, name: &[u8], value: &[u8]) -> Option<Arc<str>> {
        let value = String::from_utf8_lossy(value);
        match name {
            b"client_encoding" => self.client_encoding = Arc::from(value),
            b"standard_conforming_strings" => self.standard_conforming_strings = value == "on",
            b"application_name" if *value == *self.ours => {
                self.displaced = false;
                return Some(self.callers.clone());
            }
            b"application_name" => {
                self.displaced = true;
                let before = std::mem::replace(&mut self.callers, Arc::from(value));
                self.told = self.callers.clone();
                self.before_transaction.get_or_insert(before);
            }
            _ => {}
        }
        None
    }

    /// The encoding of statements.
    #[must_use]
    pub const fn client_encoding(&self) -> &Arc<str> {
        &self.client_encoding
    }

    /// Whether a backslash in a plain string literal is a backslash.
    #[must_use]
    pub const fn standard_conforming_strings(&self) -> bool {
        self.standard_conforming_strings
    }

    /// The `application_name` the caller sees.
    #[must_use]
    pub const fn application_name(&self) -> &Arc<str> {
        &self.callers
    }

    /// Whether code at the target changed `application_name`, so that ours must be put back before anything else runs.
    #[must_use]
    pub const fn is_displaced(&self) -> bool {
        self.displaced
    }

    /// The statement that puts our name back.
    #[must_use]
    pub fn restore_statement(&self) -> String {
        format!("SET application_name TO '{}'", self.ours.replace('\'', "''"))
    }

    /// The text forwarded in place of the caller's own SET, if it is one.
    pub(super) fn replacement(&self, statement: &ApplicationName) -> Option<String> {
        matches!(statement, ApplicationName::Set(_) | ApplicationName::SetLocal(_)).then(|| self.restore_statement())
    }

    /// The caller's name, if it is another than it was told last. It counts as told then.
    pub(super) fn untold(&mut self) -> Option<Arc<str>> {
        if Arc::ptr_eq(&self.callers, &self.told) {
            return None;
        }
        let before = std::mem::replace(&mut self.told, self.callers.clone());
        (before != self.callers).then(|| self.callers.clone())
    }

    /// A statement that may change the caller's name succeeded.
    pub(super) fn ran(&mut self, statement: &ApplicationName, in_transaction: bool) {
        let before = self.callers.clone();
        match statement {
            ApplicationName::Set(value) => {
                self.before_local = None;
                self.callers = clipped(value);
            }
            ApplicationName::SetLocal(value) if in_transaction => {
                self.before_local.get_or_insert_with(|| before.clone());
                self.callers = clipped(value);
            }
            ApplicationName::Reset => {
                self.before_local = None;
                self.callers = self.startup.clone();
            }
            ApplicationName::Savepoint(name) if in_transaction => self.remember_savepoint(name),
            ApplicationName::Release(name) => self.savepoints.truncate(self.savepoint(name).unwrap_or(self.savepoints.len())),
            ApplicationName::RollbackTo(name) => {
                if let Some(at) = self.savepoint(name) {
                    self.savepoints.truncate(at + 1);
                    self.back_to_savepoint();
                }
            }
            ApplicationName::SetLocal(_) | ApplicationName::Savepoint(_) | ApplicationName::Show => {}
        }
        if in_transaction {
            self.before_transaction.get_or_insert(before);
        }
    }

    /// The newest savepoint of this name.
    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|savepoint| savepoint.name == name)
    }

    /// The target made a savepoint.
    pub(super) const fn savepoint_seen(&mut self) {
        self.savepoints_made += 1;
    }

    fn remember_savepoint(&mut self, name: &str) {
        self.savepoints_named += 1;
        if self.savepoints.len() >= MAX_SAVEPOINTS {
            self.savepoints.remove(0);
        }
        self.savepoints.push(Savepoint { name: name.to_owned(), callers: self.callers.clone(), before_local: self.before_local.clone() });
    }

    fn back_to_savepoint(&mut self) {
        if let Some(savepoint) = self.savepoints.last() {
            self.callers = savepoint.callers.clone();
            self.before_local.clone_from(&savepoint.before_local);
        }
    }

    /// The transaction failed: the part that did is undone at once. Which that is is not known if savepoints were made in the middle of a message.
    pub(super) fn transaction_failed(&mut self) {
        if self.savepoints_made > self.savepoints_named {
            return;
        }
        match (self.savepoints.is_empty(), &self.before_transaction) {
            (false, _) => self.back_to_savepoint(),
            (true, Some(began)) => self.callers = began.clone(),
            (true, None) => {}
        }
    }

    /// The transaction ended.
    pub(super) fn transaction_ended(&mut self, committed: bool) {
        self.savepoints = Vec::new();
        (self.savepoints_made, self.savepoints_named) = (0, 0);
        let local = self.before_local.take();
        let before = self.before_transaction.take();
        if let Some(restored) = if committed { local } else { before } {
            self.callers = restored;
        }
    }

    /// A statement's bytes as text. None when the encoding says otherwise.
    pub(super) fn decode(&self, text: &[u8]) -> Option<Arc<str>> {
        match std::str::from_utf8(text) {
            Ok(text) if text.is_ascii() || &*self.client_encoding != "LATIN1" => Some(Arc::from(text)),
            // Every byte is the character of that number, whatever else the bytes might mean.
            _ if &*self.client_encoding == "LATIN1" => Some(text.iter().map(|byte| char::from(*byte)).collect::<String>().into()),
            Ok(text) => Some(Arc::from(text)),
            // Single-byte encodings: every byte is a character, and those below 0x80 are ASCII. The classifier refuses the others by name.
            Err(_) if &*self.client_encoding != "UTF8" => Some(text.iter().map(|byte| char::from(*byte)).collect::<String>().into()),
            Err(_) => None,
        }
    }
}

/// PostgreSQL keeps 63 bytes of the name and replaces what is not printable ASCII by `?` (`check_application_name`).
fn clipped(value: &str) -> Arc<str> {
    let mut end = value.len().min(63);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value
        .get(..end)
        .unwrap_or_default()
        .chars()
        .map(|c| if matches!(c, ' '..='~') { c.to_string() } else { "?".repeat(c.len_utf8()) })
        .collect::<String>()
        .into()
}
