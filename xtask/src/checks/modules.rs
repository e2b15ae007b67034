//! The modules of a crate, parsed by syn: their files, their imports, and the types that they declare. Test code is left
//! out.

use std::{collections::BTreeSet, path::Path};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Attribute, Block, Expr, ExprLit, Ident, ImplItemFn, Item, ItemMod, ItemUse, Lit, Macro, Meta, MetaNameValue,
    UseTree,
    punctuated::Punctuated,
    spanned::Spanned as _,
    visit::{self, Visit},
};

/// A source file and what its module contains.
pub(super) struct Module {
    /// The file, from the root of the workspace.
    pub(super) file: String,
    /// The names from the crate's root: empty for the root.
    pub(super) path: Vec<String>,
    /// The imported paths, from the crate's root, with their lines.
    pub(super) imports: Vec<(Vec<String>, usize)>,
    /// What the module re-exports: the new name, and the path from the crate's root.
    pub(super) exports: Vec<(String, Vec<String>)>,
    /// The declared types with their lines.
    pub(super) types: Vec<(String, usize)>,
}

/// Reads a file of the workspace; `None` if it does not exist.
pub(super) type Read<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// All modules of the crate whose root is the file `root`, such as `gateway/src/lib.rs`.
pub(super) fn of_crate(root: &str, read: &Read<'_>) -> Result<Vec<Module>, String> {
    let mut modules = Vec::new();
    let folder = parent(root);
    read_module(root.to_owned(), folder, Vec::new(), read, &mut modules)?;
    Ok(modules)
}

fn parent(file: &str) -> String {
    Path::new(file).parent().unwrap_or(Path::new("")).to_string_lossy().into_owned()
}

/// Reads the module in `file`, whose child modules are in `folder`.
fn read_module(
    file: String,
    folder: String,
    path: Vec<String>,
    read: &Read<'_>,
    modules: &mut Vec<Module>,
) -> Result<(), String> {
    let text = read(&file).ok_or_else(|| format!("{file}: the file is missing"))?;
    let parsed = syn::parse_file(&text).map_err(|e| format!("{file}:{}: {e}", e.span().start().line))?;
    let children = parsed.items.iter().filter_map(|item| match item {
        Item::Mod(child) if !is_test(&child.attrs) => Some(child.ident.to_string()),
        _ => None,
    });
    let mut reader = Reader { children: children.collect(), path: path.clone(), ..Reader::default() };
    reader.visit_file(&parsed);
    let Reader { imports, exports, types, declared, .. } = reader;
    modules.push(Module { file: file.clone(), path, imports, exports, types });
    for Declared { name, path, at } in declared {
        // The children of a file with a `#[path]` are in its own folder.
        let (child, folder) = match at {
            Some(at) => {
                let child = format!("{}/{at}", parent(&file));
                (child.clone(), parent(&child))
            }
            None => {
                let files = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
                let child = files.into_iter().find(|file| read(file).is_some());
                let child = child.ok_or_else(|| format!("{file}: the file of the module {name} is missing"))?;
                (child, format!("{folder}/{name}"))
            }
        };
        read_module(child, folder, path, read, modules)?;
    }
    Ok(())
}

/// A module whose contents are in another file.
struct Declared {
    name: String,
    path: Vec<String>,
    /// The file of a `#[path]` attribute.
    at: Option<String>,
}

/// Collects the contents of a module.
#[derive(Default)]
struct Reader {
    /// The current module: of the file, or an inline module in it.
    path: Vec<String>,
    /// The modules that the file declares.
    children: BTreeSet<String>,
    /// How many blocks of functions surround the current item.
    blocks: usize,
    imports: Vec<(Vec<String>, usize)>,
    exports: Vec<(String, Vec<String>)>,
    types: Vec<(String, usize)>,
    declared: Vec<Declared>,
}

impl Reader {
    /// The path from the crate's root; `None`: the path leads into another crate.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.path[..], rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let kept = self.path.len().checked_sub(ups)?;
                Some([&self.path[..kept], &path[ups..]].concat())
            }
            name if self.children.contains(name) => Some([&self.path[..], path].concat()),
            _ => None,
        }
    }

    fn import(&mut self, path: &[String], span: Span) -> Option<Vec<String>> {
        let resolved = self.resolve(path)?;
        self.imports.push((resolved.clone(), span.start().line));
        Some(resolved)
    }

    fn use_tree(&mut self, prefix: &[String], tree: &UseTree, is_public: bool) {
        let with = |ident: &Ident| [prefix, &[ident.to_string()]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.use_tree(&with(&path.ident), &path.tree, is_public),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.use_tree(prefix, tree, is_public)),
            UseTree::Glob(_) => (prefix.to_vec(), None),
            UseTree::Name(name) if name.ident == "self" => (prefix.to_vec(), prefix.last().cloned()),
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
        };
        if let Some(resolved) = self.import(&path, tree.span())
            && is_public
        {
            self.exports.extend(name.map(|name| (name, resolved)));
        }
    }

    /// The paths in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "crate" || ident == "super" => {
                    // `$crate` is the root of the macro's crate, seen from its callers.
                    let is_macro_root = at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(p) if p.as_char() == '$');
                    let is_inner = at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(p) if p.as_char() == ':');
                    if !is_macro_root && !is_inner {
                        self.import(&path_at(&tokens[at..]), ident.span());
                    }
                }
                _ => {}
            }
        }
    }
}

