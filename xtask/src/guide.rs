//! Follows `docs/writing-a-service.md` in a copy of the repository: runs its commands, and its Python program against the
//! binary that results. Then it checks the new service as `cargo xtask ci` does.
//!
//! The copy has a target folder of its own, because its contracts differ. Its compiled dependencies are links to those of
//! this repository, so that only the crates of the workspace are compiled.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{python::Python, session::Session, tally::Tally};

/// The page.
const PAGE: &str = "docs/writing-a-service.md";
/// The checks of `cargo xtask ci` that compile nothing, and that a new service may fail.
const CHECKS: [&str; 12] = [
    "formatting",
    "import rules",
    "services",
    "layers",
    "type names",
    "places",
    "statements that wait",
    "named tests",
    "test names",
    "ports of tests",
    "language",
    "migrations",
];
/// The address of the gateway in the page.
const GATEWAY: &str = "localhost:8080";

/// A block of code in the page.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// A command of a shell block.
    Command(Vec<String>),
    /// A Python program.
    Program(String),
}

/// Runs the blocks in their order, up to the first that fails.
pub(crate) fn test(session: &Session, python: &Python) -> Result<Tally, String> {
    let path = session.root.join(PAGE);
    let page = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (service, steps) = steps(&page)?;
    let sandbox = Sandbox::create(session, service)?;
    let mut tally = Tally::default();
    for step in steps {
        let (name, mut command) = match &step {
            Block::Command(words) => (words.join(" "), sandbox.command(session, words)),
            Block::Program(text) => ("the program of the page".to_owned(), sandbox.program(session, python, text)?),
        };
        let output = session.step(&format!("guide {name}"), &mut command)?;
        if !output.success {
            eprintln!("{}", output.text);
            tally.failed += 1;
            break;
        }
        tally.passed += 1;
    }
    Ok(tally.with_exit(true))
}

/// The service that the page creates, and the blocks of the page, which must create a service and call it, and the
/// checks of that service.
fn steps(page: &str) -> Result<(String, Vec<Block>), String> {
    let mut steps = blocks(page);
    if !steps.iter().any(|step| matches!(step, Block::Program(_))) {
        return Err(format!("{PAGE} contains no Python program"));
    }
    let created = steps.iter().find_map(|step| match step {
        Block::Command(words) => match &words[..] {
            [_, _, command, name] if command == "new-service" => Some(name.clone()),
            _ => None,
        },
        Block::Program(_) => None,
    });
    let name = created.ok_or(format!("{PAGE} creates no service with cargo xtask new-service"))?;
    let clippy = ["cargo", "clippy", "--package", &name, "--all-targets", "--quiet", "--", "-D", "warnings"];
    let checks = ["cargo", "xtask", "ci"].into_iter().chain(CHECKS);
    let command = |words: Vec<&str>| Block::Command(words.into_iter().map(str::to_owned).collect());
    steps.extend([command(clippy.to_vec()), command(checks.collect())]);
    Ok((name, steps))
}

/// The commands and programs of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    // Every second part is inside a block.
    for text in page.split("```").skip(1).step_by(2) {
        let (language, code) = text.split_once('\n').unwrap_or((text, ""));
        match language {
            "sh" => {
                let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
                blocks.extend(code.lines().map(words).map(Block::Command));
            }
            "python" => blocks.push(Block::Program(code.to_owned())),
            _ => {}
        }
    }
    blocks
}

/// A copy of the repository. Removed on drop.
struct Sandbox {
    folder: PathBuf,
    /// The new service.
    service: String,
}

