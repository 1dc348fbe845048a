//! From the tokens of a trait to a [`Service`].
//!
//! Assumes a trait that syn can read. Guarantees a model with every method in it: what breaks a rule is reported and then repaired or
//! kept, whichever leaves rustc nothing to add. Rules that need two settings or two methods are in `validate`.

mod attrs;
mod messages;
mod method;
mod stream;
mod types;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, ItemTrait, Token, TraitItem, TraitItemFn, Visibility};

use crate::args::{self, ServiceArgs};
use crate::diag::Diagnostics;
use crate::krate::Krate;
use crate::model::{Item, Service};

use attrs::is_helper;
pub(crate) use attrs::{HELPERS, on_the_trait};

/// Reads the arguments of `#[service]` and the trait under it.
pub(crate) fn service(args: TokenStream, item: ItemTrait, diags: &mut Diagnostics) -> Service {
    let args = args::read::<ServiceArgs>("service", args, diags).args;
    let mut attrs = item.attrs;
    attrs.retain(|attr| {
        let helper = is_helper(attr);
        if let Some(name) = helper {
            diags.push(on_the_trait(attr, name));
        }
        helper.is_none()
    });

    if let Some(unsafety) = &item.unsafety {
        diags.error(
            unsafety,
            format!("service trait `{}` cannot be `unsafe`", item.ident),
        );
    }
    if let Some(auto) = &item.modifiers.auto_token {
        diags.error(
            auto,
            format!("service trait `{}` cannot be `auto`", item.ident),
        );
    }
    if !item.generics.params.is_empty() {
        diags.help(
            &item.generics,
            format!("service trait `{}` cannot be generic", item.ident),
            "a NATS subject names one concrete request type; use concrete message types in the methods",
        );
    }
    if item.items.is_empty() {
        diags.error(
            &item.ident,
            format!("service `{}` has no methods", item.ident),
        );
    }

    let mut index = 0;
    let mut items = Vec::new();
    for item in item.items {
        let item = match item {
            TraitItem::Verbatim(tokens) => unqualified(tokens, diags),
            item => item,
        };
        items.push(match item {
            TraitItem::Fn(function) => {
                index += 1;
                Item::Method(Box::new(method::parse(index - 1, function, diags)))
            }
            other => {
                not_a_method(&other, diags);
                Item::Other(Box::new(other))
            }
        });
    }

    Service {
        krate: Krate::new(args.krate.get().map(|path| &path.0)),
        args,
        cfgs: attrs
            .iter()
            .filter(|attr| attrs::is_cfg(attr))
            .cloned()
            .collect(),
        deprecated: attrs.iter().any(|attr| attr.path().is_ident("deprecated")),
        attrs,
        vis: item.vis,
        unsafety: item.unsafety,
        ident: item.ident,
        generics: item.generics,
        supertraits: item.supertraits,
        items,
    }
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
