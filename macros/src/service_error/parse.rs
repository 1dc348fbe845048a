//! Reads the enum and its codes.
//!
//! Guarantees, if nothing was reported: at least the variant for every other status, codes in capitals, none of them twice.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Meta, Type, Variant};

use super::model::{Coded, ErrorEnum};
use crate::args::read::read;
use crate::args::settings::ServiceErrorArgs;
use crate::attribute::AttrName;
use crate::diag::{Diagnostics, error_with_help};
use crate::krate::Krate;
use crate::names::snake_case;

pub(super) fn error_enum(input: &DeriveInput, diags: &mut Diagnostics) -> ErrorEnum {
    let mut model = ErrorEnum {
        krate: krate(&input.attrs, diags),
        ident: input.ident.clone(),
        coded: Vec::new(),
        rest: None,
    };
    for attr in code_attributes(&input.attrs) {
        diags.error(attr, "`#[code]` goes on a variant");
    }
    if !input.generics.params.is_empty() {
        diags.help(
            &input.generics,
            format!("service error `{}` cannot be generic", input.ident),
            "an error is read back from what a reply carries; use concrete types in its fields",
        );
    }
    let Data::Enum(data) = &input.data else {
        diags.help(
            &input.ident,
            "`ServiceError` can only be derived for an enum",
            "give each kind of error a variant with a `#[code(\"..\")]`, or implement `natsmicro::ServiceError` by hand",
        );
        return model;
    };
    let before = diags.len();
    for variant in &data.variants {
        read_variant(variant, &mut model, diags);
    }
    // A variant that was reported may be the one that is missing.
    if model.rest.is_none() && diags.len() == before {
        diags.help(
            &input.ident,
            format!("service error `{}` has no variant for other errors", input.ident),
            "add a variant that takes every other status: `#[error(transparent)] Status(#[from] natsmicro::Status)`",
        );
    }
    model
}

fn krate(attrs: &[Attribute], diags: &mut Diagnostics) -> Krate {
    let mut args = ServiceErrorArgs::default();
    let ours = |attr: &&Attribute| attr.path().is_ident("service_error");
    for (position, attr) in attrs.iter().filter(ours).enumerate() {
        if position > 0 {
            let message = "an enum has one `#[service_error]` attribute";
            diags.help(attr, message, "remove one of them");
            continue;
        }
        let tokens = match &attr.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) => TokenStream::new(),
            Meta::NameValue(_) => {
                diags.error(
                    attr,
                    "the settings of `#[service_error]` go in parentheses: `#[service_error(..)]`",
                );
                continue;
            }
        };
        args = read::<ServiceErrorArgs>(AttrName::ServiceError, tokens, diags).args;
    }
    Krate::new(args.krate.value().map(|path| &path.0))
}

fn code_attributes(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("code"))
}

fn read_variant(variant: &Variant, model: &mut ErrorEnum, diags: &mut Diagnostics) {
    let ident = &variant.ident;
    let settings = |attr: &&Attribute| attr.path().is_ident("service_error");
    if let Some(attr) = variant.attrs.iter().find(settings) {
        diags.help(
            attr,
            "`#[service_error]` goes on the enum",
            format!(
                "the code of a variant is written `#[code(\"{}\")]`",
                capitals(&ident.unraw().to_string())
            ),
        );
        return;
    }
    let on_fields = variant
        .fields
        .iter()
        .flat_map(|field| code_attributes(&field.attrs));
    let before = diags.len();
    for attr in on_fields {
        diags.error(attr, "`#[code]` goes on a variant");
    }
    if diags.len() > before {
        return;
    }
    let mut codes = code_attributes(&variant.attrs);
    let Some(attr) = codes.next() else {
        return without_code(variant, model, diags);
    };
    for second in codes {
        let message = format!("variant `{ident}` has two codes");
        diags.help(second, message, "remove one of them");
    }
    let Some(code) = code(attr, ident, diags) else {
        return;
    };
    for attr in variant
        .fields
        .iter()
        .flat_map(|field| &field.attrs)
        .filter(|attr| attr.path().is_ident("cfg"))
    {
        diags.help(
            attr,
            format!("a field of `{ident}` cannot be conditional"),
            "put the `#[cfg(..)]` on the variant",
        );
    }
    let cfgs: Vec<Attribute> = variant
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .cloned()
        .collect();
    same_code(variant, &code, &cfgs, model, diags);
    model.coded.push(Coded {
        cfgs,
        ident: ident.clone(),
        code,
        fields: variant.fields.clone(),
    });
}

