use super::*;

fn arguments(method: &str, origin: Option<&str>, gateway: Option<&str>) -> cli::Explain {
    let text = |text: &str| text.to_owned();
    cli::Explain { method: text(method), origin: origin.map(text), gateway: gateway.map(text), json: false }
}

fn of(config: &Config, arguments: &cli::Explain) -> Result<Explanation, String> {
    explain(&Declared::read(config).unwrap(), arguments)
}

fn explained(method: &str) -> Explanation {
    of(&Config::default(), &arguments(method, None, None)).unwrap()
}

/// The verdict on a page for a method that reads the session cookie.
fn page(origin: &str, gateway: &str, listed: &[&str]) -> Browser {
    let mut config = Config::default();
    config.gateway.cors_origins = listed.iter().map(|origin| (*origin).to_owned()).collect();
    let arguments = arguments("RefreshToken", Some(origin), Some(gateway));
    of(&config, &arguments).unwrap().browser.unwrap()
}

#[test]
fn method_is_found_by_the_end_of_its_name() {
    let config = Config::default();
    let declared = Declared::read(&config).unwrap();
    for name in [
        "trellis.users.v1.UsersService/GetUser",
        "/trellis.users.v1.UsersService/GetUser",
        "trellis.users.v1.UsersService.GetUser",
        "UsersService/GetUser",
        "GetUser",
        "getuser",
    ] {
        let found = explain(&declared, &arguments(name, None, None)).unwrap();
        assert_eq!(found.method, "trellis.users.v1.UsersService/GetUser", "{name}");
    }
}

#[test]
fn unknown_method_gets_suggestions() {
    let config = Config::default();
    let declared = Declared::read(&config).unwrap();
    let error = |name| explain(&declared, &arguments(name, None, None)).unwrap_err();
    let similar = error("UsersService/GetUsr");
    assert!(similar.contains("did you mean trellis.users.v1.UsersService/GetUser"), "{similar}");
    for name in ["", "User", "Completely/Different"] {
        assert!(error(name).starts_with("there is no method"), "{name}");
    }
}

#[test]
fn completion_scripts_offer_the_methods() {
    use clap::CommandFactory as _;
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::Cli::command(), "trellis", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("trellis.users.v1.UsersService/GetUser"), "{shell}");
    }
}

#[test]
fn every_callable_method_has_its_commands() {
    let config = Config::default();
    let declared = Declared::read(&config).unwrap();
    for (path, policy) in declared.table.iter() {
        let explanation = explain(&declared, &arguments(path, None, None)).unwrap();
        let is_internal = matches!(policy.access, Access::Internal { .. });
        assert_eq!((explanation.callable, explanation.commands.is_empty()), (!is_internal, is_internal), "{path}");
        for protocol in ["GraphQL", "WebSocket"] {
            let has = explanation.commands.iter().any(|command| command.protocol == protocol);
            assert_eq!(has, !is_internal, "{path}: {protocol}");
        }
        for command in &explanation.commands {
            let names_token = command.text.contains("ACCESS_TOKEN");
            assert_eq!(names_token, policy.access.is_for_users(), "{path}: {}", command.text);
        }
        let text = text::of(&explanation);
        assert!(explanation.commands.iter().all(|command| text.contains(command.text.trim_end())), "{path}");
    }
}

#[test]
fn policy_rows_are_those_of_the_policy_command() {
    let config = Config::default();
    let printed = policy::print(&config).unwrap();
    let explanation = explained("GetUser");
    for Setting { name, value, source } in &explanation.policy {
        assert!(printed.contains(&format!("  {name:<13} {value:<44} {source}")), "{name}");
    }
    assert!(explanation.policy.len() > 3);
}

#[test]
fn internal_method_is_not_callable() {
    let explanation = explained("CreateUser");
    let text = text::of(&explanation);
    assert!(text.contains("No client can call it.") && text.contains("internal: "), "{text}");
}

#[test]
fn address_of_the_gateway_is_in_each_command() {
    let arguments = arguments("GetJwks", None, Some("https://api.example.org/"));
    let explanation = of(&Config::default(), &arguments).unwrap();
    for command in &explanation.commands {
        assert!(command.text.contains("api.example.org"), "{}", command.text);
        assert!(!command.text.contains("-plaintext") && !command.text.contains("insecure_channel"), "{}", command.text);
    }
    assert!(explanation.commands.iter().any(|command| command.text.contains("api.example.org:443")));
    for wrong in ["api.example.org", "ftp://a", "https://a/b"] {
        assert!(of(&Config::default(), &self::arguments("GetJwks", None, Some(wrong))).is_err(), "{wrong}");
    }
    let mut config = Config::default();
    config.gateway.listen = vec!["0.0.0.0:9000".to_owned()];
    assert_eq!(of(&config, &self::arguments("GetJwks", None, None)).unwrap().gateway, "http://localhost:9000");
}

