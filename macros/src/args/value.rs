//! The values of settings: one type per kind, each with its own sentence about what it takes.
//!
//! Assumes a `syn::Meta`, such as `ttl = "1h"`, `client_only` or `metadata(..)`. Guarantees that a value that is handed out is within
//! its grammar, and that an error covers the value (or the setting, if it has no value) and shows how to write it.

use std::marker::PhantomData;

use syn::ext::IdentExt;
use syn::{Expr, ExprLit, Lit, LitStr, Meta, MetaNameValue, Path};

use crate::diag::{error, error_with_help};
use crate::names::{self, Fault};

/// The value of a setting.
pub(crate) trait Value: Sized {
    /// What such a setting takes, after "`ttl` takes ".
    const WHAT: &'static str;

    /// The setting `name` with a value, as a user would write it.
    fn example(name: &str) -> String;

    /// Reads the value. Mistakes go to `errors`; there can be a value in spite of some, to go on with.
    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self>;
}

/// The name of a setting as it was written.
pub(crate) fn setting_name(path: &Path) -> String {
    let segments: Vec<String> = path
        .segments
        .iter()
        .map(|segment| segment.ident.unraw().to_string())
        .collect();
    segments.join("::")
}

/// "`ttl` takes a string: `ttl = "1h"`", at the value.
pub(super) fn wrong_kind<T: Value>(meta: &Meta) -> syn::Error {
    let name = setting_name(meta.path());
    let message = format!("`{name}` takes {}: `{}`", T::WHAT, T::example(&name));
    match meta {
        Meta::NameValue(pair) => error(&pair.value, message),
        Meta::Path(_) | Meta::List(_) => error(meta, message),
    }
}

/// "`storage` takes a string", at the value, and what to write instead.
pub(super) fn wrong_kind_with_help<T: Value>(meta: &Meta, help: String) -> syn::Error {
    let message = format!("`{}` takes {}", setting_name(meta.path()), T::WHAT);
    match meta {
        Meta::NameValue(pair) => error_with_help(&pair.value, message, help),
        Meta::Path(_) | Meta::List(_) => error_with_help(meta, message, help),
    }
}

