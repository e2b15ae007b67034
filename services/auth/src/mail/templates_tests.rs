use super::*;

fn values(address: &str) -> Values {
    Values {
        link: "https://chat.example.org/#/reset-password/trm_x".to_owned(),
        minutes: 30,
        address: address.to_owned(),
        user_agent: "curl".to_owned(),
        ..Values::default()
    }
}

#[test]
fn mail_has_text_and_html_with_the_same_paragraphs() {
    let templates = Templates::default();
    for (language, subject) in
        [("en", "Set a new password"), ("de-AT", "Neues Passwort setzen"), ("fr", "Set a new password")]
    {
        let written =
            templates.write(MailKind::PasswordReset, &Language::stored(language), values("10.0.0.1")).unwrap();
        assert_eq!(written.subject, subject, "{language}");
        assert!(written.text.contains("\nhttps://chat.example.org/#/reset-password/trm_x\n"), "{}", written.text);
        assert!(
            written.html.contains(r#"href="https:&#x2f;&#x2f;chat.example.org&#x2f;#&#x2f;reset-password"#),
            "{}",
            written.html
        );
        assert!(written.text.contains("30") && written.html.contains("30"));
    }
}

#[test]
fn values_add_no_markup_and_no_paragraph() {
    let templates = Templates::default();
    let evil = "<img src=x>\n\nhttps://evil.example\n\nBcc: x";
    let written = templates.write(MailKind::PasswordReset, &Language::default(), values(evil)).unwrap();
    assert!(!written.html.contains("<img"), "{}", written.html);
    assert!(!written.text.contains("\nhttps://evil"), "{}", written.text);
}

#[test]
fn folder_replaces_templates_and_its_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let read = || Templates::read(folder.path().to_str().unwrap());
    fs::create_dir(folder.path().join("fr")).unwrap();
    let file = folder.path().join("fr/password_reset.txt");
    fs::write(&file, "Subject: Nouveau mot de passe\n\nLien :\n\n{{ link }}\n").unwrap();
    let written = read().unwrap().write(MailKind::PasswordReset, &Language::stored("fr"), values("")).unwrap();
    assert_eq!((written.subject.as_str(), written.text.lines().next()), ("Nouveau mot de passe", Some("Lien :")));
    for (text, why) in [
        ("Subject: a\n\nno link", "is missing"),
        ("Subject: a\n\n{{ link }} {{ unknown }}", "undefined"),
        ("Subject: a\n\n{{ link", "syntax error"),
        ("no header\n\n{{ link }}", "Subject:"),
    ] {
        fs::write(&file, text).unwrap();
        let error = read().err().unwrap();
        assert!(error.contains("fr/password_reset.txt") && error.contains(why), "{error}");
    }
    fs::remove_file(&file).unwrap();
    fs::write(folder.path().join("fr/other.txt"), "x").unwrap();
    assert!(read().err().unwrap().contains("no mail has this name"));
    assert!(Templates::read("/nowhere").err().unwrap().starts_with("auth.mail.templates: /nowhere: "));
}