#[test]
fn page_of_the_gateway_needs_no_permission() {
    let own = page("http://localhost:8080", "http://localhost:8080", &[]);
    assert!(own.can_call && own.cors.starts_with("allowed"));
    assert!(own.cookies.ends_with("by itself"), "its path is that of each form: {}", own.cookies);
    let over_tls = page("https://a.example", "https://a.example:443", &[]);
    assert!(over_tls.can_call && over_tls.cookies.ends_with("by itself"), "{}", over_tls.cookies);
}

#[test]
fn page_of_another_origin_needs_an_entry() {
    let refused = page("https://app.example.org", "https://api.example.org", &[]);
    assert!(!refused.can_call && refused.cors.contains("Add \"https://app.example.org\" to gateway.cors_origins"));
    assert!(refused.cookies.starts_with("none"));
    let listed = page("https://app.example.org", "https://api.example.org", &["https://app.example.org"]);
    assert!(listed.can_call && listed.cookies.contains("one site"), "{}", listed.cookies);
    let other_scheme = page("http://api.example.org", "https://api.example.org", &[]);
    assert!(!other_scheme.can_call && other_scheme.cors.contains("different schemes"), "{}", other_scheme.cors);
}

#[test]
fn insecure_gateway_is_remarked() {
    let mixed = page("https://app.example.org", "http://api.example.org", &["https://app.example.org"]);
    assert!(!mixed.can_call && mixed.tls[0].contains("mixed content") && mixed.cookies.starts_with("none"));
    let plain = page("http://app.example.org", "http://api.example.org", &["http://app.example.org"]);
    assert!(plain.can_call && plain.tls[0].contains("readable on the network"));
    let local = page("https://app.example.org", "http://localhost:8080", &["https://app.example.org"]);
    assert!(local.can_call && local.tls[0].contains("machine of the browser"), "{:?}", local.tls);
    let proxy = page("https://app.example.org", "https://api.example.org", &["https://app.example.org"]);
    assert!(proxy.tls[0].contains("a proxy in front"), "{:?}", proxy.tls);
    assert!(of(&Config::default(), &arguments("GetJwks", Some("app.example.org"), None)).is_err());
}

#[test]
fn headings_of_subscribe_name_each_form() {
    let explanation = explained("Subscribe");
    let protocols: Vec<_> = explanation.commands.iter().map(|of| (&*of.protocol, of.program)).collect();
    for (at, one) in protocols.iter().enumerate() {
        assert!(!protocols[..at].contains(one), "{one:?} comes twice");
    }
    let events = explanation.commands.iter().find(|of| of.protocol == "server-sent events").unwrap();
    assert!(!events.text.contains("-X") && !events.text.contains("-d "), "EventSource uses GET: {}", events.text);
    let graphql = explanation.commands.iter().find(|of| of.protocol == "GraphQL").unwrap();
    assert!(graphql.text.contains("subscription {") && graphql.text.contains("text/event-stream"), "{}", graphql.text);
    let socket = explanation.commands.iter().find(|of| of.protocol == commands::GRAPHQL_SOCKET).unwrap();
    for part in ["graphql-transport-ws", "connection_init", "subscription {", "/graphql\""] {
        assert!(socket.text.contains(part), "{part}: {}", socket.text);
    }
    let unary = explained("ListUsers").commands;
    assert!(!unary.iter().any(|of| of.protocol == commands::GRAPHQL_SOCKET), "a query needs no socket");
}

#[test]
fn absence_of_graphql_is_noted_with_its_setting() {
    let mut config = Config::default();
    config.gateway.graphql.enabled = false;
    let off = of(&config, &arguments("GetUser", None, None)).unwrap();
    assert!(!off.commands.iter().any(|of| of.protocol == "GraphQL"));
    assert!(off.notes.iter().any(|note| note.contains("gateway.graphql.enabled = true")), "{:?}", off.notes);
    let on = explained("GetUser").notes;
    assert!(!on.iter().any(|note| note.contains("GraphQL")), "{on:?}");
    let config = Config::default();
    let mut declared = Declared::read(&config).unwrap();
    external(&mut declared);
    let method = declared.methods.iter().find(|method| method.upstream.is_some()).unwrap();
    let (gateway, kind) = (GatewayUrl::new(None, &config.gateway).unwrap(), Kind::Unary);
    let (needs_token, needs_certificate, issuers) = (false, false, &[][..]);
    let call = Call { method, kind, needs_token, needs_certificate, issuers, gateway: &gateway, config: &config };
    let (_, notes) = call.commands().unwrap();
    assert!(notes.iter().any(|note| note.contains("gateway.external.\"trellis.users.v1\".graphql")), "{notes:?}");
}

#[test]
fn samples_of_a_request_are_named() {
    let named = |method| explained(method).notes.into_iter().find(|note| note.contains("samples"));
    let note = named("SendMessage").unwrap();
    assert!(["conversationId", "clientMessageId", "text"].iter().all(|field| note.contains(field)), "{note}");
    assert_eq!(named("GetJwks"), None);
}

