use std::{collections::BTreeMap, io::Write};

use super::*;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    server: Server,
    routes: BTreeMap<String, String>,
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

fn variable(key: &str, value: &str) -> (String, String, String) {
    (format!("TRELLIS_{key}"), key.to_ascii_lowercase().replace("__", "."), value.to_owned())
}

fn refused(variables: Vec<(String, String, String)>, flags: &[&str]) -> String {
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
    from_sources::<Sample>(None, variables, &flags).unwrap_err().to_string()
}

#[test]
fn later_sources_override_earlier_ones() {
    let mut file = std::env::temp_dir();
    file.push(format!("trellis-config-{}.toml", std::process::id()));
    fs::File::create(&file).unwrap().write_all(b"[server]\nport = 2\nname = 'file'\n").unwrap();
    let variables = vec![variable("SERVER__PORT", "3"), variable("SERVER__PASSWORD", "123456")];
    let sample: Sample = from_sources(Some(&file), variables, &["server.wait=250ms".to_owned()]).unwrap();
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
    let found = ("TRELLIS_SERVER__PORT".to_owned(), "server.port".to_owned(), "3".to_owned());
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
    ] {
        fs::write(file.path(), text).unwrap();
        let line = from_sources::<Sample>(Some(file.path()), vec![], &[]).unwrap_err().to_string();
        assert_eq!(line, format!("configuration: {}: {expected}", file.path().display()));
    }
    fs::write(file.path(), "[routes]\nany = \"http://a\"").unwrap();
    assert!(from_sources::<Sample>(Some(file.path()), vec![], &[]).is_ok());
}

#[test]
fn open_tables_accept_any_key_and_lists_accept_commas() {
    let flags = ["routes.acme=http://a".to_owned(), "server.hosts=a, b".to_owned()];
    let sample: Sample = from_sources(None, vec![], &flags).unwrap();
    assert_eq!(sample.routes["acme"], "http://a");
    assert_eq!(sample.server.hosts, ["a", "b"]);
}

#[test]
fn secrets_are_masked_in_all_output() {
    let sample: Sample = from_sources(None, vec![variable("SERVER__PASSWORD", "hunter2")], &[]).unwrap();
    let shown = format!("{}{sample:?}", print(&sample).unwrap());
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("wait = \"90s\""), "{shown}");
}
