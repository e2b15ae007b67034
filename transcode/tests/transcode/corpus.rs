//! Replays the corpus of the fuzz target.

use std::{fs, path::Path};

use crate::properties::PROPERTIES;

#[test]
fn all_inputs_of_the_corpus_satisfy_their_property() {
    for (name, property) in PROPERTIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let mut checked = 0;
        for file in fs::read_dir(&folder).unwrap() {
            property(&fs::read(file.unwrap().path()).unwrap());
            checked += 1;
        }
        assert!(checked > 0, "{} is empty", folder.display());
        property(&[]);
    }
}
