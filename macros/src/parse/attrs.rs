//! Sorts the attributes of a method: which are ours, and where the user's go.
//!
//! Assumes the attributes as written. Guarantees that none of ours is left on the trait's method, and that at most one of each kind
//! is handed on, but for `#[kv_delete]`.

use proc_macro2::TokenStream;
use syn::{Attribute, Meta, parse_quote};

use crate::args::read::{Read, read};
use crate::args::settings::Settings;
use crate::attribute::{AttrName, conditional, is_cfg};
use crate::diag::Diagnostics;
use crate::model::method::MethodAttrs;

/// The attributes of a method: the user's, and our own in the order of the source.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) attrs: MethodAttrs,
    pub(super) ours: Vec<(AttrName, Attribute)>,
}

/// Sorts the attributes of the method `method`.
pub(super) fn sort(attrs: Vec<Attribute>, method: &str, diags: &mut Diagnostics) -> Sorted {
    let mut sorted = Sorted::default();
    for attr in attrs {
        let Some(name) = AttrName::of_method(attr.path()) else {
            keep(attr, &mut sorted.attrs, diags);
            continue;
        };
        // A call may make several entries stale.
        let is_second =
            name != AttrName::KvDelete && sorted.ours.iter().any(|(earlier, _)| *earlier == name);
        if is_second {
            let shown = name.as_str();
            let message = format!("method `{method}` has two `#[{shown}]` attributes");
            let help = match name {
                AttrName::Store(_) => {
                    "remove one of them; in each kind of store a response is stored once".to_owned()
                }
                _ => format!("write all settings in one `#[{shown}(..)]`"),
            };
            diags.help(&attr, message, help);
        } else {
            sorted.ours.push((name, attr));
        }
    }
    sorted
}

/// Notes where one of the user's attributes goes besides the trait's method.
fn keep(attr: Attribute, sorted: &mut MethodAttrs, diags: &mut Diagnostics) {
    let conditional = conditional(&attr);
    let mut paths = conditional.iter().map(Meta::path);
    if let Some(name) = paths.find_map(AttrName::of_method) {
        diags.help(
            &attr,
            format!("`#[{}]` cannot be conditional", name.as_str()),
            "declare the method twice, each under a `#[cfg(..)]` and with the attribute it needs",
        );
        return;
    }
    let path = attr.path();
    let is = |names: &[&str]| {
        names.iter().any(|name| {
            path.is_ident(name) || conditional.iter().any(|meta| meta.path().is_ident(name))
        })
    };
    if is(&["deprecated"]) {
        sorted.deprecated = true;
    }
    if is_cfg(&attr) {
        sorted.cfgs.push(attr.clone());
    } else if is(&["doc"]) {
        sorted.docs.push(attr.clone());
    } else if is(&["allow", "warn", "deny", "forbid", "deprecated"]) {
        sorted.lints.push(attr.clone());
    } else if let (true, Meta::List(list)) = (path.is_ident("expect"), &attr.meta) {
        // What is expected in the trait need not show in the client.
        let lints = &list.tokens;
        sorted.lints.push(parse_quote!(#[allow(#lints)]));
    }
    sorted.kept.push(attr);
}

/// The settings of one of our attributes.
pub(super) fn settings<T: Settings>(
    name: AttrName,
    attr: &Attribute,
    diags: &mut Diagnostics,
) -> Read<T> {
    match &attr.meta {
        Meta::Path(_) => read(name, TokenStream::new(), diags),
        Meta::List(list) => read(name, list.tokens.clone(), diags),
        Meta::NameValue(_) => {
            let name = name.as_str();
            diags.error(
                attr,
                format!("the settings of `#[{name}]` go in parentheses: `#[{name}(..)]`"),
            );
            Read::nothing()
        }
    }
}