/// The names of the path `a::b::c` at the start of `tokens`.
fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tokens;
    while let [TokenTree::Ident(name), after @ ..] = rest {
        names.push(name.to_string());
        match after {
            [TokenTree::Punct(a), TokenTree::Punct(b), next @ ..] if a.as_char() == ':' && b.as_char() == ':' => {
                rest = next;
            }
            _ => break,
        }
    }
    names
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, ident): (&[Attribute], _) = match item {
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            Item::Mod(item) => (&item.attrs, None),
            _ => (&[], None),
        };
        if is_test(attributes) {
            return;
        }
        // A type in a function has no name outside of it.
        if let Some(ident) = ident.filter(|_| self.blocks == 0) {
            self.types.push((ident.to_string(), ident.span().start().line));
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.blocks += 1;
        visit::visit_block(self, block);
        self.blocks -= 1;
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        self.path.push(name.clone());
        match &module.content {
            Some(_) => visit::visit_item_mod(self, module),
            None => self.declared.push(Declared { name, path: self.path.clone(), at: path_attribute(&module.attrs) }),
        }
        self.path.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&[], &item.tree, is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // One name is a local item, not a path to another module.
        if names.len() > 1 {
            self.import(&names, path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }
}

/// Whether the item is compiled only for tests.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        let is_condition = |meta: &Meta| meta.path().is_ident("test");
        list.path.is_ident("cfg")
            && list
                .parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                .is_ok_and(|conditions| conditions.iter().any(is_condition))
    })
}

/// The file in `#[path = "…"]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(file), .. }), .. })
            if path.is_ident("path") =>
        {
            Some(file.value())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(files: &[(&str, &str)]) -> Vec<Module> {
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        of_crate("a/src/lib.rs", &|file| files.get(file).map(|text| (*text).to_owned())).unwrap()
    }

    fn imports(module: &Module) -> Vec<String> {
        module.imports.iter().map(|(path, line)| format!("{}:{line}", path.join("::"))).collect()
    }

    #[test]
    fn imports_are_found_in_trees_paths_and_macros() {
        let text = "\
use crate::{a::{self, b}, c as d};
use std::fmt; // use crate::comment;
fn f() -> crate::e::F<crate::g::H> {
    println!(\"crate::text {}\", crate::i::j());
    super::x::y()
}
mod inner { use super::super::z::Z; }
";
        let modules = parse(&[("a/src/lib.rs", "mod m;"), ("a/src/m.rs", text)]);
        let expected =
            ["a:1", "a::b:1", "c:1", "e::F:3", "g::H:3", "i::j:4", "x::y:5", "z::Z:7"].map(str::to_owned).to_vec();
        assert_eq!(imports(&modules[1]), expected);
    }

    #[test]
    fn test_code_is_left_out() {
        let text = "\
#[cfg(test)] mod tests { use crate::a::A; struct T; }
#[cfg(test)] mod cases;
#[cfg(test)] use crate::b;
#[cfg(test)] struct S;
#[cfg(any(test, unix))] struct Kept;
fn f() { struct Local; }
";
        let modules = parse(&[("a/src/lib.rs", text)]);
        assert_eq!(modules.len(), 1);
        assert!(modules[0].imports.is_empty());
        assert_eq!(modules[0].types, [("Kept".to_owned(), 5)]);
    }

    #[test]
    fn modules_are_found_in_their_files() {
        let modules = parse(&[
            ("a/src/lib.rs", "mod b; mod c; pub use b::B;"),
            ("a/src/b.rs", "mod d;"),
            ("a/src/b/d.rs", "#[path = \"other.rs\"] mod e;"),
            ("a/src/b/other.rs", "type E = ();"),
            ("a/src/c/mod.rs", ""),
        ]);
        let files: Vec<_> = modules.iter().map(|module| (module.path.join("::"), module.file.as_str())).collect();
        let owned = |path: &str, file| (path.to_owned(), file);
        let expected = [
            owned("", "a/src/lib.rs"),
            owned("b", "a/src/b.rs"),
            owned("b::d", "a/src/b/d.rs"),
            owned("b::d::e", "a/src/b/other.rs"),
            owned("c", "a/src/c/mod.rs"),
        ];
        assert_eq!(files, expected);
        assert_eq!(modules[0].exports, [("B".to_owned(), vec!["b".to_owned(), "B".to_owned()])]);
    }
}
