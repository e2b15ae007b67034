//! Writes mails from templates.
//!
//! A mail is one text template: headers (`Subject`, and `Button` if there is a link), an empty line, and paragraphs.
//! The HTML form is made of the same paragraphs by `layout.html`, which escapes them; a paragraph that is the link
//! becomes a button. `<language>/<kind>.html` replaces that form for one mail.
//!
//! An operator's folder replaces each file by its name, and adds languages. Every template is tried at the start.

use std::{collections::BTreeMap, fs, path::Path};

use minijinja::{
    AutoEscape, Environment, UndefinedBehavior,
    value::{Serde, Value},
};
use serde::Serialize;

use crate::domain::{Language, MailKind};

/// The language of mails to clients without one of the languages of the templates.
const DEFAULT: &str = "en";
const LAYOUT: &str = "layout.html";
/// The largest file of an operator's folder.
const FILE_BYTES: u64 = 256 * 1_024;

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $name)))),+]
    };
}

/// The templates in the binary.
const BUILT_IN: &[(&str, &str)] = built_in![
    "layout.html",
    "en/password_reset.txt",
    "en/email_verification.txt",
    "en/email_change.txt",
    "en/email_change_requested.txt",
    "en/email_changed.txt",
    "en/password_changed.txt",
    "en/new_device.txt",
    "en/session_ended.txt",
    "en/account_suspended.txt",
    "en/account_restored.txt",
    "en/role_granted.txt",
    "en/role_revoked.txt",
    "en/factor_added.txt",
    "en/factor_removed.txt",
    "en/recovery_code_used.txt",
    "en/recovery_codes_replaced.txt",
    "de/password_reset.txt",
    "de/email_verification.txt",
    "de/email_change.txt",
    "de/email_change_requested.txt",
    "de/email_changed.txt",
    "de/password_changed.txt",
    "de/new_device.txt",
    "de/session_ended.txt",
    "de/account_suspended.txt",
    "de/account_restored.txt",
    "de/role_granted.txt",
    "de/role_revoked.txt",
    "de/factor_added.txt",
    "de/factor_removed.txt",
    "de/recovery_code_used.txt",
    "de/recovery_codes_replaced.txt",
];

/// All templates, by their file names.
pub(crate) struct Templates {
    environment: Environment<'static>,
    names: Vec<String>,
}

/// What templates can name. All values are texts of one line.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Values {
    /// The link. Empty: the mail has none.
    pub(crate) link: String,
    /// The address of the page.
    pub(crate) page: String,
    /// For how many minutes the link is valid.
    pub(crate) minutes: u64,
    /// The same in hours.
    pub(crate) hours: u64,
    /// The same in days.
    pub(crate) days: u64,
    /// The address to which the mail goes.
    pub(crate) recipient: String,
    /// The client that caused the mail.
    pub(crate) user_agent: String,
    /// The address of that client.
    pub(crate) address: String,
    /// The new e-mail address of the account, masked.
    pub(crate) new_email: String,
    /// The role that the account has got or lost.
    pub(crate) role: String,
    /// When the mail was caused, in UTC.
    pub(crate) time: String,
    /// The language of the template.
    pub(crate) language: String,
}

/// A written mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenMail {
    /// Its subject.
    pub(crate) subject: String,
    /// Its plain text.
    pub(crate) text: String,
    /// Its HTML form.
    pub(crate) html: String,
}

/// What the layout can name besides the values.
#[derive(Serialize)]
struct Layout<'a> {
    #[serde(flatten)]
    values: &'a Values,
    subject: &'a str,
    button: &'a str,
    paragraphs: Vec<&'a str>,
}

impl Default for Templates {
    fn default() -> Self {
        let files = BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self::new(files.collect()).expect("the built-in templates are tried by a test")
    }
}

impl Templates {
    /// The built-in templates, with those in `folder` in their places. Empty: the built-in ones only.
    pub(crate) fn read(folder: &str) -> Result<Self, String> {
        if folder.is_empty() {
            return Ok(Self::default());
        }
        let mut files: BTreeMap<_, _> =
            BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        files.extend(read_folder(Path::new(folder)).map_err(|why| format!("auth.mail.templates: {folder}: {why}"))?);
        Self::new(files).map_err(|why| format!("auth.mail.templates: {folder}/{why}"))
    }

    /// Compiles the templates, and tries each of them.
    fn new(files: BTreeMap<String, String>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
            .set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
        let mut names = Vec::new();
        for (name, text) in files {
            environment.add_template_owned(name.clone(), text).map_err(|why| format!("{name}: {why}"))?;
            names.push(name);
        }
        let templates = Self { environment, names };
        templates.names.iter().try_for_each(|name| templates.check(name))?;
        Ok(templates)
    }

