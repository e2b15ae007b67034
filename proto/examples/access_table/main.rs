//! Writes `docs/access.md`. An example, so that `cargo xtask gen` builds only the contracts.

mod table;

use std::{fs, io};

fn main() -> io::Result<()> {
    fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md"), table::page())
}
