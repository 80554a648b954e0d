use crate::config::load::tests::{load, problems};

#[test]
fn options_of_kafka_come_from_files_too_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let path = file.display().to_string();
    for kind in ["[[source.kafka]]\ntopics = [\"a\"]", "[[sink.kafka]]\ntopic = \"a\""] {
        let toml = |options: &str| {
            format!("{kind}\nname = \"n\"\nbrokers = \"a:1\"\noptions_file = {{ {options} }}\n")
        };
        let toml_of = |path: &str| toml(&format!("\"sasl.password\" = \"{path}\""));
        std::fs::write(&file, "geheim\r\n").unwrap();
        let config = load(&toml_of(&path), &[], &[]).expect("a good file");
        assert!(!format!("{config:?}").contains("geheim"), "{config:?}");
        if let [source] = &config.sources[..] {
            let option = &source.options[0];
            assert_eq!((&*option.name, &*option.value), ("sasl.password", "geheim"));
        }
        for (path, text, told) in [
            ("/no/such", "", "cannot be read: No such file or directory (os error 2)"),
            (&*path, &*"x".repeat(70_000), "has more than 65536 bytes, which is no secret"),
        ] {
            std::fs::write(&file, text).unwrap();
            let found = problems(&toml_of(path), &[], &[]);
            let key = "options_file.\"sasl.password\"";
            assert!(found.len() == 1 && found[0].ends_with(&format!("{key} {told}")), "{found:?}");
        }
    }
}

fn source_with(keys: &str) -> String {
    format!("[[source.kafka]]\nname = \"n\"\nbrokers = \"a:1\"\ntopics = [\"a\"]\n{keys}\n")
}

fn source_with_registry(format: &str, keys: &str) -> String {
    source_with(&format!("format = \"{format}\"\nregistry = {{ {keys} }}"))
}

const REGISTRY: &str = "url = \"https://r.example/base\"";
const SOME_MAP: &str = "\n[source.kafka.map]\nmetric = \"m\"\nvalue = \"v\"";

#[test]
fn the_password_of_a_schema_registry_comes_from_outside_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "geheim\n").unwrap();
    let by_file = format!("username = \"me\", password_file = \"{}\"", file.display());
    for (format, user) in
        [("avro", "username = \"me\", password_env = \"PASSWORD\""), ("protobuf", &*by_file)]
    {
        let toml = source_with_registry(format, &format!("{REGISTRY}, {user}")) + SOME_MAP;
        let config = load(&toml, &[("PASSWORD", "geheim")], &[]).expect("a good registry");
        assert!(!format!("{config:?}").contains("geheim"), "{user}");
        assert_eq!(config.sources[0].format.form().name(), format);
    }
    load(&source_with_registry("avro", REGISTRY), &[], &[]).expect("it needs no password");
}

#[test]
fn a_schema_registry_belongs_to_formats_with_schemas_and_must_be_usable() {
    let user = |keys: &str| source_with_registry("avro", &format!("{REGISTRY}, {keys}"));
    let url = |url: &str| source_with_registry("avro", &format!("url = \"{url}\""));
    for (toml, told) in [
        (source_with("format = \"avro\""), "registry is missing: format = \"avro\" needs one"),
        (
            source_with_registry("json", REGISTRY),
            "registry is for format = \"avro\" or \"protobuf\", not for \"json\"",
        ),
        (source_with_registry("avro", ""), "registry.url is missing"),
        (url("r:1"), "registry.url must be an address such as https://registry.example/base"),
        (
            url("https://me:geheim@r.example"),
            "registry.url must not have a name or a password: they are keys of their own",
        ),
        (
            user("username = \"me\""),
            "registry.username needs a password: password_env or password_file",
        ),
        (
            user("password_env = \"PASSWORD\""),
            "registry.username is missing, and there is a password",
        ),
        (
            user("username = \"me\", password_env = \"geheim\""),
            "registry.password_env names a variable that is not set",
        ),
        (
            user("username = \"me\", password_env = \"PASSWORD\", password_file = \"f\""),
            "registry.password_file cannot be used together with password_env",
        ),
        (
            user("username = \"me\", password_file = \"/no/such\""),
            "registry.password_file cannot be read: No such file or directory (os error 2)",
        ),
        (user("ca = \"/dev/null\""), "registry.ca has no certificate in PEM"),
        (
            source_with("format = \"number\"") + SOME_MAP,
            "map is for format = \"json\", \"avro\" or \"protobuf\", not for \"number\"",
        ),
    ] {
        let found = problems(&toml, &[("PASSWORD", "geheim")], &[]);
        assert_eq!(found, [format!("source.kafka.\"n\".{told}")], "{toml}");
    }
}

