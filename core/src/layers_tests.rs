//! The folders of this crate are layers: none uses a lower one, and no circle crosses a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

/// The order, from the top down. A module uses those of earlier rows and not those of later ones; modules of one row use each
/// other freely, as long as they make no circle.
const ORDER: &[&[&str]] = &[
    &[
        "status",
        "codec",
        "error",
        "service_error",
        "backoff",
        "log",
        "sync",
        "schema",
    ],
    &["testing"],
    &["transport"],
    &["context", "telemetry"],
    &["descriptor"],
    &["middleware"],
    &["store/error"],
    &["store/reader"],
    &["store/bucket"],
    &["store/kv"],
    &["store/object"],
    &["store"],
    &["stream"],
    &["persist"],
    &["contract"],
    &["server"],
    &["client"],
    &["discovery", "in_process", "private", "lib"],
];

/// A module as the names on the path to it; the root has none.
type Module = Vec<String>;

/// The modules of a crate: the text of each, and what it re-exports from where.
#[derive(Default)]
struct Sources {
    files: BTreeMap<Module, syn::File>,
    re_exports: BTreeMap<(Module, String), Module>,
}

/// A path of a module, as it is written: `crate::server::Server` is `["crate", "server", "Server"]`.
type Written = Vec<String>;

impl Sources {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        find(root, &mut Vec::new(), &mut files);
        Self::parse(files)
    }

    fn parse(files: impl IntoIterator<Item = (Module, String)>) -> Self {
        let mut sources = Self::default();
        for (module, text) in files {
            let file = syn::parse_file(&text).unwrap();
            sources.files.insert(module, file);
        }
        for (module, file) in &sources.files {
            for item in &file.items {
                if let syn::Item::Use(item) = item
                    && !matches!(item.vis, syn::Visibility::Inherited)
                {
                    for (name, written) in imports(&item.tree) {
                        if let Some(path) = absolute(module, &written) {
                            sources.re_exports.insert((module.clone(), name), path);
                        }
                    }
                }
            }
        }
        sources
    }

    /// The module that defines what a path leads to. Re-exports are followed, also those of the root.
    fn definer(&self, path: &[String]) -> Module {
        let mut module = Module::new();
        for (position, name) in path.iter().enumerate() {
            let mut deeper = module.clone();
            deeper.push(name.clone());
            if self.files.contains_key(&deeper) {
                module = deeper;
            } else if let Some(target) = self.re_exports.get(&(module.clone(), name.clone())) {
                let rest = path.get(position + 1..).unwrap_or_default();
                return self.definer(&[target.as_slice(), rest].concat());
            } else {
                break;
            }
        }
        module
    }

    /// Which modules each module uses.
    fn uses(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let uses = |(module, file): (&Module, &syn::File)| {
            let mut paths = Paths::default();
            paths.visit_file(file);
            let used = paths.0.iter().filter_map(|path| absolute(module, path));
            let used = used.map(|path| self.definer(&path));
            (module.clone(), used.filter(|used| used != module).collect())
        };
        self.files.iter().map(uses).collect()
    }

    /// What breaks the rules, a sentence each.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut rooms: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, used) in &self.uses() {
            let Some((row, room)) = place(module) else {
                faults.push(format!("`{}` has no place in the order", module.join("/")));
                continue;
            };
            for used in used {
                let Some((lower, used_room)) = place(used) else {
                    continue;
                };
                if lower > row {
                    faults.push(format!(
                        "`{}` uses `{}`, which is below it",
                        module.join("/"),
                        if used.is_empty() {
                            "lib".to_owned()
                        } else {
                            used.join("/")
                        }
                    ));
                }
                if room != used_room {
                    rooms.entry(room).or_default().insert(used_room);
                }
            }
        }
        for room in rooms.keys() {
            if reaches(&rooms, room, room) {
                faults.push(format!("`{room}` uses itself through others"));
            }
        }
        faults
    }
}

/// Whether `from` uses `to` through others.
fn reaches(rooms: &BTreeMap<&str, BTreeSet<&str>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(room) = next.pop() {
        for used in rooms.get(room).into_iter().flatten() {
            if *used == to {
                return true;
            }
            if seen.insert(*used) {
                next.push(used);
            }
        }
    }
    false
}

