//! The binary: reads the command line and the configuration, runs the command, and reports an error in one line.

mod accounts;
mod audit;
mod banner;
mod beside;
mod bind;
mod cleartext;
mod cli;
mod config;
mod data;
mod explain;
mod files;
mod identities;
mod jobs;
mod keys;
mod listeners;
mod memory;
mod part;
mod peppers;
mod policy;
mod process;
mod progress;
mod reload;
mod rotation;
mod runtime;
mod services;
mod signals;
mod start_check;
mod stores;
mod token;

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};
use cli::{Cli, Command};
use config::Config;
use kit_data::store::Migrated;
use part::Part;
use reload::Source;
use services::Service;
use start_check::Scope;
use stores::Stores;

fn main() -> ExitCode {
    memory::prefer_small_pages();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "trellis: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    let source = Source { file: cli.config, flags: cli.set };
    let load = || source.load();
    match cli.command {
        None => serve(&source, Part::ALL),
        Some(Command::Service(service)) => serve(&source, &[Part::Service(service)]),
        Some(Command::Gateway) => serve(&source, &[Part::Gateway]),
        Some(Command::Migrate { services }) => migrate(&load()?, &services),
        Some(Command::Config { check: None }) => print(&load()?.print()?),
        Some(Command::Config { check: Some(part) }) => check(&load()?, part),
        Some(Command::Policy) => print(&policy::print(&load()?)?),
        Some(Command::Explain(arguments)) => print(&explain::print(&load()?, &arguments)?),
        Some(Command::Keys { command: cli::Keys::New { name, out } }) => new_identity(&name, &out),
        Some(Command::Keys { command: cli::Keys::Auth { out } }) => {
            auth::Keys::create(&out).map_err(|e| e.to_string())?;
            print(&format!(
                "the keys are in {}\nthis folder is secret: give it only to auth (auth.keys_dir)",
                out.display()
            ))
        }
        Some(Command::Keys { command: cli::Keys::Rotate { dir, now } }) => {
            print(&rotation::rotate(&rotation::folder(dir, load)?, now)?)
        }
        Some(Command::Keys { command: cli::Keys::Replace { dir } }) => {
            print(&rotation::replace(&rotation::folder(dir, load)?)?)
        }
        Some(Command::Keys { command: cli::Keys::List { dir } }) => {
            print(&rotation::list(&rotation::folder(dir, load)?)?)
        }
        Some(Command::Keys { command: cli::Keys::Pepper { dir, now } }) => {
            print(&peppers::rotate(&rotation::folder(dir, load)?, now)?)
        }
        Some(Command::Keys { command: cli::Keys::Peppers { dir } }) => {
            let config = load()?;
            print(&runtime::start()?.block_on(peppers::list(&config, dir))?)
        }
        Some(Command::Keys { command: cli::Keys::RemovePepper { id, dir, now } }) => {
            let (config, folder) = (load()?, rotation::folder(dir, load)?);
            print(&runtime::start()?.block_on(peppers::remove(&config, &folder, &id, now))?)
        }
        Some(Command::Jobs { command }) => {
            let config = load()?;
            print(&runtime::start()?.block_on(jobs::run(&config, command))?)
        }
        Some(Command::Token { command: cli::Token::Check }) => {
            let (report, verdict) = token::check(&load()?)?;
            print(&report)?;
            print(&verdict?)
        }
        Some(Command::Audit { command }) => {
            let config = load()?;
            runtime::start()?.block_on(audit::run(&config, command))
        }
        Some(Command::Accounts { command }) => {
            let config = load()?;
            print(&runtime::start()?.block_on(accounts::run(&config, command))?)
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "trellis", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn serve(source: &Source, parts: &[Part]) -> Result<(), String> {
    let config = source.load()?;
    // Before anything has side effects, such as a migration.
    start_check::check(&config, Scope(parts))?;
    let service = if let [part] = parts { part.name() } else { "mesh" };
    runtime::start()?.block_on(async {
        kit::telemetry::start(&config.log, &config.trace, &format!("trellis-{service}"))?;
        let idle = source.without_effect(&config, parts)?;
        if !idle.is_empty() {
            tracing::warn!(keys = idle.join(", "), "these settings have no effect in this process");
        }
        files::raise(config.limits.connections);
        let outcome = process::run(&config, source, parts).await;
        // The flush blocks until the exporter, which runs on this runtime, has finished.
        tokio::task::spawn_blocking(kit::trace::flush).await.ok();
        outcome
    })
}

/// Makes the checks of a start of the part, or of all parts in one process.
fn check(config: &Config, part: Option<Part>) -> Result<(), String> {
    start_check::check(config, Scope(part.as_ref().map_or(Part::ALL, std::slice::from_ref)))?;
    let process = part.map_or("a process of all parts", Part::name);
    print(&format!("the settings of {process} are valid; ports, databases and private keys were not checked"))
}

fn migrate(config: &Config, services: &[Service]) -> Result<(), String> {
    let wanted = |service| services.is_empty() || services.contains(&service);
    runtime::start()?.block_on(async {
        kit::telemetry::start(&config.log, &config.trace, "trellis-migrate")?;
        let mut stores = Stores::new(config);
        for service in Service::ALL.iter().copied().filter(|service| wanted(*service)) {
            service.migrate(&mut stores).await?;
            print(&format!("{}: {}{}", service.name(), stores.place(service), outcome(stores.migrated())))?;
        }
        Ok(())
    })
}

/// What the migrations of a database did, as the end of a sentence about it.
fn outcome(migrated: Option<Migrated>) -> String {
    match migrated {
        Some(Migrated { applied, version }) if applied > 0 => format!(": applied {applied}, now at {version}"),
        _ => " is up to date".to_owned(),
    }
}

fn new_identity(name: &str, out: &Path) -> Result<(), String> {
    Part::named(name).map_err(|expected| format!("--name {name}: {expected}"))?;
    let bad = |path: &Path, e: std::io::Error| format!("{} cannot be written: {e}", path.display());
    fs::create_dir_all(out).map_err(|e| bad(out, kit::secret_file::folder_error(out, e)))?;
    let (secret, public) = (out.join(format!("{name}.key")), out.join(format!("{name}.pub")));
    if let Some(path) = [&secret, &public].into_iter().find(|path| path.exists()) {
        return Err(format!("{} exists already and is not overwritten", path.display()));
    }
    let key = kit::identity::Key::generate();
    key.write(&secret).map_err(|e| bad(&secret, e))?;
    fs::write(&public, key.public() + "\n").map_err(|e| bad(&public, e))?;
    print(&format!(
        "{} is secret: give it only to {name}\n{} is public: give it to every service",
        secret.display(),
        public.display()
    ))
}

/// Prints a command's result. A closed pipe (`trellis config | head -1`) is not an error.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