/// `"put", "create" or "update"`
fn one_of(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

pub(super) fn literal(meta: &Meta) -> Option<&Lit> {
    let Meta::NameValue(MetaNameValue { value, .. }) = meta else {
        return None;
    };
    let mut value = value;
    // A value that came through a `macro_rules!` is wrapped in an invisible group.
    while let Expr::Group(group) = value {
        value = &group.expr;
    }
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

pub(super) fn string<T: Value>(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<LitStr> {
    if let Some(Lit::Str(lit)) = literal(meta) {
        return Some(lit.clone());
    }
    errors.push(wrong_kind::<T>(meta));
    None
}

/// The grammar of a kind of text.
pub(crate) trait Grammar {
    const EXAMPLE: &'static str;

    fn check(text: &str) -> Result<(), Fault>;
}

/// A string within a grammar.
#[derive(Debug, Clone)]
pub(crate) struct Text<G> {
    pub(crate) lit: LitStr,
    grammar: PhantomData<G>,
}

/// Equal if they say the same, whatever the quotes.
impl<G> PartialEq for Text<G> {
    fn eq(&self, other: &Self) -> bool {
        self.lit.value() == other.lit.value()
    }
}

impl<G: Grammar> Value for Text<G> {
    const WHAT: &'static str = "a string";

    fn example(name: &str) -> String {
        format!("{name} = \"{}\"", G::EXAMPLE)
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let lit = string::<Self>(meta, errors)?;
        match G::check(&lit.value()) {
            Ok(()) => {}
            Err(Fault {
                message,
                help: None,
            }) => errors.push(error(&lit, message)),
            Err(Fault {
                message,
                help: Some(help),
            }) => errors.push(error_with_help(&lit, message, help)),
        }
        // Also a wrong name is the name of something: `validate` compares buckets all the same.
        Some(Self {
            lit,
            grammar: PhantomData,
        })
    }
}

macro_rules! grammars {
    ($($(#[$doc:meta])* $name:ident($example:literal): $check:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone)]
            pub(crate) struct $name;

            impl Grammar for $name {
                const EXAMPLE: &'static str = $example;

                fn check(text: &str) -> Result<(), Fault> {
                    let check: fn(&str) -> Result<(), Fault> = $check;
                    check(text)
                }
            }
        )*
    };
}

grammars! {
    /// The name of a service.
    ServiceName("UserService"): |text| names::plain("a service name", text);
    /// The name of an endpoint.
    MethodName("save_profile"): |text| names::plain("an endpoint name", text);
    /// The name of an endpoint in a `.proto` file.
    ProtoName("SaveProfile"): |text| names::plain("an endpoint name", text);
    /// The name of a bucket.
    Bucket("user_profiles"): |text| names::plain("a bucket name", text);
    /// A semantic version.
    Version("1.0.0"): names::version;
    /// The first tokens of a subject.
    Prefix("api.v1"): names::subject_prefix;
    /// Text for people.
    Description("Stores user profiles."): |_| Ok(());
}

/// A switch, written `client_only` or `client_only = true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl Value for Flag {
    const WHAT: &'static str = "nothing, `true` or `false`";

    fn example(name: &str) -> String {
        name.to_owned()
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        match (meta, literal(meta)) {
            (Meta::Path(_), _) => return Some(Self(true)),
            (_, Some(Lit::Bool(lit))) => return Some(Self(lit.value)),
            _ => {}
        }
        let name = setting_name(meta.path());
        let (message, help) = (
            format!("`{name}` is a flag"),
            format!("write `{name}` or `{name} = true`"),
        );
        errors.push(match meta {
            Meta::NameValue(pair) => error_with_help(&pair.value, message, help),
            Meta::Path(_) | Meta::List(_) => error_with_help(meta, message, help),
        });
        None
    }
}

/// One of a few words.
pub(crate) trait Choice: Sized + Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// Reads a [`Choice`].
fn choice<C: Choice + Value>(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<C> {
    let words: Vec<String> = C::WORDS
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    let help = format!("write {}", one_of(&words));
    let Some(Lit::Str(lit)) = literal(meta) else {
        errors.push(wrong_kind_with_help::<C>(meta, help));
        return None;
    };
    let text = lit.value();
    if let Some((_, choice)) = C::WORDS.iter().find(|(word, _)| *word == text) {
        return Some(*choice);
    }
    errors.push(error_with_help(
        lit,
        format!(
            "`{}` cannot be `{}`",
            setting_name(meta.path()),
            text.escape_debug()
        ),
        help,
    ));
    None
}

/// Declares enums of words; the runtime has the same enums with the same variants.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($word:literal: $variant:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(crate) enum $name {
                $($variant,)*
            }

            impl $name {
                /// The name of the variant, here and in the runtime.
                pub(crate) const fn variant(self) -> &'static str {
                    match self {
                        $(Self::$variant => stringify!($variant),)*
                    }
                }
            }

            impl Choice for $name {
                const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)*];
            }

            impl Value for $name {
                const WHAT: &'static str = "a string";

                fn example(name: &str) -> String {
                    let word = Self::WORDS.first().map_or("", |(word, _)| word);
                    format!("{name} = \"{word}\"")
                }

                fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
                    choice(meta, errors)
                }
            }
        )*
    };
}

choices! {
    /// When a response is stored.
    Persist {
        "after_response": AfterResponse,
        "before_response": BeforeResponse,
    }

    /// How an entry is written.
    Write {
        "put": Put,
        "create": Create,
        "update": Update,
    }

    /// Where a bucket is kept.
    Storage {
        "file": File,
        "memory": Memory,
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
