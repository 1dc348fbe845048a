//! Attributes that are not where they belong: `#[service]` on something else than a trait, and `#[kv_store]` and the like where no
//! `#[service]` reads them.
//!
//! Guarantees that the item is emitted as it was, so that the error stays the only one.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Expr, Ident, ImplItemFn, Item, ItemImpl, ItemTrait, Meta, TraitItemFn};

use crate::attribute::AttrName;
use crate::diag::{error, error_with_help, position};

/// `#[service]` on `item`, which is no trait.
pub(crate) fn service_elsewhere(item: &TokenStream) -> TokenStream {
    let Ok(parsed) = syn::parse2::<Item>(item.clone()) else {
        // rustc itself has something to say about an attribute on a statement, behind which nothing else can stand.
        if syn::parse2::<Expr>(statement(item)).is_ok() {
            return item.clone();
        }
        let error = error(item, "`#[natsmicro::service]` goes on a trait").to_compile_error();
        return quote!(#item #error);
    };
    if is_copied(&parsed) {
        return copied(item, &parsed);
    }
    let error = match parsed {
        Item::Impl(item) => {
            let name =
                implemented(&item).map_or_else(|| "MyService".to_owned(), ToString::to_string);
            error_with_help(
                item.impl_token,
                "`#[natsmicro::service]` goes on the trait, not on its implementation",
                format!(
                    "declare `trait {name} {{ .. }}`, implement it as usual, and pass the value to `{name}Server::new`"
                ),
            )
        }
        item => error_with_help(
            without_attributes(item),
            "`#[natsmicro::service]` goes on a trait",
            "declare the methods of the service in a trait",
        ),
    };
    let error = error.to_compile_error();
    quote!(#item #error)
}

/// The tokens of a statement without its semicolon.
fn statement(tokens: &TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    tokens.pop_if(|last| matches!(last, TokenTree::Punct(punct) if punct.as_char() == ';'));
    tokens.into_iter().collect()
}

/// The name of the trait that is implemented.
fn implemented(item: &ItemImpl) -> Option<&Ident> {
    let (path, ..) = item.trait_.as_ref()?;
    Some(&path.segments.last()?.ident)
}

/// Whether another attribute has written this item and copied ours to it, as `#[automock]` does: what it writes stands where it
/// stands, above our own.
fn is_copied(item: &Item) -> bool {
    let keyword = match item {
        Item::Impl(item) => item.impl_token.span,
        Item::Mod(item) => item.mod_token.span,
        Item::Struct(item) => item.struct_token.span,
        Item::Enum(item) => item.enum_token.span,
        _ => return false,
    };
    position(keyword) < position(Span::call_site())
}

/// An item to which our attributes were copied, without them. One of these items, the implementation of the user's trait, gets the
/// error.
fn copied(tokens: &TokenStream, item: &Item) -> TokenStream {
    let sound = without_copies(tokens.clone());
    let Item::Impl(implementation) = item else {
        return sound;
    };
    let name = implemented(implementation)
        .filter(|name| position(name.span()) > position(Span::call_site()));
    let error = name.map(|name| {
        error_with_help(
            implementation.impl_token,
            format!("this attribute copies `#[service]` of `{name}` to what it writes"),
            "write it below `#[service]`",
        )
        .to_compile_error()
    });
    quote!(#sound #error)
}

/// Some tokens without `#[service]` and the attributes of methods.
fn without_copies(tokens: TokenStream) -> TokenStream {
    let is_ours = |group: &Group| {
        let path = syn::parse2::<Meta>(group.stream()).map(|meta| meta.path().clone());
        path.is_ok_and(|path| {
            let last = path.segments.last();
            last.is_some_and(|last| last.ident == AttrName::Service.as_str())
                || AttrName::of_method(&path).is_some()
        })
    };
    let mut tokens = tokens.into_iter().peekable();
    let mut found = TokenStream::new();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct)
                if punct.as_char() == '#'
                    && matches!(tokens.peek(), Some(TokenTree::Group(group)) if is_ours(group)) =>
            {
                tokens.next();
            }
            TokenTree::Group(group) => {
                let mut copy = Group::new(group.delimiter(), without_copies(group.stream()));
                copy.set_span(group.span());
                found.extend([TokenTree::from(copy)]);
            }
            token => found.extend([token]),
        }
    }
    found
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