#[test]
fn sources_are_checked_with_everything_else_and_their_secrets_are_never_shown() {
    let toml = "[[source.kafka]]\nname = \"main\"\nbrokers = \"127.0.0.1:9092\"\ntopics = [\"a\", \"^b\"]\n\
                start = \"2026-11-20T12:00:00Z\"\noptions = { \"fetch.queue.backoff.ms\" = \"30\" }\n\
                options_env = { \"sasl.password\" = \"KAFKA_PASSWORD\" }\n";
    let config = load(toml, &[("KAFKA_PASSWORD", "hunter2")], &[]).expect("a good source");
    let [source] = &config.sources[..] else { panic!("{config:?}") };
    let time = tidewatch_metrics::UnixNanos::new(1_795_176_000_000_000_000);
    assert_eq!(source.start, tidewatch_connectors::kafka::Start::At(time));
    assert_eq!((source.topics.len(), source.options.len(), &*source.db), (2, 2, "default"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let headers = |keys: &str| format!("{toml}{keys}\n");
    let labels = |keys: &str| -> Vec<(String, String)> {
        let config = load(&headers(keys), &[("KAFKA_PASSWORD", "hunter2")], &[]).expect("good");
        let labels = config.sources[0].header_labels.iter();
        labels.map(|one| (one.header.to_str().unwrap().to_owned(), one.label.clone())).collect()
    };
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(labels("labels_from_headers = [\"a\", \"b\"]"), [pair("a", "a"), pair("b", "b")]);
    assert_eq!(labels("labels_from_headers = { x-a = \"a\" }"), [pair("x-a", "a")]);
    for (keys, why) in [
        (
            "labels_from_headers = [\"a\", \"\"]",
            "must be a list of headers, or { header = \"label\" }",
        ),
        (
            "format = \"line_protocol\"\nlabels_from_headers = [\"a\"]",
            "cannot be used with format = \"line_protocol\"",
        ),
    ] {
        let found = problems(&headers(keys), &[("KAFKA_PASSWORD", "hunter2")], &[]);
        assert_eq!(found, [format!("source.kafka.\"main\".labels_from_headers {why}")]);
    }
    let twice = format!("{toml}{toml}");
    let found = problems(&twice, &[("KAFKA_PASSWORD", "hunter2")], &[]);
    assert_eq!(found, ["source.kafka has two entries with the name \"main\""]);
    let toml = "[[source.kafka]]\nname = \"n\"\nbrokers = \"a:1\"\ntopics = [\"a b\"]\nformat = \"xml\"\n\
                mode = \"both\"\nstart = \"now\"\non_bad_record = \"keep\"\noptions = { \"a\" = 1 }\n\
                options_env = { \"b\" = \"NOBODY\" }\n[[source.kafka]]\nname = \"m\"\nbrokers = \"a:1\"\n\
                topics = [\"a\"]\noptions = { \"fetch.min.byte\" = \"1\" }\n[[source.nats]]\n";
    let found = problems(toml, &[], &[]);
    let starts = [
        "source.kafka.\"n\".topics cannot be used: \"a b\" is no name of a topic",
        "source.kafka.\"n\".format is \"xml\", but must be \"json\", \"line_protocol\", \"remote_write\", \"number\", \"otlp\", \"avro\" or \"protobuf\"",
        "source.kafka.\"n\".mode is \"both\", but must be \"exclusive\" (one reader, all partitions) or \"group\"",
        "source.kafka.\"n\".start is \"now\", but must be \"earliest\", \"latest\" or a time",
        "source.kafka.\"n\".on_bad_record is \"keep\", but must be \"dlq\", \"skip\" or \"stop\"",
        "source.kafka.\"n\".options.a is 1, but must be a text in quotes",
        "source.kafka.\"n\".options_env names a variable for \"b\" that is not set",
        "source.kafka.\"m\".options cannot be used: librdkafka does not take the option \"fetch.min.byte\"",
        "source.nats is not a key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|problem| problem.starts_with(start)), "{start}: {found:#?}");
    }
}

#[test]
fn a_group_is_named_with_its_mode_and_not_without() {
    let source = "[[source.kafka]]\nname = \"n\"\nbrokers = \"a:1\"\ntopics = [\"a\"]\n";
    let member = format!("{source}mode = \"group\"\ngroup = \"g\"\n");
    let loaded = load(&member, &[], &[]).expect("a member of a group");
    assert_eq!(loaded.sources[0].group.as_deref(), Some("g"));
    for (keys, why) in [
        ("mode = \"group\"\n", "must be given with mode = \"group\""),
        ("group = \"g\"\n", "has no meaning without mode = \"group\""),
    ] {
        let found = problems(&format!("{source}{keys}"), &[], &[]);
        assert_eq!(found, [format!("source.kafka.\"n\".group {why}")]);
    }
}

#[test]
fn the_map_of_a_source_is_checked_with_everything_else() {
    let source = "[[source.kafka]]\nname = \"n\"\nbrokers = \"a:1\"\ntopics = [\"a\"]\n";
    let good = "[source.kafka.map]\ntime = \"at\"\ntime_unit = \"ms\"\nmetric = { constant = \"m\" }\n\
                value = { t = \"data.t\" }\nlabels = { host = 'meta.\"host.name\"' }\n";
    load(&format!("{source}{good}"), &[], &[]).expect("a good map");
    for (map, found) in [
        (
            "value = \"v\"",
            "metric is missing: a path, { constant = \"name\" }, or a table of values",
        ),
        ("metric = \"m\"", "value is missing"),
        ("metric = { konstant = \"m\" }\nvalue = { v = \"v\" }", "metric must be a path such as"),
        (
            "metric = \"m\"\nvalue = \"a..b\"",
            "value cannot be used: \"a..b\" is no path: a name in it is empty",
        ),
        (
            "metric = \"m\"\nvalue = \"v\"\nlabels = { \"\" = \"x\" }",
            "labels cannot be used: \"\" is no name",
        ),
        (
            "metric = \"m\"\nvalue = \"v\"\ntime_unit = \"h\"",
            "time_unit is \"h\", but must be \"s\"",
        ),
        ("metric = \"m\"\nvalue = \"v\"\nlabel = \"x\"", "label is not a key; did you mean"),
    ] {
        let found_problems = problems(&format!("{source}[source.kafka.map]\n{map}\n"), &[], &[]);
        let [problem] = &found_problems[..] else { panic!("{map}: {found_problems:?}") };
        assert!(problem.starts_with(&format!("source.kafka.\"n\".map.{found}")), "{problem}");
    }
    let toml = format!("{source}format = \"number\"\n{good}");
    let found = problems(&toml, &[], &[]);
    assert_eq!(
        found,
        [
            "source.kafka.\"n\".map is for format = \"json\", \"avro\" or \"protobuf\", not for \"number\""
        ]
    );
}