#[test]
fn responses_of_bytes_are_not_read_as_json() {
    let config = Config::default();
    let mut declared = Declared::read(&config).unwrap();
    let forms = declared.methods.iter_mut().flat_map(|method| &mut method.forms);
    forms.for_each(|form| form.gives_bytes = true);
    let stream = explain(&declared, &arguments("Subscribe", None, None)).unwrap();
    assert!(!stream.commands.iter().any(|of| of.protocol == "server-sent events"), "a stream of bytes has no events");
    let whole = explain(&declared, &arguments("ListUsers", None, None)).unwrap();
    assert!(!whole.commands.iter().any(|of| of.text.contains("response.json()")));
}

#[test]
fn commands_that_need_a_token_come_after_those_that_set_it() {
    for method in ["ListUsers", "SignIn"] {
        let text = text::of(&explained(method));
        let set = text.find("export ACCESS_TOKEN").unwrap();
        assert!(text.find("AuthService/SignUp").unwrap() < set, "{method}");
        assert!(text.contains("the response to the sign-in: $SIGNED_IN"), "{method}");
        assert!(text.find("# gRPC\n").unwrap() > set, "{method}");
    }
    assert_eq!(explained("GetJwks").token, None);
}

#[test]
fn upstreams_without_a_file_are_named() {
    let mut config = Config::default();
    config.gateway.external.insert("acme.shop".to_owned(), gateway::config::ExternalConfig::default());
    let declared = Declared::read(&config).unwrap();
    for name in ["acme.shop.Cart/Get", "Cart/Get", "UsersService/GetUsr"] {
        let error = explain(&declared, &arguments(name, None, None)).unwrap_err();
        assert!(error.contains("acme.shop") && error.contains("protoc --include_imports -o"), "{error}");
    }
}

/// A method of an external upstream, with the contract of `GetUser`.
fn external(declared: &mut Declared<'_>) {
    let path = "/trellis.users.v1.UsersService/GetUser";
    let method = declared.methods.iter_mut().find(|method| method.path == path).unwrap();
    method.upstream = Some("trellis.users.v1".to_owned());
}

#[test]
fn token_of_another_issuer_needs_no_sign_up() {
    let mut config = Config::default();
    let acme = gateway::config::TokenIssuerConfig {
        issuer: "https://login.acme.example".to_owned(),
        audiences: vec!["https://api.acme.example".to_owned()],
        ..gateway::config::TokenIssuerConfig::default()
    };
    config.gateway.token_issuers.insert("acme".to_owned(), acme);
    let upstream = gateway::config::ExternalConfig {
        token_issuers: vec!["acme".to_owned()],
        ..gateway::config::ExternalConfig::default()
    };
    config.gateway.external.insert("trellis.users.v1".to_owned(), upstream);
    let defaults = Config::default();
    let mut declared = Declared::read(&defaults).unwrap();
    external(&mut declared);
    let method = declared.methods.iter().find(|method| method.upstream.is_some()).unwrap();
    let issuers = token::issuers(method, &config.gateway);
    assert_eq!(issuers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["acme"]);
    assert!(!token::is_shown(method, true, &issuers) && token::is_shown(method, true, &[]));
    let gateway = GatewayUrl::new(None, &config.gateway).unwrap();
    let (kind, needs_certificate) = (Kind::Unary, false);
    let call = Call {
        method,
        kind,
        needs_token: true,
        needs_certificate,
        issuers: &issuers,
        gateway: &gateway,
        config: &config,
    };
    let (_, notes) = call.commands().unwrap();
    assert!(notes[0].contains("https://login.acme.example for the audience https://api.acme.example"), "{notes:?}");
    assert!(!notes[0].contains("commands at the top"), "{notes:?}");
}

#[test]
fn commands_present_a_required_client_certificate() {
    let mut config = Config::default();
    config.gateway.tls.client_certificate_methods = vec!["trellis.users".to_owned()];
    let secure = |method| of(&config, &arguments(method, None, Some("https://api.example.org"))).unwrap();
    let explanation = secure("GetUser");
    assert!(explanation.needs_certificate && explanation.commands.len() > 5);
    for CallCommand { text, .. } in &explanation.commands {
        assert!(text.contains("client.crt") && text.contains("client.key"), "{text}");
    }
    assert!(explanation.notes.iter().any(|note| note.contains("gateway.tls.client_ca")), "{:?}", explanation.notes);
    assert!(!secure("ListSessions").commands.iter().any(|command| command.text.contains("client.crt")));
    // Without TLS there is no certificate.
    let plain = of(&config, &arguments("GetUser", None, Some("http://localhost:8080"))).unwrap();
    assert!(!plain.commands.iter().any(|command| command.text.contains("client.crt")));
    assert!(plain.notes.iter().any(|note| note.contains("--gateway https://")), "{:?}", plain.notes);
    config.gateway.tls.client_certificates = ClientCertificates::Required;
    assert!(of(&config, &arguments("GetJwks", None, Some("https://a.example"))).unwrap().needs_certificate);
}
