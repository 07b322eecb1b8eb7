//! What the fuzz targets of this crate run, and the replay of what they found: the form of whoever asks for a token goes in, and a promise that does not hold panics.

use std::collections::BTreeMap;

use identity::GatewayUrl;
use serde_json::Value;

use crate::{handlers::oauth::TokenForm, refused::Refused};

/// What is known at `/v1/token`.
const PARAMETERS: [&str; 17] = [
    "grant_type",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "assertion",
    "audience",
    "resource",
    "authorization_details",
    "requested_token_type",
    "expires_in",
    "workload",
    "may_act",
    "scope",
];

fn url() -> GatewayUrl {
    "https://gw.example".parse().unwrap()
}

/// A form, a parameter a line: it is taken if every parameter is known and, unless it may be, there once; and then it opens what it names and no more.
pub fn token_form(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pairs: Vec<(String, String)> =
        text.split('\n').map(|line| line.split_once('=').unwrap_or((line, ""))).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let form = match TokenForm::read(pairs.clone()) {
        Ok(form) => form,
        Err(refused) => return told(&refused),
    };
    let mut given = BTreeMap::<&str, usize>::new();
    for (name, value) in &pairs {
        assert!(PARAMETERS.contains(&name.as_str()), "{name:?} is not known");
        let several = matches!(name.as_str(), "audience" | "resource");
        *given.entry(name).or_default() += usize::from(!value.is_empty() && !several);
    }
    assert!(given.values().all(|times| *times <= 1), "{given:?}");
    if let Err(refused) = form.shown() {
        told(&refused);
    }
    for url in [None, Some(&url())] {
        target(&form, &pairs, url);
    }
}

/// `authorization_details` alone: one statement on connections that are named, or a refusal.
pub fn authorization_details(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pairs = vec![("authorization_details".to_owned(), text.to_owned())];
    let Ok(form) = TokenForm::read(pairs.clone()) else { panic!("it is a parameter") };
    target(&form, &pairs, Some(&url()));
}

fn target(form: &TokenForm, pairs: &[(String, String)], url: Option<&GatewayUrl>) {
    let (connections, statement) = match form.target(url) {
        Ok(target) => target,
        Err(refused) => return told(&refused),
    };
    assert!(connections.windows(2).all(|two| two[0] < two[1]), "{connections:?}");
    let details = pairs.iter().find(|(name, value)| name == "authorization_details" && !value.is_empty());
    let Some((_, details)) = details else {
        assert_eq!(statement, None);
        return;
    };
    let details: Vec<BTreeMap<String, Value>> = serde_json::from_str(details).unwrap();
    let [detail] = &details[..] else { panic!("{details:?}") };
    assert_eq!(detail.keys().collect::<Vec<_>>(), ["locations", "statement", "type"]);
    assert_eq!((detail["type"].as_str(), detail["statement"].as_str()), (Some("countersign_statement"), statement.as_deref()));
    assert!(!connections.is_empty(), "it is for somewhere");
    for name in &connections {
        let named = |text: &str| text == name.as_str() || text.ends_with(&format!("/connections/{name}"));
        assert!(detail["locations"].as_array().unwrap().iter().any(|place| place.as_str().is_some_and(named)), "{name} is not named");
    }
}

/// What is said of a refusal is a sentence of one line, whatever was in the form.
fn told(refused: &Refused) {
    let message = refused.message();
    assert!(!message.is_empty() && !message.chars().any(char::is_control), "{message:?}");
}

#[cfg(test)]
mod tests {
    use xtask::fuzz::replay;

    use super::*;

    #[test]
    fn forms_of_strangers_are_replayed() {
        assert!(replay("token_form", token_form).unwrap() > 1);
    }

    #[test]
    fn details_of_strangers_are_replayed() {
        assert!(replay("authorization_details", authorization_details).unwrap() > 1);
    }
}
