//! Attributes that are not where they belong: `#[service]` on something else than a trait, and `#[kv_store]` and the like where no
//! `#[service]` reads them.
//!
//! Guarantees that the item is emitted as it was, so that the error stays the only one.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{ImplItemFn, Item, ItemTrait, TraitItemFn};

use crate::attribute::AttrName;
use crate::diag::{error, error_with_help};

/// `#[service]` on `item`, which is no trait.
pub(crate) fn service_elsewhere(item: &TokenStream) -> TokenStream {
    let error = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Impl(item)) => {
            let name = item
                .trait_
                .as_ref()
                .and_then(|implemented| implemented.0.segments.last())
                .map_or_else(|| "MyService".to_owned(), |last| last.ident.to_string());
            error_with_help(
                item.impl_token,
                "`#[natsmicro::service]` goes on the trait, not on its implementation",
                format!(
                    "declare `trait {name} {{ .. }}`, implement it as usual, and pass the value to `{name}Server::new`"
                ),
            )
        }
        Ok(item) => error_with_help(
            without_attributes(item),
            "`#[natsmicro::service]` goes on a trait",
            "declare the methods of the service in a trait",
        ),
        Err(_) => error(item, "`#[natsmicro::service]` goes on a trait"),
    };
    let error = error.to_compile_error();
    quote!(#item #error)
}

/// The item as it should be underlined.
fn without_attributes(mut item: Item) -> TokenStream {
    match &mut item {
        Item::Struct(item) => item.attrs.clear(),
        Item::Enum(item) => item.attrs.clear(),
        Item::Fn(item) => return item.sig.to_token_stream(),
        Item::Mod(item) => return item.ident.to_token_stream(),
        _ => {}
    }
    item.into_token_stream()
}

/// `#[name(..)]` on `item`, outside a trait under `#[service]`.
pub(crate) fn helper_elsewhere(name: AttrName, item: &TokenStream) -> TokenStream {
    let error = helper_error(name, item).to_compile_error();
    quote!(#item #error)
}

fn helper_error(name: AttrName, item: &TokenStream) -> syn::Error {
    let shown = name.as_str();
    // Without tokens of its own an error covers the attribute.
    let attribute = TokenStream::new();
    if let Ok(method) = syn::parse2::<TraitItemFn>(item.clone())
        && method.default.is_none()
    {
        return error_with_help(
            attribute,
            format!("`#[{shown}]` has no effect here"),
            "put `#[natsmicro::service]` on the trait that declares this method",
        );
    }
    if let Ok(method) = syn::parse2::<ImplItemFn>(item.clone())
        && method.sig.receiver().is_some()
    {
        let method = &method.sig.ident;
        return error(
            attribute,
            format!(
                "`#[{shown}]` goes on the trait's declaration of `{method}`, not on its implementation"
            ),
        );
    }
    if syn::parse2::<ItemTrait>(item.clone()).is_ok() {
        return name.on_the_trait(attribute);
    }
    error_with_help(
        attribute,
        format!("`#[{shown}]` goes on a method"),
        "put it on a method of a trait that has `#[natsmicro::service]`",
    )
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
