//! The files of this crate import each other in one direction.
//!
//! A file imports another one by a path that starts with `crate`, `super` or `self`, or as its parent, by `mod`. What is only there
//! in tests does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

/// The path of a module, `["args", "value"]`; that of the root is empty.
type Module = Vec<String>;

#[test]
fn no_circle_among_the_files() {
    let mut files = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&src, &Module::new(), &mut files);
    assert!(files.contains_key(&module("expand::store")));
    assert_eq!(circle(&files), Vec::<String>::new());
}

#[test]
fn a_circle_is_found() {
    let planted = |value: &str| {
        let files = [
            ("", "mod args; mod parse;"),
            (
                "args",
                "mod value; #[cfg(test)] mod tests { use crate::parse::X; }",
            ),
            ("args::value", value),
            (
                "parse",
                "use super::args::{self as a, value::{Text, Flag}};",
            ),
        ];
        let files = files.map(|(path, text)| (module(path), text.to_owned()));
        circle(&BTreeMap::from(files))
    };
    for sound in ["use syn::parse::Parse;", "pub(super) fn f() {}"] {
        assert_eq!(planted(sound), Vec::<String>::new());
    }
    let found = ["args", "args::value", "parse"];
    assert_eq!(planted("use crate::{parse::{self as p, HELPERS}};"), found);
    assert_eq!(planted("fn f() { super::super::parse::f() }"), found);
    assert_eq!(planted("use super::X;"), ["args", "args::value"]);
    let with_the_root = ["", "args", "args::value", "parse"];
    assert_eq!(planted("use crate::expand;"), with_the_root);
}

/// The modules that are on a circle, or between two of them.
fn circle(files: &BTreeMap<Module, String>) -> Vec<String> {
    let mut imports: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (path, text) in files {
        let mut paths = Vec::new();
        let tokens: Vec<TokenTree> = text.parse::<TokenStream>().unwrap().into_iter().collect();
        collect(&tokens, path, None, &mut paths);
        let of_file = |path: &Module| {
            let mut prefixes = (0..=path.len()).rev().map(|length| path[..length].to_vec());
            let file = prefixes.find(|prefix| files.contains_key(prefix))?;
            Some(files.get_key_value(&file)?.0)
        };
        let imported = paths.iter().filter_map(of_file);
        imports.insert(
            path,
            imported.filter(|imported| *imported != path).collect(),
        );
    }
    // What imports nothing that is left, or is imported by nothing that is left, is on no circle.
    loop {
        let left = imports.len();
        let imported: BTreeSet<&Module> = imports.values().flatten().copied().collect();
        imports.retain(|path, imports| imported.contains(path) && !imports.is_empty());
        let remaining: BTreeSet<&Module> = imports.keys().copied().collect();
        for imports in imports.values_mut() {
            imports.retain(|path| remaining.contains(path));
        }
        if imports.len() == left {
            return imports.keys().map(|path| path.join("::")).collect();
        }
    }
}

/// Collects the absolute forms of the paths in some tokens of the module `of`. `start` is what these tokens go on from, inside the
/// braces of a `use`.
fn collect(tokens: &[TokenTree], of: &Module, start: Option<&Module>, paths: &mut Vec<Module>) {
    let mut at = 0;
    while at < tokens.len() {
        let is_start = at == 0 || is_punct(tokens.get(at - 1), ',');
        match &tokens[at] {
            // `#[cfg(test)]` and its item.
            TokenTree::Group(group) if group.to_string().replace(' ', "") == "[cfg(test)]" => {
                let ends = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.to_string().starts_with('{'),
                    token => is_punct(Some(token), ';'),
                };
                at += tokens[at..].iter().position(ends).unwrap();
            }
            TokenTree::Group(group) => {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                collect(&inside, of, None, paths);
            }
            TokenTree::Ident(ident) if ident == "mod" && start.is_none() => {
                let mut child = of.clone();
                child.push(tokens[at + 1].to_string());
                paths.push(child);
            }
            TokenTree::Ident(ident) => {
                let goes_on = is_punct(tokens.get(at + 1), ':');
                let mut path = match (ident.to_string().as_str(), start) {
                    // Not `pub(crate)`.
                    ("crate", _) if goes_on => Some(Module::new()),
                    ("super", None) if goes_on => Some(of[..of.len().saturating_sub(1)].to_vec()),
                    ("self", None) if goes_on => Some(of.clone()),
                    ("self", Some(start)) if is_start => Some(start.clone()),
                    (name, Some(start)) if is_start => {
                        Some(start.iter().cloned().chain([name.to_owned()]).collect())
                    }
                    _ => None,
                };
                while let Some(path) = &mut path
                    && is_punct(tokens.get(at + 1), ':')
                    && is_punct(tokens.get(at + 2), ':')
                {
                    at += 3;
                    match tokens.get(at) {
                        Some(TokenTree::Ident(name)) if name == "super" => drop(path.pop()),
                        Some(TokenTree::Ident(name)) => path.push(name.to_string()),
                        Some(TokenTree::Group(group)) => {
                            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                            collect(&inside, of, Some(path), paths);
                            // What is before the braces is not imported itself.
                            path.clone_from(of);
                        }
                        _ => {}
                    }
                }
                paths.extend(path);
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_punct(token: Option<&TokenTree>, char: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == char)
}

fn module(path: &str) -> Module {
    let segments = path.split("::").filter(|segment| !segment.is_empty());
    segments.map(ToOwned::to_owned).collect()
}

/// Reads the files of a directory, but for tests.
fn read(directory: &Path, of: &Module, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module: Module = of.iter().cloned().chain([name.clone()]).collect();
        if path.is_dir() {
            read(&path, &module, files);
        } else if !name.ends_with("_tests") {
            let module = if name == "lib" { Module::new() } else { module };
            files.insert(module, fs::read_to_string(path).unwrap());
        }
    }
}