    /// Tries one template with a sample of each value.
    fn check(&self, name: &str) -> Result<(), String> {
        let Some((language, file)) = name.split_once('/') else { return Ok(()) };
        let kind = file.rsplit_once('.').and_then(|(kind, _)| MailKind::parse(kind));
        let kind = kind.ok_or_else(|| format!("{name}: no mail has this name"))?;
        if !self.names.contains(&format!("{language}/{}.txt", kind.as_str())) {
            return Err(format!("{name}: {language}/{}.txt is missing, which every mail needs", kind.as_str()));
        }
        let sample = |what: &str| format!("a sample of {what}");
        let link = if kind.page().is_some() { "https://example.org/#/page/token" } else { "" };
        let values = Values {
            link: link.to_owned(),
            page: "https://example.org".to_owned(),
            minutes: 30,
            hours: 1,
            days: 1,
            recipient: sample("an address"),
            user_agent: sample("a client"),
            address: sample("its address"),
            new_email: sample("a new address"),
            role: sample("a role"),
            time: sample("a time"),
            language: language.to_owned(),
        };
        let written = self.write(kind, &Language::stored(language), values).map_err(|why| format!("{name}: {why}"))?;
        let lacks = |text: &str| !link.is_empty() && !text.contains(link);
        if lacks(&written.text) || lacks(&written.html.replace("&#x2f;", "/")) {
            return Err(format!("{name}: {{{{ link }}}} is missing, and the mail is of no use without it"));
        }
        Ok(())
    }

    /// Writes a mail in the best language.
    pub(crate) fn write(&self, kind: MailKind, language: &Language, values: Values) -> Result<WrittenMail, String> {
        let language = self.language(kind, language);
        let values = Values { language: language.to_owned(), ..values.in_one_line() };
        let text = self.render(&format!("{language}/{}.txt", kind.as_str()), &values)?;
        let text = text.replace("\r\n", "\n");
        let (headers, body) = text.split_once("\n\n").ok_or("an empty line after the headers is missing")?;
        let header = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let subject = header("Subject:").filter(|subject| !subject.is_empty()).ok_or("the line Subject: is missing")?;
        let button = header("Button:").unwrap_or(&values.link);
        let paragraphs = body.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()).collect();
        let layout = Layout { values: &values, subject, button, paragraphs };
        let own = format!("{language}/{}.html", kind.as_str());
        let html = self.render(if self.names.contains(&own) { &own } else { LAYOUT }, &layout)?;
        Ok(WrittenMail { subject: subject.to_owned(), text: format!("{}\n", body.trim()), html })
    }

    /// The first form of `wanted` that has a template, or English.
    fn language<'a>(&self, kind: MailKind, wanted: &'a Language) -> &'a str {
        let has = |language: &&str| self.names.contains(&format!("{language}/{}.txt", kind.as_str()));
        wanted.forms().find(has).unwrap_or(DEFAULT)
    }

    fn render(&self, name: &str, values: &impl Serialize) -> Result<String, String> {
        let template = self.environment.get_template(name).map_err(|why| why.to_string())?;
        template.render(Value::from(Serde(values))).map_err(|why| why.to_string())
    }
}

impl Values {
    /// Replaces line breaks and other control characters, with which a client could add paragraphs of its own.
    fn in_one_line(self) -> Self {
        let line = |text: String| text.replace(char::is_control, " ");
        Self {
            link: line(self.link),
            page: line(self.page),
            minutes: self.minutes,
            hours: self.hours,
            days: self.days,
            recipient: line(self.recipient),
            user_agent: line(self.user_agent),
            address: line(self.address),
            new_email: line(self.new_email),
            role: line(self.role),
            time: line(self.time),
            language: line(self.language),
        }
    }
}

/// The files of an operator's folder: `layout.html`, and one folder for each language.
fn read_folder(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    for (name, path) in list(folder)? {
        if name == LAYOUT {
            files.insert(name, text_of(&path)?);
        } else if path.is_dir() && !Language::stored(&name).as_str().is_empty() {
            let language = name.to_ascii_lowercase();
            for (file, path) in list(&path)? {
                if !file.ends_with(".txt") && !file.ends_with(".html") {
                    return Err(format!("{name}/{file}: is neither .txt nor .html"));
                }
                files.insert(format!("{language}/{file}"), text_of(&path)?);
            }
        } else {
            return Err(format!("{name}: is neither {LAYOUT} nor the folder of a language, such as en"));
        }
    }
    Ok(files)
}

/// The files and folders in `folder`. Hidden ones are left out: Kubernetes mounts contain them.
fn list(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|why| why.to_string())? {
        let entry = entry.map_err(|why| why.to_string())?;
        let name = entry.file_name().into_string().map_err(|_| "a file has a name that is not UTF-8".to_owned())?;
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn text_of(path: &Path) -> Result<String, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let size = fs::metadata(path).map_err(|why| wrong(&why))?.len();
    if size > FILE_BYTES {
        return Err(wrong(&format!("has {size} bytes, more than {FILE_BYTES}")));
    }
    fs::read_to_string(path).map_err(|why| wrong(&why))
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
