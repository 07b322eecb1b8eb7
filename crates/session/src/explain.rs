//! What would happen to a statement: its facts, the decision, who could sign, what would be masked. Nothing is run.

use std::sync::Arc;

use model::{Actor, ActorChain, Connection, ConnectionName, Decision, Facts, IdentityName, Outcome, Requirement, Timestamp};
use policy::{
    classify::postgres::{SessionView, Statement, catalog::Catalog, classify},
    decide::{self, Case, Judgement, Recent},
    version::Version,
};

use crate::{
    guard::{GovernError, Guard},
    register,
    tokens::unknown_connection,
};

/// What would happen to a statement in a fresh session.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it means.
    pub facts: Facts,
    /// What policy says, and under which version.
    pub decision: Decision,
    /// For a held one: each requirement, and the people who could sign for it now.
    pub signers: Vec<(Requirement, Vec<IdentityName>)>,
    /// What of its answer would be masked; none if it touches nothing classified.
    pub masking: Option<Masking>,
}

/// What would be masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masking {
    /// COPY out of it would be refused.
    pub copy_refused: bool,
    /// Its errors and notices would be generic.
    pub generic_errors: bool,
}

/// A statement to explain.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who would run it.
    pub identity: &'a IdentityName,
    /// On which connection.
    pub connection: &'a ConnectionName,
    /// In which database; the connection's own if none is given.
    pub database: Option<&'a str>,
    /// The statement.
    pub statement: &'a str,
}

impl Guard {
    /// Explains a statement, for the identity itself, its owner, auditors and administrators.
    ///
    /// # Errors
    /// There is no such identity or connection that `viewer` may see, or the catalog cannot be read.
    pub async fn explain_statement(&self, question: Question<'_>, viewer: &Actor, now: Timestamp) -> Result<Explanation, GovernError> {
        let identity = self.identity_for(question.identity, viewer, now).await?;
        if question.statement.len() > self.limits().max_statement_bytes {
            return Err(GovernError::Invalid(format!("the statement has more than {} bytes", self.limits().max_statement_bytes)));
        }
        let version = self.version();
        let chain = ActorChain::alone(register::actor(&identity));
        let open = self.open_connections(&chain, now);
        let known = version.connections.get(question.connection).filter(|connection| open.contains(&connection.name)).cloned();
        let unknown = || GovernError::NotFound(unknown_connection(question.connection, question.identity, &open));
        let connection = known.ok_or_else(unknown)?;
        let chain = self.chain_on(&chain, &connection, now);
        let database = question.database.unwrap_or(&connection.database).to_owned();
        let (_, catalog) = self.snapshots().current(self.catalogs(), &connection, &database).await.map_err(GovernError::Invalid)?;
        let asked = Asked { version: version.clone(), chain, connection, database, catalog, statement: question.statement.to_owned(), now };
        let explained = tokio::task::spawn_blocking(move || asked.explain());
        let mut explanation = explained.await.map_err(|_| GovernError::Invalid("the statement could not be read".to_owned()))?;
        if let Outcome::Hold(requirements) = &explanation.decision.outcome {
            explanation.signers = self.signers(&version, requirements, &ActorChain::alone(register::actor(&identity)), now).await?;
        }
        Ok(explanation)
    }

    async fn signers(
        &self,
        version: &Version,
        requirements: &[Requirement],
        chain: &ActorChain,
        now: Timestamp,
    ) -> Result<Vec<(Requirement, Vec<IdentityName>)>, GovernError> {
        let people: Vec<Actor> =
            self.store().state().identities().await?.iter().filter(|identity| identity.is_active(now)).map(register::actor).collect();
        let able = |requirement: &Requirement| {
            let may = people.iter().filter(|person| decide::eligible(version, requirement, chain, person, now).is_ok());
            may.map(|person| person.name.clone()).collect()
        };
        Ok(requirements.iter().map(|requirement| (requirement.clone(), able(requirement))).collect())
    }
}

struct Asked {
    version: Arc<Version>,
    chain: ActorChain,
    connection: Arc<Connection>,
    database: String,
    catalog: Arc<Catalog>,
    statement: String,
    now: Timestamp,
}

impl Asked {
    fn explain(&self) -> Explanation {
        let view = SessionView { database: self.database.as_str().into(), host: self.connection.name.as_str().into(), ..SessionView::default() };
        let facts = classify(&Statement { text: &self.statement, parameters: None }, &self.catalog, &view);
        let case = Case {
            chain: &self.chain,
            connection: &self.connection,
            database: &self.database,
            facts: &facts,
            recent: Recent::default(),
            now: self.now,
        };
        let Judgement { facts: more, decision, plan } = decide::judge(&self.version, &case, &self.catalog);
        let masking =
            plan.filter(|plan| !plan.only_detects()).map(|plan| Masking { copy_refused: plan.copy_refused, generic_errors: plan.generic_errors });
        Explanation { facts: more.unwrap_or(facts), decision, signers: Vec::new(), masking }
    }
}

#[cfg(test)]
mod tests;
