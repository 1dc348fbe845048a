//! From the tokens of a trait to a [`Service`].
//!
//! Assumes a trait that syn can read. Guarantees a model with every method in it: what breaks a rule is reported and then repaired or
//! kept, whichever leaves rustc nothing to add. Rules between two settings of one attribute are here, those between two attributes or
//! two methods in `validate`.

mod attrs;
mod endpoint;
mod messages;
mod method;
mod stores;
mod stream;
mod types;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Ident, ItemTrait, LitStr, Token, TraitItem, TraitItemFn, Visibility};

use crate::args::composite::Codec;
use crate::args::read::read;
use crate::args::settings::ServiceArgs;
use crate::attribute::{AttrName, is_cfg};
use crate::diag::Diagnostics;
use crate::krate::Krate;
use crate::model::service::{Item, Service, ServiceSettings};
use crate::names::{self, snake_case};

/// Reads the arguments of `#[service]` and the trait under it.
pub(crate) fn service(args: TokenStream, item: ItemTrait, diags: &mut Diagnostics) -> Service {
    let mut args = read::<ServiceArgs>(AttrName::Service, args, diags).args;
    let krate = std::mem::take(&mut args.krate).into_value();
    let mut attrs = item.attrs.clone();
    attrs.retain(|attr| {
        let ours = AttrName::of_method(attr.path());
        if let Some(name) = ours {
            diags.push(name.on_the_trait(attr));
        }
        ours.is_none()
    });
    declaration(&item, diags);
    let settings = settings(&item.ident, &attrs, args, diags);
    Service {
        krate: Krate::new(krate.as_ref().map(|path| &path.0)),
        settings,
        cfgs: attrs.iter().filter(|attr| is_cfg(attr)).cloned().collect(),
        deprecated: attrs.iter().any(|attr| attr.path().is_ident("deprecated")),
        attrs,
        vis: item.vis,
        unsafety: item.unsafety,
        ident: item.ident,
        generics: item.generics,
        supertraits: item.supertraits,
        items: items(item.items, diags),
    }
}

/// What stands before the items of the trait.
fn declaration(item: &ItemTrait, diags: &mut Diagnostics) {
    let name = &item.ident;
    if let Some(unsafety) = &item.unsafety {
        let message = format!("service trait `{name}` cannot be `unsafe`");
        diags.error(unsafety, message);
    }
    if let Some(auto) = &item.modifiers.auto_token {
        diags.error(auto, format!("service trait `{name}` cannot be `auto`"));
    }
    if !item.generics.params.is_empty() {
        diags.help(
            &item.generics,
            format!("service trait `{name}` cannot be generic"),
            "a NATS subject names one concrete request type; use concrete message types in the methods",
        );
    }
    if item.items.is_empty() {
        diags.error(name, format!("service `{name}` has no methods"));
    }
}

/// The settings of `#[service]`, and what the trait says where they are left out.
fn settings(
    ident: &Ident,
    attrs: &[Attribute],
    args: ServiceArgs,
    diags: &mut Diagnostics,
) -> ServiceSettings {
    let literal = |text: &str| LitStr::new(text, proc_macro2::Span::call_site());
    let name = ident.unraw().to_string();
    if !args.skip.is_on()
        && !args.name.is_written()
        && let Err(fault) = names::plain("a service name", &name)
    {
        diags.help(
            ident,
            fault.message,
            "set the name and the prefix: `#[service(name = \"..\", subject_prefix = \"..\")]`",
        );
    }
    let prefix = args.subject_prefix.into_value().map(|text| text.lit);
    let description = args.description.into_value().map(|text| text.lit);
    ServiceSettings {
        subject_prefix: prefix.unwrap_or_else(|| literal(&snake_case(&name))),
        name: match args.name.into_value() {
            Some(text) => text.lit,
            None => literal(&name),
        },
        version: args.version.into_value().map(|text| text.lit),
        description: description.or_else(|| doc_comment(attrs).map(|text| literal(&text))),
        timeout: args.timeout.into_value(),
        codec: args.codec.into_value().unwrap_or(Codec::Protobuf),
        skipped: args.skip.is_on(),
        metadata: args.metadata.into_value(),
        queue_group: endpoint::queue_group(args.queue_group),
    }
}

fn items(items: Vec<TraitItem>, diags: &mut Diagnostics) -> Vec<Item> {
    let mut index = 0;
    let mut read = |item| {
        let item = match item {
            TraitItem::Verbatim(tokens) => unqualified(tokens, diags),
            item => item,
        };
        match item {
            TraitItem::Fn(function) => {
                index += 1;
                Item::Method(Box::new(method::parse(index - 1, function, diags)))
            }
            other => {
                not_a_method(&other, diags);
                Item::Other(Box::new(other))
            }
        }
    };
    items.into_iter().map(&mut read).collect()
}

fn not_a_method(item: &TraitItem, diags: &mut Diagnostics) {
    let mut shown = item.clone();
    match &mut shown {
        TraitItem::Const(item) => item.attrs.clear(),
        TraitItem::Type(item) => item.attrs.clear(),
        TraitItem::Macro(item) => item.attrs.clear(),
        _ => {}
    }
    diags.help(
        shown,
        "a service trait can only declare methods",
        "move this item to another trait, or to the type that implements the service",
    );
}

/// A method that syn hands over as tokens because of a `pub` or `default` in front of it.
///
/// Input: `pub async fn save(&self) -> ..;`  Output: the same without `pub`, and an error at it.
fn unqualified(tokens: TokenStream, diags: &mut Diagnostics) -> TraitItem {
    struct Qualified {
        vis: Visibility,
        default: Option<Token![default]>,
        function: TraitItemFn,
    }

    impl Parse for Qualified {
        fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
            let attrs = input.call(Attribute::parse_outer)?;
            let vis = input.parse()?;
            let default = input.parse()?;
            let mut function: TraitItemFn = input.parse()?;
            function.attrs = attrs;
            Ok(Self {
                vis,
                default,
                function,
            })
        }
    }

    let Ok(Qualified {
        vis,
        default,
        function,
    }) = Qualified::parse.parse2(tokens.clone())
    else {
        return TraitItem::Verbatim(tokens);
    };
    let name = &function.sig.ident;
    if !matches!(vis, Visibility::Inherited) {
        let shown = vis.to_token_stream().to_string().replace(' ', "");
        diags.help(
            &vis,
            format!("method `{name}` is as visible as its trait"),
            format!("remove `{shown}`"),
        );
    }
    if let Some(default) = default {
        diags.error(default, format!("method `{name}` cannot be `default`"));
    }
    TraitItem::Fn(function)
}

/// The doc comment of the trait in one line.
fn doc_comment(attrs: &[Attribute]) -> Option<String> {
    let lines = attrs
        .iter()
        .filter(|attr| attr.path().is_ident("doc"))
        .filter_map(|attr| {
            let pair = attr.meta.require_name_value().ok()?;
            match &pair.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            }
        });
    let text: Vec<String> = lines
        .flat_map(|text| {
            text.lines()
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty())
        .collect();
    (!text.is_empty()).then(|| text.join(" "))
}
