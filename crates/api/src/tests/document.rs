//! The committed OpenAPI document is what the handlers say, and says all there is.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{document, routes};

fn committed() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap_or_default()
}

/// Every operation of the document: method and path.
pub(super) fn operations() -> BTreeSet<(String, String)> {
    let document: Value = serde_json::to_value(document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| {
        methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_committed_document_is_the_one_the_handlers_describe() {
    let made = document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("COUNTERSIGN_WRITE_OPENAPI").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"), &made).unwrap();
    }
    assert!(committed() == made, "crates/api/openapi.json is out of date: run this test with COUNTERSIGN_WRITE_OPENAPI=1 and commit it");
}

#[test]
fn the_document_says_every_route_and_no_other() {
    let routes: BTreeSet<(String, String)> = routes::listed().into_iter().map(|(method, path)| (method.to_string(), path.to_owned())).collect();
    assert_eq!(operations(), routes);
}
