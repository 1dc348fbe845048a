//! The values of settings that are more than a string, a number or a word.
//!
//! Assumes and guarantees what [`value`](super::value) does.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, ExprPath, Ident, Lit, LitStr, Meta, Path, Token};

use super::value::{Value, literal, setting_name, string, wrong_kind, wrong_kind_with_help};
use crate::diag::{error, error_with_help};
use crate::key::Template;
use crate::names::{self, Fault};

/// `queue_group = "workers"`, or `false` to answer without one.
#[derive(Debug, Clone)]
pub(crate) enum QueueGroup {
    Named(LitStr),
    Off,
}

impl Value for QueueGroup {
    const WHAT: &'static str = "a name or `false`";

    fn example(name: &str) -> String {
        format!("{name} = \"workers\"")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        match literal(meta) {
            Some(Lit::Bool(lit)) if !lit.value => Some(Self::Off),
            Some(Lit::Str(lit)) => match names::queue_group(&lit.value()) {
                Ok(()) => Some(Self::Named(lit.clone())),
                Err(Fault { message, help }) => {
                    errors.push(match help {
                        Some(help) => error_with_help(lit, message, help),
                        None => error(lit, message),
                    });
                    None
                }
            },
            _ => {
                let help = "write `queue_group = \"workers\"`, or `queue_group = false` for none";
                errors.push(wrong_kind_with_help::<Self>(meta, help.to_owned()));
                None
            }
        }
    }
}

/// How messages become bytes.
#[derive(Debug, Clone)]
pub(crate) enum Codec {
    Protobuf,
    Json,
    Custom(Path),
}

impl Value for Codec {
    const WHAT: &'static str = "\"protobuf\", \"json\" or a type";

    fn example(name: &str) -> String {
        format!("{name} = \"json\"")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        match (literal(meta), meta) {
            (Some(Lit::Str(lit)), _) => match lit.value().as_str() {
                "protobuf" => return Some(Self::Protobuf),
                "json" => return Some(Self::Json),
                other => errors.push(error_with_help(
                    lit,
                    format!("there is no codec `{}`", other.escape_debug()),
                    "the codecs are \"protobuf\" and \"json\"; a codec of your own is written without quotes",
                )),
            },
            (None, Meta::NameValue(pair)) => match path(&pair.value) {
                Some(path) if path.is_ident("protobuf") || path.is_ident("json") => {
                    let name = path.to_token_stream();
                    errors.push(error_with_help(
                        path,
                        format!("the codec `{name}` is written in quotes"),
                        format!("write `codec = \"{name}\"`"),
                    ));
                }
                Some(path) => return Some(Self::Custom(path.clone())),
                None => errors.push(wrong_kind::<Self>(meta)),
            },
            _ => errors.push(wrong_kind::<Self>(meta)),
        }
        None
    }
}

/// The path of a value, through the invisible groups of a `macro_rules!`.
fn path(expr: &Expr) -> Option<&Path> {
    match expr {
        Expr::Path(path) if path.qself.is_none() => Some(&path.path),
        Expr::Group(group) => path(&group.expr),
        _ => None,
    }
}

/// `crate = ::natsmicro_fork`
#[derive(Debug, Clone)]
pub(crate) struct KratePath(pub(crate) Path);

impl Value for KratePath {
    const WHAT: &'static str = "a path";

    fn example(name: &str) -> String {
        format!("{name} = ::natsmicro")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let found = match meta {
            Meta::NameValue(pair) => path(&pair.value),
            Meta::Path(_) | Meta::List(_) => None,
        };
        let Some(found) = found else {
            errors.push(wrong_kind::<Self>(meta));
            return None;
        };
        let starts_at_root = found.leading_colon.is_some()
            || found
                .segments
                .first()
                .is_some_and(|first| first.ident == "crate");
        if starts_at_root {
            return Some(Self(found.clone()));
        }
        let shown: Vec<String> = found
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        let help = match shown.first().map(String::as_str) {
            Some("self" | "super") => "write a path that starts with `crate::`".to_owned(),
            _ => format!(
                "write `crate = ::{}`, or `crate = crate::..` for a re-export",
                shown.join("::")
            ),
        };
        errors.push(error_with_help(
            found,
            "the runtime path must be absolute",
            help,
        ));
        // What was probably meant, so that the rest of the expansion still finds the runtime.
        Some(Self(Path {
            leading_colon: Some(Token![::](proc_macro2::Span::call_site())),
            segments: found.segments.clone(),
        }))
    }
}

/// `validate = check`
#[derive(Debug, Clone)]
pub(crate) struct FunctionPath(pub(crate) ExprPath);

impl Value for FunctionPath {
    const WHAT: &'static str = "the path of a function";

