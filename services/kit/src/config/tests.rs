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
