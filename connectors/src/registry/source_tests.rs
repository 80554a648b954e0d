//! What answers mean, from a registry that answers as it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::registry::config::Password;

const AVRO: &str = r#"{"schema": "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"v\", \"type\": \"double\"}]}"}"#;

/// A registry that gives each question the answer which `answers` has for its path, and tells the questions.
fn registry(answers: &'static [(&'static str, u16, &'static str)]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let (tell, told) = sync_channel(100);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().to_owned();
            let found = answers.iter().find(|(known, ..)| *known == path);
            let (_, status, body) = found.unwrap_or(&("", 404, "<html>nothing here</html>"));
            let length = body.len();
            tell.send(head.join("\n")).unwrap();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\nlocation: /base/moved\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    (url, told)
}

fn source(url: &str, form: MessageForm) -> RegistrySource {
    let user = Some(("me".to_owned(), Password::new("geheim")));
    RegistrySource::new(&RegistryConfig { url: url.to_owned(), user, ca: None }, form).unwrap()
}

#[test]
fn only_the_answer_that_an_id_is_not_known_says_so() {
    let (url, told) = registry(&[
        ("/base/schemas/ids/1", 200, AVRO),
        ("/base/schemas/ids/2", 404, r#"{"error_code": 40403, "message": "Schema not found"}"#),
        ("/base/schemas/ids/3", 404, r#"{"error_code": 404, "message": "HTTP 404 Not Found"}"#),
        ("/base/schemas/ids/5", 401, r#"{"error_code": 401, "message": "Unauthorized"}"#),
        ("/base/schemas/ids/6", 403, ""),
        ("/base/schemas/ids/7", 500, r#"{"error_code": 50001, "message": "the store is away"}"#),
        ("/base/schemas/ids/8", 200, "{\"schema\": 5}"),
        ("/base/schemas/ids/9", 301, ""),
        ("/base/schemas/ids/10", 200, r#"{"schema": "{\"type\": \"what\"}"}"#),
        (
            "/base/schemas/ids/11",
            200,
            r#"{"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}"#,
        ),
    ]);
    let source = source(&format!("{url}/"), MessageForm::Avro);
    let fetched = source.fetch(1).unwrap().unwrap();
    assert!(matches!(fetched.schema, RecordSchema::Avro(_)) && fetched.bytes > 50);
    let head = told.recv().unwrap().to_lowercase();
    assert!(head.contains("authorization: basic bwu6z2vozwlt"), "{head}");
    assert_eq!(source.fetch(2).unwrap().unwrap_err(), SchemaRefusal::Unknown);
    for (id, what) in [
        (3, "is its path right?"),
        (4, "is its path right?"),
        (5, "refuses this username and password (401)"),
        (6, "refuses this username and password (403)"),
        (7, "answers 500: the store is away"),
        (8, "something that is no schema"),
        (9, "answers 301"),
    ] {
        let trouble = source.fetch(id).unwrap_err().to_string();
        assert!(trouble.starts_with(&format!("schema registry {url}: ")), "{trouble}");
        assert!(trouble.contains(what) && !trouble.contains("geheim"), "{trouble}");
    }
    for (id, what) in [(10, "what"), (11, "it is of PROTOBUF, and the source's format is \"avro\"")]
    {
        let refusal = source.fetch(id).unwrap().unwrap_err();
        assert!(
            matches!(&refusal, SchemaRefusal::Unusable(why) if why.contains(what)),
            "{refusal:?}"
        );
    }
    assert!(!format!("{source:?}").contains("geheim"));
}

#[test]
fn what_a_schema_refers_to_is_fetched_once_and_by_a_name_that_may_be_a_path() {
    let (url, told) = registry(&[
        (
            "/base/schemas/ids/1",
            200,
            r#"{"schemaType": "PROTOBUF", "schema": "syntax = \"proto3\"; import \"a/b.proto\"; import \"c.proto\"; message M { B b = 1; C c = 2; }",
                "references": [{"name": "a/b.proto", "subject": "a/b.proto", "version": 3}, {"name": "c.proto", "subject": "c", "version": 1}]}"#,
        ),
        (
            "/base/subjects/a%2Fb.proto/versions/3",
            200,
            r#"{"schema": "syntax = \"proto3\"; import \"c.proto\"; message B { C c = 1; }",
                "references": [{"name": "c.proto", "subject": "c", "version": 1}]}"#,
        ),
        (
            "/base/subjects/c/versions/1",
            200,
            r#"{"schema": "syntax = \"proto3\"; message C { double v = 1; }"}"#,
        ),
        (
            "/base/schemas/ids/2",
            200,
            r#"{"schemaType": "PROTOBUF", "schema": "", "references": [{"name": "d", "subject": "d", "version": 9}]}"#,
        ),
        ("/base/subjects/d/versions/9", 404, r#"{"error_code": 40401}"#),
    ]);
    let source = source(&url, MessageForm::Protobuf);
    let fetched = source.fetch(1).unwrap();
    assert!(
        matches!(fetched, Ok(FetchedSchema { schema: RecordSchema::Protobuf(_), .. })),
        "{fetched:?}"
    );
    assert_eq!(told.try_iter().count(), 3);
    let refusal = source.fetch(2).unwrap().unwrap_err();
    let told = "it refers to \"d\", version 9 of \"d\", which is not there";
    assert_eq!(refusal, SchemaRefusal::Unusable(told.to_owned()));
}

#[test]
fn nobody_there_and_certificates_that_are_none_are_told() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let trouble = source(&url, MessageForm::Avro).fetch(1).unwrap_err().to_string();
    assert!(trouble.contains("no answer"), "{trouble}");
    for (ca, told) in [("/no/such.pem", "cannot be read"), ("/dev/null", "has no certificate")] {
        let config = RegistryConfig { url: url.clone(), user: None, ca: Some(ca.into()) };
        let problem = RegistrySource::new(&config, MessageForm::Avro).unwrap_err();
        assert!(problem.field == "ca" && problem.message.contains(told), "{problem:?}");
    }
}
