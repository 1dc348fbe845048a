//! Reads the settings of one attribute.
//!
//! Assumes the tokens between the parentheses. Guarantees: an unknown, repeated or unnamed setting is an error at that setting, a
//! value outside its grammar is an error at the value, and none of them hides another.

use darling::ast::NestedMeta;
use proc_macro2::TokenStream;
use quote::ToTokens;

use super::settings::{Settings, names};
use super::unknown;
use super::value::setting_name;
use crate::attribute::AttrName;
use crate::diag::{Diagnostics, error, error_with_help};

/// The settings of an attribute as far as they could be read.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) args: T,
    /// Whether a setting that seems to be missing can be among those that were not understood; one error is enough then.
    pub(crate) has_unknown: bool,
}

impl<T: Settings> Read<T> {
    /// No settings, of an attribute that was reported as a whole.
    pub(crate) fn nothing() -> Self {
        Self {
            args: T::default(),
            has_unknown: true,
        }
    }
}

/// Reads the settings between the parentheses of an attribute.
pub(crate) fn read<T: Settings>(
    attr: AttrName,
    tokens: TokenStream,
    diags: &mut Diagnostics,
) -> Read<T> {
    let items = match NestedMeta::parse_meta_list(tokens) {
        Ok(items) => items,
        Err(error) => {
            diags.push(syn::Error::new(
                error.span(),
                format!(
                    "the settings of `#[{}]` are written `name = value`, with commas between them",
                    attr.as_str()
                ),
            ));
            return Read::nothing();
        }
    };
    if let Some(literal) = items.iter().find(|item| matches!(item, NestedMeta::Lit(_))) {
        diags.push(unnamed(attr, literal, &items));
        return Read::nothing();
    }
    let names = names(attr);
    let (mut args, mut has_unknown) = (T::default(), false);
    let mut seen: Vec<String> = Vec::new();
    for item in &items {
        let path = match item {
            NestedMeta::Meta(meta) => meta.path(),
            NestedMeta::NameValueInvalidExpr(pair) => &pair.path,
            NestedMeta::Lit(_) => continue,
        };
        let name = setting_name(path);
        if !names.contains(&name.as_str()) {
            diags.push(unknown::error(path, &name, attr));
            has_unknown = true;
        } else if seen.contains(&name) {
            diags.error(path, format!("`{name}` is set twice"));
        } else {
            let mut errors = Vec::new();
            args.read(&name, item, &mut errors);
            for error in errors {
                diags.push(error);
            }
            seen.push(name);
        }
    }
    Read { args, has_unknown }
}

/// `#[kv_store("b", "k")]`: one error at the first literal, and the settings these literals were probably meant for.
fn unnamed(attr: AttrName, first: &NestedMeta, items: &[NestedMeta]) -> syn::Error {
    let names: &[&str] = match attr {
        AttrName::Store(_) | AttrName::KvDelete => &["bucket", "key"],
        AttrName::Stream => &["window"],
        AttrName::Service | AttrName::Endpoint | AttrName::ServiceError => &["name"],
    };
    let takes_numbers = attr == AttrName::Stream;
    let literals = items.iter().filter_map(|item| match item {
        NestedMeta::Lit(lit @ syn::Lit::Int(_)) if takes_numbers => {
            Some(lit.to_token_stream().to_string())
        }
        NestedMeta::Lit(lit @ syn::Lit::Str(_)) if !takes_numbers => {
            Some(lit.to_token_stream().to_string())
        }
        _ => None,
    });
    let written: Vec<String> = names
        .iter()
        .zip(literals)
        .map(|(name, literal)| format!("{name} = {literal}"))
        .collect();
    if written.is_empty() {
        return error(first, "expected `name = value`");
    }
    error_with_help(
        first,
        "expected `name = value`",
        format!("write `{}`", written.join(", ")),
    )
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
