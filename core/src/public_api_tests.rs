//! Compares the public API with `public-api.txt`, which `UPDATE_PUBLIC_API=1 cargo test -p natsmicro public_api` rewrites.
//!
//! It is read from the sources, with all features: every public name that is reached from `lib.rs`, with its fields, variants,
//! methods and implementations of traits. What a macro makes stands in it as the call of the macro.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, TraitItem, Type, Visibility};

use crate::layers_tests::imports;

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// An item of this module.
    Item(String, String),
    /// A path into another crate.
    Foreign(String),
}

#[derive(Default)]
struct Api {
    modules: BTreeMap<String, Vec<Item>>,
    /// All public paths of each item.
    public: BTreeMap<Named, BTreeSet<String>>,
    lines: BTreeSet<String>,
    foreign: BTreeSet<String>,
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn has(attrs: &[Attribute], text: &str) -> bool {
    let is = |attr: &Attribute| tidy(&attr.meta.to_token_stream()) == text;
    attrs.iter().any(is)
}

fn join(module: &str, name: &str) -> String {
    [module, name].join("::")
}

/// Tokens without the attributes that say nothing to a caller.
fn stripped(tokens: TokenStream) -> TokenStream {
    let mut kept = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match (&token, tokens.peek()) {
            (TokenTree::Punct(punct), Some(TokenTree::Group(attr))) if punct.as_char() == '#' => {
                let text = attr.stream().to_string();
                if !["cfg", "derive", "non_exhaustive"]
                    .iter()
                    .any(|kept| text.starts_with(kept))
                {
                    tokens.next();
                    continue;
                }
                kept.extend([token]);
            }
            (TokenTree::Group(group), _) => {
                let inside = stripped(group.stream());
                kept.extend([TokenTree::Group(Group::new(group.delimiter(), inside))]);
            }
            _ => kept.extend([token]),
        }
    }
    kept
}

/// Tokens as a person writes them.
fn tidy(tokens: &TokenStream) -> String {
    let spaced = [
        " ::", ":: ", " ,", " (", "( ", " )", " <", "< ", " >", "& ", " ;", "# ", "[ ", " ]",
    ];
    let text = tokens.to_string().replace(" : ", ": ");
    spaced
        .iter()
        .fold(text, |text, spaced| text.replace(spaced, spaced.trim()))
}

/// What a caller sees of an item.
fn public_part(item: &Item) -> TokenStream {
    let mut item = item.clone();
    match &mut item {
        Item::Struct(item) => {
            let fields = match &mut item.fields {
                Fields::Named(fields) => &mut fields.named,
                Fields::Unnamed(fields) => &mut fields.unnamed,
                Fields::Unit => return stripped(item.to_token_stream()),
            };
            *fields = std::mem::take(fields)
                .into_iter()
                .filter(|field| is_public(&field.vis))
                .collect();
        }
        Item::Trait(item) => {
            let is_hidden = |item: &TraitItem| matches!(item, TraitItem::Fn(item) if has(&item.attrs, "doc(hidden)"));
            item.items.retain(|item| !is_hidden(item));
        }
        Item::Fn(item) => return item.sig.to_token_stream(),
        _ => {}
    }
    stripped(item.to_token_stream())
}

/// Each path in the tokens.
fn paths(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => match found.last_mut() {
                Some(path) if colons == 2 => path.push(ident.to_string()),
                _ => found.push(vec![ident.to_string()]),
            },
            TokenTree::Punct(punct) if punct.as_char() == ':' => {
                colons += 1;
                continue;
            }
            TokenTree::Group(group) => paths(group.stream(), found),
            _ => {}
        }
        colons = 0;
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Struct(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Const(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        _ => return None,
    })
}

impl Api {
    /// Reads a file and the modules that it declares, but not those of tests.
    fn read(&mut self, module: &str, file: &Path, dir: &Path) {
        let text = std::fs::read_to_string(file).unwrap();
        self.add(module, syn::parse_file(&text).unwrap().items, dir);
    }

    fn add(&mut self, module: &str, items: Vec<Item>, dir: &Path) {
        for item in &items {
            let Item::Mod(item) = item else { continue };
            if has(&item.attrs, "cfg(test)") || has(&item.attrs, "doc(hidden)") {
                continue;
            }
            let name = item.ident.to_string();
            let folder = dir.join(&name);
            if let Some((_, items)) = &item.content {
                self.add(&join(module, &name), items.clone(), &folder);
                continue;
            }
            let file = Some(dir.join(format!("{name}.rs"))).filter(|file| file.exists());
            let file = file.unwrap_or_else(|| folder.join("mod.rs"));
            self.read(&join(module, &name), &file, &folder);
        }
        self.modules.insert(module.to_owned(), items);
    }

    /// What a path means in a module.
    fn resolve(&self, module: &str, path: &[String]) -> Option<Named> {
        let (first, rest) = path.split_first()?;
        let inside = |module: String| match rest {
            [] => None,
            [name] => self.resolve(&module, std::slice::from_ref(name)),
            _ => self.resolve(&module, rest),
        };
        let child = join(module, first);
        match first.as_str() {
            "crate" => return inside("natsmicro".to_owned()),
            "self" => return inside(module.to_owned()),
            "super" => return inside(module.rsplit_once("::")?.0.to_owned()),
            _ if self.modules.contains_key(&child) => return inside(child),
            _ => {}
        }
        let items = self.modules.get(module)?;
        if rest.is_empty()
            && items
                .iter()
                .any(|item| name_of(item).as_ref() == Some(first))
        {
            return Some(Named::Item(module.to_owned(), first.clone()));
        }
        let mut found = Vec::new();
        for item in items {
            if let Item::Use(item) = item {
                found.extend(imports(&item.tree));
            }
        }
        let (_, import) = found.into_iter().find(|(name, _)| name == first)?;
        if matches!(import[0].as_str(), "crate" | "self" | "super") {
            return self.resolve(module, &[&import, rest].concat());
        }
        Some(Named::Foreign([&import, rest].concat().join("::")))
    }

