use std::{collections::BTreeMap, io::Write};

use super::*;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    server: Server,
    routes: BTreeMap<String, String>,
    upstreams: BTreeMap<String, Upstream>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table, such as { to = \"http://a\" }")]
struct Upstream {
    to: String,
    is_open: bool,
    names: Vec<String>,
    calls: u32,
}

fn schema() -> Sample {
    Sample { upstreams: [(ANY.to_owned(), Upstream::default())].into(), ..Sample::default() }
}

fn load(file: Option<&Path>, variables: Vec<Variable>, flags: &[&str]) -> Result<Sample, ConfigError> {
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
    from_sources(file, variables, &flags, &schema())
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Server {
    port: u16,
    name: String,
    password: Secret,
    wait: Span,
    hosts: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            port: 1,
            name: "n".to_owned(),
            password: Secret::default(),
            wait: Span(Duration::from_secs(90)),
            hosts: Vec::new(),
        }
    }
}

fn variable(key: &str, value: &str) -> Variable {
    let all = [(OsString::from(format!("TRELLIS_{key}")), OsString::from(value))];
    variables(all.into_iter()).unwrap().pop().unwrap()
}

fn refused(variables: Vec<Variable>, flags: &[&str]) -> String {
    load(None, variables, flags).unwrap_err().to_string()
}

#[test]
fn later_sources_override_earlier_ones() {
    let mut file = std::env::temp_dir();
    file.push(format!("trellis-config-{}.toml", std::process::id()));
    fs::File::create(&file).unwrap().write_all(b"[server]\nport = 2\nname = 'file'\n").unwrap();
    let variables = vec![variable("SERVER__PORT", "3"), variable("SERVER__PASSWORD", "123456")];
    let sample = load(Some(&file), variables, &["server.wait=250ms"]).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!((sample.server.port, sample.server.name.as_str()), (3, "file"));
    assert_eq!(sample.server.password.expose(), "123456");
    assert_eq!(sample.server.wait, Span(Duration::from_millis(250)));
}

#[test]
fn environment_may_contain_any_bytes() {
    use std::os::unix::ffi::OsStringExt as _;
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let others = [(b"OTHER".as_slice(), b"\xff".as_slice()), (b"\xff", b"1"), (b"TRELLIS_CONFIG", b"/\xff")];
    let own = [(b"TRELLIS_SERVER__PORT".as_slice(), b"3".as_slice())];
    let all = others.iter().chain(&own).map(|(name, value)| (text(name), text(value)));
    let key = ["server", "port"].map(str::to_owned).to_vec();
    let found = Variable { name: "TRELLIS_SERVER__PORT".to_owned(), key, value: "3".to_owned() };
    assert_eq!(variables(all).unwrap(), [found]);
    let error = variables([(text(b"TRELLIS_SERVER__NAME"), text(b"\xff"))].into_iter()).unwrap_err();
    assert_eq!(error.to_string(), "configuration: TRELLIS_SERVER__NAME: the value is not UTF-8");
    let unknown = variables([(text(b"TRELLIS_\xff"), text(b"1"))].into_iter()).unwrap();
    assert!(refused(unknown, &[]).contains("unknown key"));
}

#[test]
fn errors_name_the_key() {
    assert!(
        refused(vec![variable("SERVER__PROT", "3")], &[]).contains("TRELLIS_SERVER__PROT: unknown key server.prot")
    );
    assert!(refused(vec![variable("SERVER__PORT", "x")], &[]).contains("expected a whole number, got \"x\""));
    assert!(refused(vec![], &["server.port=70000"]).contains("server.port: "));
    assert!(refused(vec![], &["server.wait=5 parsecs"]).contains("server.wait: expected a duration"));
    assert!(refused(vec![], &["server"]).contains("expected KEY=VALUE"));
}

#[test]
fn unknown_key_suggests_the_closest_one() {
    let variables = vec![variable("SERVER__PROT", "3")];
    assert!(refused(variables, &[]).ends_with("unknown key server.prot; did you mean server.port?"));
    assert!(refused(vec![], &["sever.port=3"]).ends_with("unknown key sever; did you mean server?"));
    assert!(refused(vec![], &["server.colour=3"]).ends_with("unknown key server.colour"));
}