impl Sandbox {
    fn create(session: &Session, service: String) -> Result<Self, String> {
        let folder = session.target.join("guide");
        session.guard.folder(&folder);
        let sandbox = Self { folder, service };
        sandbox.clear()?;
        let listed =
            session.output(session.command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
        for file in listed.lines() {
            let from = session.root.join(file);
            // A file that was removed and not yet committed is listed too.
            if from.is_file() {
                copy_file(&from, &sandbox.root().join(file)).map_err(|e| format!("{file}: {e}"))?;
            }
        }
        // The checks ask git for the files.
        session.output(session.command("git").args(["init", "--quiet"]).current_dir(sandbox.root()))?;
        sandbox.link_dependencies(session)?;
        Ok(sandbox)
    }

    fn root(&self) -> PathBuf {
        self.folder.join("repository")
    }

    fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    fn clear(&self) -> Result<(), String> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", self.folder.display())),
            _ => Ok(()),
        }
    }

    /// Gives the copy the compiled dependencies. rustc replaces libraries and never changes them, so that they can be
    /// links; cargo changes its own records, so that they are copies.
    fn link_dependencies(&self, session: &Session) -> Result<(), String> {
        let (from, to) = (session.target.join("debug"), self.target().join("debug"));
        let failed = |e: io::Error| format!("{}: {e}", from.display());
        fs::create_dir_all(to.join("deps")).map_err(failed)?;
        for folder in [".fingerprint", "build"] {
            session.output(session.command("cp").arg("-a").arg(from.join(folder)).arg(to.join(folder)))?;
        }
        for entry in fs::read_dir(from.join("deps")).map_err(failed)?.flatten() {
            let (path, copy) = (entry.path(), to.join("deps").join(entry.file_name()));
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("rlib" | "rmeta" | "so") => fs::hard_link(&path, &copy).map_err(failed)?,
                Some("d") => copy_file(&path, &copy).map_err(failed)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A command of the page. The program starts the binary, so that `cargo run` only builds it. Beside a test of the
    /// workspace the binary has the dependencies' features of the tests, whose crates are compiled already.
    fn command(&self, session: &Session, words: &[String]) -> Command {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (mut command, rest) = match &words[..] {
            ["cargo", "run"] => {
                let beside = ["build", "--workspace", "--bin", "trellis", "--test", &self.service];
                let mut cargo = session.cargo();
                cargo.args(beside);
                (cargo, &[][..])
            }
            ["cargo", rest @ ..] => (session.cargo(), rest),
            [program, rest @ ..] => (session.command(program), rest),
            [] => (session.command("true"), &[][..]),
        };
        command.args(rest).current_dir(self.root());
        command.env("CARGO_TARGET_DIR", self.target()).env("CARGO_INCREMENTAL", "0");
        command
    }

    /// The program of the page, against a new mesh.
    fn program(&self, session: &Session, python: &Python, text: &str) -> Result<Command, String> {
        let file = self.folder.join("program.py");
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut command = python.command(session);
        command.arg(self.root().join("tests/python/guide.py")).arg(file).arg(GATEWAY);
        command.env("TRELLIS_TEST_BINARY", self.target().join("debug/trellis"));
        Ok(command)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("xtask: the copy was not removed: {error}");
        }
    }
}

/// Copies a file with its modification time, by which cargo recognizes a change.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to)?;
    File::options().write(true).open(to)?.set_modified(from.metadata()?.modified()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_commands_and_programs() {
        let page = "Text.\n```sh\ncargo run\nls  -l\n```\nMore.\n```toml\na = 1\n```\n```python\nprint(1)\n```\n";
        let command = |words: &[&str]| Block::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let program = Block::Program("print(1)\n".to_owned());
        assert_eq!(blocks(page), [command(&["cargo", "run"]), command(&["ls", "-l"]), program]);
    }

    #[test]
    fn page_must_create_a_service_and_call_it() {
        let (create, call) = ("```sh\ncargo xtask new-service notes\n```\n", "```python\nprint(1)\n```\n");
        let all = steps(&format!("{create}{call}")).unwrap();
        assert_eq!(all.0, "notes");
        let text = format!("{all:?}");
        assert!(text.contains("clippy") && text.contains("notes") && text.contains("layers"), "{text}");
        assert!(steps(create).unwrap_err().contains("no Python program"));
        assert!(steps(call).unwrap_err().contains("creates no service"));
    }

    #[test]
    fn checks_of_the_guide_exist() {
        let source = include_str!("checks.rs");
        for check in CHECKS {
            assert!(source.contains(&format!("\"{check}\",")), "{check}");
        }
    }
}
