//! From the tokens of a trait to a [`Service`].
//!
//! Assumes a trait that syn can read. Guarantees a model with every method in it: what breaks a rule is reported and then repaired or
//! kept, whichever leaves rustc nothing to add. Rules between two settings of one attribute are here, those between two attributes or
//! two methods in `validate`.

mod attrs;
mod endpoint;
mod messages;
mod method;
mod rewritten;
mod stores;
mod stream;
mod types;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Ident, ItemTrait, LitStr, Path, Token, TraitItem, TraitItemFn, Visibility};

use crate::args::composite::{Codec, KratePath};
use crate::args::read::read;
use crate::args::settings::{ServiceArgs, Setting};
use crate::attribute::{AttrName, is_cfg};
use crate::description::{self, Documentation};
use crate::diag::Diagnostics;
use crate::krate::Krate;
use crate::model::service::{Item, Service, ServiceSettings};
use crate::names::{self, snake_case};

/// Reads the arguments of `#[service]` and the trait under it.
pub(crate) fn service(args: TokenStream, item: ItemTrait, diags: &mut Diagnostics) -> Service {
    let mut args = read::<ServiceArgs>(AttrName::Service, args, diags).args;
    let krate = std::mem::take(&mut args.krate).into_value();
    let attrs = kept(&item, krate.as_ref(), diags);
    let mut of_async_trait = attrs.iter().filter(|attr| is_last(attr, "async_trait"));
    let async_trait = of_async_trait.next().cloned();
    if let Some(attr) = &async_trait {
        rewritten::async_trait(&item.ident.to_string(), attr, diags);
    }
    declaration(&item, diags);
    let settings = settings(&item.ident, &attrs, args, diags);
    let items = items(item.items, diags);
    rewritten::report(&item.ident.to_string(), &items, diags);
    Service {
        async_trait,
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
        items,
    }
}

/// The attributes of the trait that stay on it.
fn kept(item: &ItemTrait, krate: Option<&KratePath>, diags: &mut Diagnostics) -> Vec<Attribute> {
    let mut attrs = item.attrs.clone();
    attrs.retain(|attr| {
        if let Some(name) = AttrName::of_method(attr.path()) {
            diags.push(name.on_the_trait(attr));
            return false;
        }
        let is_second = is_service(attr.path(), krate);
        if is_second {
            diags.help(
                attr,
                format!("trait `{}` has two `#[service]` attributes", item.ident),
                "write all settings in one `#[service(..)]`",
            );
        }
        !is_second
    });
    attrs
}

/// Whether a path names `#[service]`, under its own name or through the path of the runtime.
fn is_service(path: &Path, krate: Option<&KratePath>) -> bool {
    let segments = |path: &Path| {
        let segments = path.segments.iter();
        segments
            .map(|segment| segment.ident.to_string())
            .collect::<Vec<_>>()
    };
    let runtime = krate.map_or_else(|| vec!["natsmicro".to_owned()], |krate| segments(&krate.0));
    match segments(path).split_last() {
        Some((last, [])) => last == "service",
        Some((last, before)) => last == "service" && before == runtime,
        None => false,
    }
}

fn is_last(attr: &Attribute, name: &str) -> bool {
    let last = attr.path().segments.last();
    last.is_some_and(|last| last.ident == name)
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
    if !args.skip.is_on()
        && !args.subject_prefix.is_written()
        && name.starts_with('_')
        && let Err(fault) = names::subject_prefix(&snake_case(&name))
    {
        diags.help(
            ident,
            fault.message,
            "set another one: `#[service(subject_prefix = \"..\")]`",
        );
    }
    if !args.skip.is_on() {
        available(&args.codec, ident, diags);
    }
    let prefix = args.subject_prefix.into_value().map(|text| text.lit);
    let documentation = if args.description.is_written() {
        Documentation::default()
    } else {
        description::of_trait(attrs)
    };
    let description = args.description.into_value().map(|text| text.lit);
    ServiceSettings {
        subject_prefix: prefix.unwrap_or_else(|| literal(&snake_case(&name))),
        name: match args.name.into_value() {
            Some(text) => text.lit,
            None => literal(&name),
        },
        version: args.version.into_value().map(|text| text.lit),
        description: description.or(documentation.description),
        unreadable_doc: documentation.unreadable,
        timeout: args.timeout.into_value(),
        codec: args.codec.into_value().unwrap_or(Codec::Protobuf),
        skipped: args.skip.is_on(),
        metadata: args.metadata.into_value(),
        queue_group: endpoint::queue_group(args.queue_group),
    }
}

/// The codecs are features of natsmicro.
fn available(codec: &Setting<Codec>, ident: &Ident, diags: &mut Diagnostics) {
    let (name, is_on, otherwise) = match (codec, codec.value()) {
        (Setting::Absent, _) | (_, Some(Codec::Protobuf)) => (
            "protobuf",
            cfg!(any(test, feature = "protobuf")),
            "`codec = \"json\"`",
        ),
        (_, Some(Codec::Json)) => (
            "json",
            cfg!(any(test, feature = "json")),
            "`codec = \"protobuf\"`",
        ),
        (_, Some(Codec::Custom(_)) | None) => return,
    };
    if !is_on {
        let place = codec
            .given()
            .map_or_else(|| ident.to_token_stream(), |given| given.label.clone());
        diags.help(
            place,
            format!("the codec `{name}` needs the feature `{name}` of natsmicro"),
            format!(
                "add \"{name}\" to the `features` of natsmicro in Cargo.toml, or set {otherwise}"
            ),
        );
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
