//! The document of routes: it tells of every route that there is, and of nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::server::Home;

const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn document() -> Value {
    serde_json::from_str(&read("docs/openapi.json")).unwrap()
}

/// Access by method and path, as the table of routes in the source has them.
fn routes() -> BTreeMap<(String, String), String> {
    let source = read("src/http/routes.rs");
    let table = source.split("const ROUTES").nth(1).unwrap().split("\n];").next().unwrap();
    let mut routes = BTreeMap::new();
    for line in table.split("route(").skip(1) {
        let mut words = line.splitn(4, ',').map(str::trim);
        let path = words.next().unwrap().trim_matches('"').to_owned();
        let access = words.next().unwrap().to_owned();
        let handlers = words.nth(1).unwrap();
        let called = |method: &str| handlers.contains(&format!("{method}("));
        // Handlers of `any` answer GET and POST.
        let any = called("any").then_some(["get", "post"]).into_iter().flatten();
        for method in METHODS.into_iter().filter(|method| called(method)).chain(any) {
            routes.insert((path.clone(), method.to_owned()), access.clone());
        }
    }
    routes
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let document = document();
    let mut told = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let access = operation["x-tidewatch-access"].as_str().unwrap().to_owned();
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(is_open, access == "OPEN", "{method} {path}");
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            assert_eq!(answers.contains_key("401"), access != "OPEN", "{method} {path}");
            // Those that many routes share are references, and none of them is in a path.
            let own = operation["parameters"].as_array().into_iter().flatten();
            let own = own.filter(|parameter| parameter["in"] == "path");
            let placed: BTreeSet<&str> = own.map(|own| own["name"].as_str().unwrap()).collect();
            let named = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
            assert_eq!(placed, named.collect(), "{path}");
            told.insert((path.clone(), method.clone()), access);
        }
    }
    assert_eq!(told, routes());
    assert!(told.len() > 20, "{told:?}");
}

#[test]
fn the_document_is_whole_and_served_as_it_is() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for reference in &used {
        let there = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(there.is_some(), "{reference} leads nowhere");
    }
    for (kind, parts) in document["components"].as_object().unwrap() {
        for name in parts.as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(
                kind == "securitySchemes" || used.contains(&reference),
                "{reference} is unused"
            );
        }
    }
    let home = Home::new();
    let answer = home.serve().get("/api/v1/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json(), document);
}
