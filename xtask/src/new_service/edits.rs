//! The files that list the services, and where a new service is inserted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{checks::parts::TABLE, session::Session};

/// An insertion.
pub(super) struct Edit {
    /// The file, relative to the repository.
    pub(super) path: PathBuf,
    /// The text before which the new text is inserted.
    pub(super) before: &'static str,
    /// The new text, with the placeholders of the template.
    pub(super) text: &'static str,
}

/// All insertions.
pub(super) fn all(session: &Session, wiring: &'static str) -> Result<Vec<Edit>, String> {
    let edit = |path: &str, before, text| Edit { path: PathBuf::from(path), before, text };
    let mut edits = vec![
        edit("trellis/Cargo.toml", "gateway.workspace", "{{name}} = { path = \"../services/{{name}}\" }\n"),
        edit(TABLE, "        }\n    };\n}\npub(crate) use services;", "            {{name}}: {{Name}},\n"),
        edit(TABLE, "/// The keys that the configuration of every service has.", wiring),
        edit(
            "trellis/src/config/ranges.rs",
            "    count(\"gateway.default_rate_requests\"",
            "    count(\"{{name}}.pool_size\", 1, 10_000),\n    count(\"{{name}}.items_per_user\", 1, MILLION),\n",
        ),
        edit(
            "docs/configuration.md",
            "| members of a conversation |",
            "| items of a user in {{name}} | 1 000 | `{{name}}.items_per_user` | `RESOURCE_EXHAUSTED` |\n",
        ),
        edit(
            "docs/configuration.md",
            "| `gateway.default_rate_requests` |",
            "| `{{name}}.pool_size` | `1` | `10000` |  |\n| `{{name}}.items_per_user` | `1` | `1000000` |  |\n",
        ),
        edit(
            "proto/examples/access_table/table.rs",
            "    (\"users.v1.UsersService/BatchGetUsers\"",
            "    (\"{{name}}.v1.{{Name}}Service/CreateItem\", Reach::Any),\n    \
             (\"{{name}}.v1.{{Name}}Service/DeleteItem\", Reach::Any),\n    \
             (\"{{name}}.v1.{{Name}}Service/ListItems\", Reach::Any),\n",
        ),
        edit("k8s/README.md", "  --from-literal=messaging=", "  --from-literal={{name}}=postgres://… \\\n"),
        edit("k8s/base/kustomization.yaml", "  - gateway.yaml", "  - {{name}}.yaml\n"),
        edit("k8s/base/config.toml", "users = \"http", "{{name}} = \"http://{{name}}:{{port}}\"\n"),
        edit("k8s/base/config.toml", "[limiter]", "[{{name}}]\nlisten = \"0.0.0.0:{{port}}\"\n\n"),
    ];
    let overlays = session.root.join("k8s/overlays");
    for overlay in fs::read_dir(&overlays).map_err(|e| format!("{}: {e}", overlays.display()))?.flatten() {
        let path = format!("k8s/overlays/{}/kustomization.yaml", overlay.file_name().to_string_lossy());
        let text = if path.contains("/dev/") {
            "  - {name: {{name}}, count: 1}\n"
        } else {
            "  - {name: {{name}}, count: 3}\n"
        };
        edits.push(edit(&path, "  - {name: gateway,", text));
    }
    edits.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(edits)
}

/// Inserts `new` before the only occurrence of `marker` at the start of a line.
pub(super) fn insert(path: &Path, text: &str, marker: &str, new: &str) -> Result<String, String> {
    let starts_line = |at: &usize| *at == 0 || text[..*at].ends_with('\n');
    let places: Vec<_> = text.match_indices(marker).map(|(at, _)| at).filter(starts_line).collect();
    let [at] = places[..] else {
        let first = marker.lines().next().unwrap_or_default();
        return Err(format!(
            "{} has {} lines {first:?} instead of one: correct it first",
            path.display(),
            places.len()
        ));
    };
    Ok(format!("{}{new}{}", &text[..at], &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_inserted_before_the_only_marker() {
        let insert = |text| insert(Path::new("list"), text, "- b", "- n\n");
        assert_eq!(insert("- a\n- b\nx - b\n").unwrap(), "- a\n- n\n- b\nx - b\n");
        assert!(insert("- a\n").unwrap_err().starts_with("list has 0 lines \"- b\""));
        assert!(insert("- b\n- b\n").unwrap_err().starts_with("list has 2 lines"));
    }
}