    fn example(name: &str) -> String {
        format!("{name} = check")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let mut value = match meta {
            Meta::NameValue(pair) => &pair.value,
            Meta::Path(_) | Meta::List(_) => {
                errors.push(wrong_kind::<Self>(meta));
                return None;
            }
        };
        while let Expr::Group(group) = value {
            value = &group.expr;
        }
        match value {
            Expr::Path(found) if of_implementation(found) => {
                errors.push(error_with_help(
                    found,
                    "a request is validated alike for every implementation, so the function cannot be of `Self`",
                    "name a function outside the trait, or a method of the request",
                ));
                None
            }
            Expr::Path(found) => Some(Self(found.clone())),
            Expr::Lit(ExprLit {
                lit: Lit::Str(lit), ..
            }) if lit.parse::<ExprPath>().is_ok() => {
                let help = format!("write `{} = {}`", setting_name(meta.path()), lit.value());
                errors.push(error_with_help(
                    lit,
                    "the path of a function is written without quotes",
                    help,
                ));
                None
            }
            Expr::Closure(closure) => {
                errors.push(error_with_help(
                    closure,
                    format!("`{}` takes {}", setting_name(meta.path()), Self::WHAT),
                    "make a function of the closure and write its name",
                ));
                None
            }
            _ => {
                errors.push(wrong_kind::<Self>(meta));
                None
            }
        }
    }
}

/// Whether a path begins with `Self`.
fn of_implementation(found: &ExprPath) -> bool {
    let first = found.path.segments.first();
    found.qself.is_none() && first.is_some_and(|first| first.ident == "Self")
}

/// `metadata(team = "platform", "cost-centre" = "42")`
#[derive(Debug, Clone)]
pub(crate) struct Metadata(pub(crate) Vec<(String, LitStr)>);

/// Equal if they hold the same pairs, in whatever order.
impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |Self(pairs): &Self| {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (key.clone(), value.value()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        sorted(self) == sorted(other)
    }
}

struct Pair {
    key_token: proc_macro2::TokenStream,
    key: String,
    value: Expr,
}

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (key_token, key) = if input.peek(LitStr) {
            let lit: LitStr = input.parse()?;
            (lit.to_token_stream(), lit.value())
        } else {
            let ident = input.call(Ident::parse_any)?;
            (ident.to_token_stream(), ident.unraw().to_string())
        };
        input.parse::<Token![=]>()?;
        Ok(Self {
            key_token,
            key,
            value: input.parse()?,
        })
    }
}

impl Value for Metadata {
    const WHAT: &'static str = "a list";

    fn example(name: &str) -> String {
        format!("{name}(team = \"platform\")")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let Meta::List(list) = meta else {
            errors.push(wrong_kind::<Self>(meta));
            return None;
        };
        let parser = Punctuated::<Pair, Token![,]>::parse_terminated;
        let Ok(pairs) = parser.parse2(list.tokens.clone()) else {
            errors.push(error_with_help(
                &list.tokens,
                format!(
                    "`{}` takes a list of `key = \"value\"`",
                    setting_name(meta.path())
                ),
                "write `team = \"platform\"`, or `\"cost-centre\" = \"42\"` for a key that is no Rust name",
            ));
            return None;
        };
        let mut entries: Vec<(String, LitStr)> = Vec::new();
        for Pair {
            key_token,
            key,
            value,
        } in pairs
        {
            let value = Meta::NameValue(syn::MetaNameValue {
                path: syn::parse_quote!(key),
                eq_token: Token![=](proc_macro2::Span::call_site()),
                value,
            });
            if key.is_empty() {
                errors.push(error(&key_token, "a metadata key cannot be empty"));
            } else if key.starts_with("_nats") {
                errors.push(error(
                    &key_token,
                    "metadata keys that start with `_nats` are reserved for NATS",
                ));
            } else if entries.iter().any(|(earlier, _)| *earlier == key) {
                errors.push(error(
                    &key_token,
                    format!("the metadata key `{}` is set twice", key.escape_debug()),
                ));
            } else if let Some(Lit::Str(lit)) = literal(&value) {
                entries.push((key, lit.clone()));
            } else if let Meta::NameValue(pair) = &value {
                errors.push(error(
                    &pair.value,
                    format!("a metadata value is a string: `{key} = \"..\"`"),
                ));
            }
        }
        Some(Self(entries))
    }
}

/// The template of a key.
#[derive(Debug, Clone)]
pub(crate) struct Key(pub(crate) Template);

impl Value for Key {
    const WHAT: &'static str = "a string";

    fn example(name: &str) -> String {
        format!("{name} = \"user.<id>\"")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let lit = string::<Self>(meta, errors)?;
        Some(Self(Template::parse(&lit, errors)))
    }
}