/// Two variants of one code cannot be told apart.
fn same_code(
    variant: &Variant,
    code: &LitStr,
    cfgs: &[Attribute],
    model: &ErrorEnum,
    diags: &mut Diagnostics,
) {
    let ident = &variant.ident;
    let same_code = model
        .coded
        .iter()
        .filter(|earlier| earlier.code.value() == code.value());
    for earlier in same_code {
        diags.push_under(
            earlier.cfgs.iter().chain(cfgs).cloned().collect(),
            error_with_help(
                code,
                format!(
                    "variants `{}` and `{ident}` have the same code `{}`",
                    earlier.ident,
                    code.value()
                ),
                "a client could not tell them apart; give each its own code",
            ),
        );
        if earlier.cfgs.iter().all(|cfg| cfgs.contains(cfg)) {
            break;
        }
    }
}

/// The one variant that takes what no other does, or a variant whose code was forgotten.
fn without_code(variant: &Variant, model: &mut ErrorEnum, diags: &mut Diagnostics) {
    let ident = &variant.ident;
    match (status_field(&variant.fields), &model.rest) {
        (Some(ty), None) => model.rest = Some((ident.clone(), ty.clone())),
        (Some(_), Some((first, _))) => diags.help(
            ident,
            format!("variants `{first}` and `{ident}` both take every other status"),
            format!(
                "give one of them a code: `#[code(\"{}\")]`",
                capitals(&ident.unraw().to_string())
            ),
        ),
        (None, None) if holds_status(&variant.fields) => diags.help(
            &variant.fields,
            format!("variant `{ident}` must hold a `Status` and nothing else to take every other status"),
            format!("write `{ident}(Status)`, or give it a code"),
        ),
        (None, _) => diags.help(
            ident,
            format!("variant `{ident}` has no code"),
            format!(
                "write `#[code(\"{}\")]` above it; only a variant that holds a `Status` goes without",
                capitals(&ident.unraw().to_string())
            ),
        ),
    }
}

/// The field of a variant that holds a `Status` and nothing else. By name: an alias is taken for another type.
fn status_field(fields: &Fields) -> Option<&Type> {
    let Fields::Unnamed(fields) = fields else {
        return None;
    };
    let mut fields = fields.unnamed.iter();
    match (fields.next().map(|field| &field.ty), fields.next()) {
        (Some(ty @ Type::Path(path)), None) => {
            let last = path.path.segments.last()?;
            (last.ident == "Status").then_some(ty)
        }
        _ => None,
    }
}

/// Whether a variant was probably meant to take every other status.
fn holds_status(fields: &Fields) -> bool {
    let mut words = fields
        .to_token_stream()
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Group(group) => group.stream(),
            token => token.into(),
        });
    words.any(|word| matches!(word, TokenTree::Ident(word) if word == "Status"))
}

/// The text of `#[code("..")]`.
fn code(attr: &Attribute, variant: &Ident, diags: &mut Diagnostics) -> Option<LitStr> {
    let suggestion = capitals(&variant.unraw().to_string());
    let Ok(code) = attr.parse_args::<LitStr>() else {
        diags.help(
            attr,
            "a code is a string in parentheses",
            format!("write `#[code(\"{suggestion}\")]`"),
        );
        return None;
    };
    let text = code.value();
    let wrong = text
        .chars()
        .find(|c| !c.is_ascii_uppercase() && !c.is_ascii_digit() && *c != '_');
    if text.is_empty() {
        diags.help(
            &code,
            "a code cannot be empty",
            format!("write `#[code(\"{suggestion}\")]`"),
        );
        return None;
    }
    if let Some(c) = wrong {
        let help = if c.is_ascii_lowercase() || matches!(c, '-' | ' ' | '.') {
            format!("write it in capitals: `#[code(\"{}\")]`", capitals(&text))
        } else {
            "use capitals, digits and `_`".to_owned()
        };
        diags.help(
            &code,
            format!("`{}` is not allowed in a code", c.escape_debug()),
            help,
        );
        return None;
    }
    Some(code)
}

/// `orderExpired`, `order-expired` -> `ORDER_EXPIRED`
fn capitals(text: &str) -> String {
    let text = if text.contains(|c: char| c.is_ascii_lowercase()) {
        snake_case(text)
    } else {
        text.to_owned()
    };
    text.to_ascii_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}