/// The row of a module in the order, and the name there.
fn place(module: &[String]) -> Option<(usize, &'static str)> {
    let path = match module {
        [] => "lib".to_owned(),
        module => module.join("/"),
    };
    let is_at = |name: &&&str| {
        path.strip_prefix(**name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    ORDER
        .iter()
        .enumerate()
        .find_map(|(row, names)| Some((row, *names.iter().find(is_at)?)))
}

/// A written path from the root of the crate; `None` for one that leads out of it.
fn absolute(module: &[String], written: &[String]) -> Option<Vec<String>> {
    match written.first()?.as_str() {
        "crate" => Some(written[1..].to_vec()),
        "self" => Some([module, &written[1..]].concat()),
        "super" => {
            let supers = written.iter().take_while(|name| *name == "super").count();
            let parent = &module[..module.len().checked_sub(supers)?];
            Some([parent, &written[supers..]].concat())
        }
        _ => None,
    }
}

/// What a `use` brings in: the name that each thing gets, `*` for a glob, and its path.
pub(crate) fn imports(tree: &syn::UseTree) -> Vec<(String, Written)> {
    let mut found = Vec::new();
    add_imports(tree, &[], &mut found);
    found
}

fn add_imports(tree: &syn::UseTree, path: &[String], found: &mut Vec<(String, Written)>) {
    let with = |name: &syn::Ident| [path, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(tree) => add_imports(&tree.tree, &with(&tree.ident), found),
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.extend(path.last().map(|last| (last.clone(), path.to_vec())));
        }
        syn::UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        syn::UseTree::Rename(name) if name.ident == "self" => {
            found.push((name.rename.to_string(), path.to_vec()));
        }
        syn::UseTree::Rename(name) => found.push((name.rename.to_string(), with(&name.ident))),
        syn::UseTree::Glob(_) => found.push(("*".to_owned(), path.to_vec())),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                add_imports(tree, path, found);
            }
        }
    }
}

/// All paths that a file names, but for its tests.
#[derive(Default)]
struct Paths(Vec<Written>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.0
                .extend(imports(&item.tree).into_iter().map(|(_, path)| path));
        }
    }

    /// `pub(super)` uses nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.0.push(names.collect());
        visit::visit_path(self, path);
    }
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg")
            && attr
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

/// The files below a folder, but for those of tests.
fn find(folder: &Path, above: &mut Module, files: &mut Vec<(Module, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            above.push(name);
            find(&path, above, files);
            above.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "tests"
            && !name.ends_with("_tests")
        {
            let mut module = above.clone();
            if !["mod", "lib"].contains(&name.as_str()) {
                module.push(name);
            }
            files.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_folders_are_layers() {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.files.len() > 50, "the files are not found");
    let faults = sources.faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| {
        let names = path.split('/').filter(|name| !name.is_empty());
        (names.map(str::to_owned).collect(), (*text).to_owned())
    });
    Sources::parse(files).faults()
}

#[test]
fn imports_that_go_upward_are_found() {
    let lib = (
        "",
        "pub use crate::server::Server; mod server; mod stream; mod store;",
    );
    let server = ("server", "pub struct Server;");
    for stream in [
        "use crate::Server;",
        "use super::Server as Renamed;",
        "use crate::{server::{Server}};",
        "use crate::server::{self};",
        "use crate::server::*;",
        "fn inline() { crate::Server; }",
        "fn inline() -> Option<crate::server::Server> { None }",
        "mod inner { use crate::server::Server; }",
    ] {
        let found = faults(&[lib, server, ("stream", stream)]);
        assert_eq!(
            found,
            ["`stream` uses `server`, which is below it"],
            "{stream}"
        );
    }
    for stream in [
        "#[cfg(test)] mod tests { use crate::Server; }",
        "#[cfg(test)] use crate::Server;",
        "use std::fmt;",
    ] {
        assert_eq!(
            faults(&[lib, server, ("stream", stream)]),
            Vec::<String>::new()
        );
    }
    let within_the_store = faults(&[
        ("store", ""),
        ("store/reader", "use crate::store::kv::KvStore;"),
        ("store/kv", "pub struct KvStore;"),
    ]);
    assert_eq!(
        within_the_store,
        ["`store/reader` uses `store/kv`, which is below it"]
    );
}

#[test]
fn circles_and_unknown_folders_are_found() {
    let circle = faults(&[
        ("status", "use crate::codec::Codec;"),
        ("codec", "pub struct Codec; use crate::status::Status;"),
    ]);
    assert_eq!(
        circle,
        [
            "`codec` uses itself through others",
            "`status` uses itself through others"
        ]
    );
    assert_eq!(
        faults(&[("utils", "")]),
        ["`utils` has no place in the order"]
    );
}