#[test]
fn mistake_in_a_file_names_the_key_and_an_example() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, expected) in [
        ("[server]\nhsts = 1", "unknown key server.hsts; did you mean server.hosts?"),
        ("[sever]", "unknown key sever; did you mean server?"),
        ("[server]\nhosts = \"a:1\"", "server.hosts: invalid type: string \"a:1\", expected a list, such as [\"a:1\"]"),
        ("[server]\nport = \"1\"", "server.port: invalid type: string \"1\", expected a whole number"),
        ("server = 1", "server: invalid type: integer `1`, expected a table"),
        ("routes = 1", "routes: invalid type: integer `1`, expected a table"),
        (
            "[upstreams]\n\"acme.shop\" = \"http://a\"",
            "upstreams.\"acme.shop\": invalid type: string \"http://a\", expected a table, such as { to = \"http://a\" }",
        ),
        (
            "[upstreams.\"acme.shop\"]\nnames = [1]",
            "upstreams.\"acme.shop\".names[0]: invalid type: integer `1`, expected a string",
        ),
    ] {
        fs::write(file.path(), text).unwrap();
        let line = load(Some(file.path()), vec![], &[]).unwrap_err().to_string();
        assert_eq!(line, format!("configuration: {}: {expected}", file.path().display()));
    }
    fs::write(file.path(), "[routes]\nany = \"http://a\"").unwrap();
    assert!(load(Some(file.path()), vec![], &[]).is_ok());
}

#[test]
fn open_tables_accept_any_key_and_lists_accept_commas() {
    let sample = load(None, vec![], &["routes.acme=http://a", "server.hosts=a, b"]).unwrap();
    assert_eq!(sample.routes["acme"], "http://a");
    assert_eq!(sample.server.hosts, ["a", "b"]);
}

#[test]
fn secrets_are_masked_in_all_output() {
    let sample = load(None, vec![variable("SERVER__PASSWORD", "hunter2")], &[]).unwrap();
    let shown = format!("{}{sample:?}", print(&sample).unwrap());
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("wait = \"90s\""), "{shown}");
}

/// Names that the operator chooses may have dots, and their entries have the types of the schema.
#[test]
fn entries_of_open_tables_are_set_by_flags() {
    let variables = vec![variable("UPSTREAMS__ACME__CALLS", "3")];
    let flags = [
        "upstreams.\"acme.shop\".to=http://a?b=c",
        "upstreams.\"acme.shop\".is_open=true",
        "upstreams.'a=b'.names=a, b",
        "upstreams.acme.names=[\"a, b\"]",
    ];
    let sample = load(None, variables, &flags).unwrap();
    let shop = &sample.upstreams["acme.shop"];
    assert_eq!((shop.to.as_str(), shop.is_open), ("http://a?b=c", true));
    assert_eq!(sample.upstreams["a=b"].names, ["a", "b"]);
    assert_eq!((sample.upstreams["acme"].calls, &sample.upstreams["acme"].names[..]), (3, &["a, b".to_owned()][..]));
    let unknown = refused(vec![], &["upstreams.acme.too=x"]);
    assert!(unknown.ends_with("unknown key upstreams.acme.too; did you mean upstreams.acme.to?"), "{unknown}");
    for (flag, expected) in [
        ("upstreams.acme.calls=x", "expected a whole number"),
        ("upstreams.acme.to.x=x", "upstreams.acme.to is not a table; a name with dots is in quotes"),
        ("upstreams.\"acme=x", "expected KEY=VALUE"),
        ("upstreams.acme.names=[x", "expected a list"),
    ] {
        assert!(refused(vec![], &[flag]).contains(expected), "{flag}: {}", refused(vec![], &[flag]));
    }
}

#[test]
fn name_with_dots_without_quotes_is_explained() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[upstreams.acme.shop]\nto = \"http://a\"").unwrap();
    let line = load(Some(file.path()), vec![], &[]).unwrap_err().to_string();
    assert!(line.contains("unknown field `shop`") && line.contains("a name with dots is in quotes"), "{line}");
    let flag = refused(vec![], &["upstreams.acme.shop.to=http://a"]);
    assert!(
        flag.contains("unknown key upstreams.acme.shop") && flag.contains("a name with dots is in quotes"),
        "{flag}"
    );
}

#[test]
fn differences_quote_names_with_dots() {
    let with = |to: &str| Sample {
        upstreams: [("acme.shop".to_owned(), Upstream { to: to.to_owned(), ..Upstream::default() })].into(),
        ..Sample::default()
    };
    assert_eq!(differences(&with("a"), &with("b")).unwrap(), ["upstreams.\"acme.shop\".to"]);
}
