//! Compares what the macros write with `snapshots/<name>.rs`; `snapshots/<name>.in.rs` is what a user has written.
//!
//! `NATSMICRO_BLESS=1 cargo test -p natsmicro-macros` records the snapshots again.

use std::path::{Path, PathBuf};
use std::{env, fs};

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, ItemTrait, Meta, Token, TraitItem};

use crate::{service_error, service_trait};

#[test]
fn minimal() {
    service("minimal");
}

#[test]
fn quickstart() {
    service("quickstart");
}

#[test]
fn stores() {
    service("stores");
}

#[test]
fn streaming() {
    service("streaming");
}

#[test]
fn attributes() {
    service("attributes");
}

#[test]
fn default_bodies() {
    service("default_bodies");
}

#[test]
fn service_error_of_an_enum() {
    let Item::Enum(input) = input("service_error") else {
        panic!("service_error.in.rs is no enum")
    };
    let (expansion, diags) = service_error::run(input.into_token_stream());
    assert_eq!(diags.messages(), Vec::<String>::new());
    compare("service_error", &pretty(expansion));
}

/// Compares the expansion of a service, and looks at its size.
fn service(name: &str) {
    let Item::Trait(item) = input(name) else {
        panic!("{name}.in.rs is no trait")
    };
    let (settings, item) = without_service(item);
    let bound = Size::allowed(&settings, &item);
    let (expansion, diags) = service_trait(settings, item);
    assert_eq!(diags.messages(), Vec::<String>::new());
    compare(name, &pretty(expansion.clone()));

    let lines = lines_by_hand(&expansion);
    println!("{name}: {lines} lines of {} for {bound:?}", bound.lines());
    assert!(
        lines <= bound.lines(),
        "the expansion of {name}.in.rs has {lines} lines, {} are allowed for {bound:?}",
        bound.lines()
    );
}

/// What decides how long an expansion may be.
#[derive(Debug)]
struct Size {
    methods: usize,
    stores: usize,
    buckets: usize,
    deletions: usize,
    /// The lines of default bodies.
    bodies: usize,
    /// What is written in the attributes goes over line by line.
    settings: usize,
}

impl Size {
    fn allowed(settings: &TokenStream, item: &ItemTrait) -> Self {
        let mut size = Self {
            methods: item.items.len(),
            stores: 0,
            buckets: 0,
            deletions: 0,
            bodies: 0,
            settings: count_settings(settings),
        };
        for item in &item.items {
            let TraitItem::Fn(method) = item else {
                panic!("{}", item.to_token_stream())
            };
            if let Some(body) = &method.default {
                size.bodies += pretty(quote!(fn body() #body)).lines().count() + 6;
            }
            for attr in &method.attrs {
                let store =
                    attr.path().is_ident("kv_store") || attr.path().is_ident("object_store");
                size.stores += usize::from(store);
                size.buckets += usize::from(attr.path().is_ident("kv_store"));
                let deletion = attr.path().is_ident("kv_delete");
                size.deletions += usize::from(deletion);
                if let (true, Meta::List(list)) = (
                    store || deletion || attr.path().is_ident("endpoint"),
                    &attr.meta,
                ) {
                    // Bucket and key are part of what every store and deletion has.
                    size.settings +=
                        count_settings(&list.tokens) - 2 * usize::from(store || deletion);
                }
            }
        }
        size
    }

    /// A store has eight lines in the descriptor and five functions of 28 lines together; a bucket has four lines for patterns;
    /// a deletion has eleven lines in the descriptor; a body has six lines around it.
    fn lines(&self) -> usize {
        50 + 25 * self.methods
            + 36 * self.stores
            + 4 * self.buckets
            + 11 * self.deletions
            + self.bodies
            + self.settings
    }
}

fn count_settings(tokens: &TokenStream) -> usize {
    let settings = Punctuated::<Meta, Token![,]>::parse_terminated;
    settings.parse2(tokens.clone()).unwrap().len()
}

/// The lines of code that a person would have written instead, with `use` for paths. Neither documentation counts nor the attributes
/// of the user's that go to every item of their method.
fn lines_by_hand(expansion: &TokenStream) -> usize {
    let mut text = expansion.to_string();
    for path in [
        "natsmicro :: __private",
        "natsmicro :: store",
        "natsmicro",
        "other :: __private",
        "other :: store",
        "other",
        "core :: clone",
        "core :: convert",
        "core :: fmt",
        "core :: future",
        "core :: marker",
        "core :: option",
        "core :: primitive",
        "core :: result",
        "core :: time",
    ] {
        text = text.replace(&format!(":: {path} :: "), "");
    }
    let text = pretty(text.parse().unwrap());
    let counts = |line: &&str| {
        let uncounted = ["///", "#[cfg(", "#[deprecated"];
        !line.is_empty() && !uncounted.iter().any(|start| line.starts_with(start))
    };
    text.lines().map(str::trim).filter(counts).count()
}

/// The settings of `#[natsmicro::service(..)]` and the trait as rustc hands them to the macro.
fn without_service(mut item: ItemTrait) -> (TokenStream, ItemTrait) {
    let is_service = |attr: &mut Attribute| attr.path().segments.last().unwrap().ident == "service";
    let attr = item.attrs.extract_if(.., is_service).next().unwrap();
    let settings = match attr.meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    (settings, item)
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("snapshots")
        .join(file)
}

fn input(name: &str) -> Item {
    let text = fs::read_to_string(path(&format!("{name}.in.rs"))).unwrap();
    syn::parse_str(&text).unwrap()
}

fn pretty(expansion: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(expansion).unwrap())
}

fn compare(name: &str, expansion: &str) {
    let path = path(&format!("{name}.rs"));
    if env::var_os("NATSMICRO_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, expansion).unwrap();
        return;
    }
    let recorded = fs::read_to_string(path).unwrap_or_default();
    let (recorded, written) = (
        recorded.lines().collect::<Vec<_>>(),
        expansion.lines().collect::<Vec<_>>(),
    );
    assert!(
        recorded == written,
        "snapshots/{name}.rs is not what the macro writes now; if it should be, run the tests with NATSMICRO_BLESS=1\n{}",
        diff(&recorded, &written)
    );
}

/// What became of `old`: lines with `-` and `+`, each change with two lines around it.
fn diff(old: &[&str], new: &[&str]) -> String {
    // `common[i][j]`: how many lines `old[i..]` and `new[j..]` have in common.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let near_a_change = |at: usize| {
        let around = at.saturating_sub(2)..(at + 3).min(lines.len());
        lines[around].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut shown = Vec::new();
    for (at, (sign, line)) in lines.iter().enumerate() {
        if near_a_change(at) {
            shown.push(format!("{sign} {line}\n"));
        } else if shown.last().is_none_or(|last| last != "...\n") {
            shown.push("...\n".to_owned());
        }
    }
    shown.concat()
}

#[test]
fn a_difference_is_shown_with_its_surroundings() {
    let old = ["a", "b", "c", "d", "e", "f"];
    let new = ["a", "b", "c", "x", "e", "f"];
    assert_eq!(diff(&old, &new), "...\n  b\n  c\n- d\n+ x\n  e\n  f\n");
}