    /// Collects what is public in a module.
    fn reach(&mut self, module: &str) {
        for item in self.modules[module].clone() {
            match &item {
                Item::Use(item) if is_public(&item.vis) => {
                    let named = imports(&item.tree).into_iter();
                    for (name, path) in named.filter(|(name, _)| name != "*") {
                        let foreign = Named::Foreign(path.join("::"));
                        let named = self.resolve(module, &path).unwrap_or(foreign);
                        self.public
                            .entry(named)
                            .or_default()
                            .insert(join(module, &name));
                    }
                }
                Item::Mod(item) if is_public(&item.vis) && !has(&item.attrs, "doc(hidden)") => {
                    self.reach(&join(module, &item.ident.to_string()));
                }
                _ => {}
            }
        }
    }

    /// Writes a line about a public name, and notes the types of other crates in it.
    fn line(&mut self, module: &str, name: &str, tokens: &TokenStream) {
        self.lines.insert(format!("{name}: {}", tidy(tokens)));
        let mut found = Vec::new();
        paths(tokens.clone(), &mut found);
        for path in found {
            let foreign = match self.resolve(module, &path) {
                Some(Named::Foreign(path)) => Some(path),
                Some(Named::Item(..)) => None,
                None => Some(path.join("::")).filter(|path| path.starts_with(char::is_lowercase)),
            };
            let is_type = |path: &String| {
                !path.starts_with("std::")
                    && path.contains("::")
                    && path.contains(char::is_uppercase)
            };
            self.foreign.extend(foreign.filter(is_type));
        }
    }

    fn implementation(&mut self, module: &str, item: &ItemImpl, reached: &BTreeMap<Named, String>) {
        let Type::Path(ty) = &*item.self_ty else {
            return;
        };
        let segments = ty.path.segments.iter();
        let path: Vec<_> = segments.map(|part| part.ident.to_string()).collect();
        let named = self.resolve(module, &path);
        let Some(name) = named.and_then(|named| reached.get(&named)) else {
            return;
        };
        let (generics, ty, bounds) = (&item.generics, &item.self_ty, &item.generics.where_clause);
        if let Some((of, _)) = &item.trait_ {
            let is_type = |item: &&ImplItem| matches!(item, ImplItem::Type(_));
            let types = item.items.iter().filter(is_type);
            let tokens = quote!(impl #generics #of for #ty #bounds { #(#types)* });
            return self.line(module, name, &tokens);
        }
        for item in &item.items {
            if let ImplItem::Fn(item) = item
                && is_public(&item.vis)
                && !has(&item.attrs, "doc(hidden)")
            {
                let sig = &item.sig;
                self.line(module, name, &quote!(impl #generics #ty #bounds { #sig }));
            }
        }
    }
}

/// The public API, one line for each thing, and the types of other crates in it.
fn api(source: &Path) -> String {
    let mut api = Api::default();
    api.read("natsmicro", &source.join("lib.rs"), source);
    api.reach("natsmicro");
    let mut reached = BTreeMap::new();
    for (named, paths) in api.public.clone() {
        let shortest = paths.iter().min_by_key(|path| path.len()).unwrap().clone();
        for path in paths.iter().filter(|path| **path != shortest) {
            api.lines.insert(format!("{path}: is {shortest}"));
        }
        if let Named::Foreign(path) = &named {
            api.lines
                .insert(format!("{shortest}: is {path} of another crate"));
        }
        reached.insert(named, shortest);
    }
    for (module, items) in api.modules.clone() {
        let mut declares = false;
        for item in &items {
            let named = name_of(item).map(|name| Named::Item(module.clone(), name));
            if let Some(name) = named.and_then(|named| reached.get(&named)) {
                declares = true;
                api.line(&module, name, &public_part(item));
            }
            if let Item::Impl(item) = item {
                api.implementation(&module, item, &reached);
            }
        }
        for item in items.iter().filter(|_| declares) {
            if let Item::Macro(item) = item
                && item.ident.is_none()
            {
                let tokens = item.mac.to_token_stream();
                api.lines
                    .insert(format!("made by a macro: {}", tidy(&tokens)));
            }
        }
    }
    let lines = api.lines.into_iter().collect::<Vec<_>>().join("\n");
    let foreign = api.foreign.into_iter().collect::<Vec<_>>().join("\n");
    format!("{lines}\n\n# Types of other crates\n\n{foreign}\n")
}

#[test]
fn the_public_api_is_as_written_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("public-api.txt");
    let now = api(&root.join("src"));
    if std::env::var_os("UPDATE_PUBLIC_API").is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let (then, now): (BTreeSet<&str>, BTreeSet<&str>) =
        (before.lines().collect(), now.lines().collect());
    let gone = then.difference(&now).map(|line| format!("- {line}\n"));
    let new = now.difference(&then).map(|line| format!("+ {line}\n"));
    let difference: String = gone.chain(new).collect();
    assert!(
        difference.is_empty(),
        "the public API has changed; if that is meant, run the tests with UPDATE_PUBLIC_API=1 and tell of it in CHANGELOG.md\n\n{difference}"
    );
}
