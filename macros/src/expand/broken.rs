//! What stands in for the descriptor and the client's implementation of the trait when there were errors.
//!
//! Assumes a service with a mistake; nothing here is asked for a sound one. Guarantees true signatures; what is generic by mistake
//! stays generic, and what cannot be written outside the trait is left out.

use std::borrow::Cow;
use std::collections::HashSet;

use proc_macro2::{Group, Literal, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{GenericParam, Generics, ReceiverKind, ReturnType, TraitItem, Type, WhereClause};

use super::expander::Expander;
use crate::model::method::Method;
use crate::model::service::Item;

/// A service without methods, under names that are surely right.
pub(super) fn descriptor(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let p = &expander.private;
    let (ident, descriptor, implementation) = (
        &service.ident,
        expander.descriptor(),
        expander.implementation(),
    );
    let cfgs = &service.cfgs;
    let methods = Literal::usize_unsuffixed(service.methods().count());
    // A generic trait cannot be named without its arguments.
    let bound = service.generics.params.is_empty().then(|| quote!(: #ident));
    quote! {
        #(#cfgs)*
        impl #p::Describe for #descriptor {
            const SERVICE: #p::ServiceDescriptor = #p::ServiceDescriptor::new("Service", "service", #methods);
        }

        #(#cfgs)*
        #[allow(deprecated)]
        impl<#implementation #bound> #p::Dispatch<#implementation> for #descriptor {
            fn register(_router: &mut #p::Router<#implementation>) {}
        }
    }
}

/// The trait for the client, unless it asks for something that cannot be made up.
pub(super) fn client(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let made_up = service.items.iter().all(|item| match item {
        Item::Method(method) => {
            // With a `self` by value a call would rather mean the trait's method than the client's.
            let by_value = matches!(
                method.sig.receiver().map(|receiver| &receiver.kind),
                Some(ReceiverKind::Value)
            );
            !by_value && (method.output.nameable || method.sig.output.to_token_stream().is_empty())
        }
        Item::Other(item) => matches!(**item, TraitItem::Const(_)),
    });
    if !made_up {
        return TokenStream::new();
    }
    let (ident, client, cfgs, unsafety) = (
        &service.ident,
        expander.client(),
        &service.cfgs,
        &service.unsafety,
    );
    let (parameters, arguments, clause) = service.generics.split_for_impl();
    let async_trait = &service.async_trait;
    let items = service.items.iter().map(|item| match item {
        Item::Method(method) if method.repeated || method.default.is_some() => TokenStream::new(),
        Item::Method(method) => {
            let (cfgs, mut sig) = (&method.attrs.cfgs, method.sig.clone());
            sig.asyncness.get_or_insert_default();
            // A boxed future is returned as it is declared, any other may be that of an `async fn`.
            if let Some(rewritten) = &method.rewritten
                && !matches!(&rewritten.sig.output, ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)))
            {
                sig = rewritten.sig.clone();
            }
            quote!(#(#cfgs)* #sig { ::core::unimplemented!() })
        }
        Item::Other(item) => made_up_constant(item),
    });
    quote! {
        #(#cfgs)*
        #async_trait
        #[allow(deprecated, refining_impl_trait, unused_variables)]
        #unsafety impl #parameters #ident #arguments for #client #clause {
            #(#items)*
        }
    }
}

/// A value for a constant that has none.
fn made_up_constant(item: &TraitItem) -> TokenStream {
    match item {
        TraitItem::Const(constant) if constant.default.is_none() => {
            let (name, ty) = (&constant.ident, &constant.ty);
            quote!(const #name: #ty = ::core::unimplemented!();)
        }
        _ => TokenStream::new(),
    }
}

/// The response and the error of a client's method; `None` if they cannot be written there.
pub(super) fn types<'m>(
    expander: &Expander<'_>,
    method: &'m Method,
) -> Option<(Cow<'m, Type>, Cow<'m, Type>)> {
    let krate = expander.krate;
    let output = &method.output;
    let status = || Cow::Owned(Type::Verbatim(quote!(#krate::Status)));
    if output.is_no_result {
        return Some((Cow::Borrowed(&output.ty), status()));
    }
    if let (Some(item), false) = (&output.item, output.nameable) {
        let stream = Cow::Owned(Type::Verbatim(quote!(#krate::Streaming<#item>)));
        let error = output.result.as_ref();
        let error = error.map_or_else(status, |(_, error)| Cow::Borrowed(error));
        return Some((stream, error));
    }
    let mentions_self = words(output.ty.to_token_stream()).contains("Self");
    (output.nameable && !mentions_self).then(|| {
        let repair =
            |ty: Cow<'_, Type>| Cow::Owned(Type::Verbatim(without_borrows(ty.to_token_stream())));
        (repair(output.ok(krate)), repair(output.error(krate)))
    })
}

/// A type that borrows by mistake, `&User`, as one that does not borrow from the client: `&'static User`.
fn without_borrows(tokens: TokenStream) -> TokenStream {
    let is_quote =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '\'');
    let mut tokens = tokens.into_iter().peekable();
    let mut found = TokenStream::new();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let stream = without_borrows(group.stream());
                found.extend([TokenTree::from(Group::new(group.delimiter(), stream))]);
            }
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                found.extend([TokenTree::from(punct)]);
                if !tokens.peek().is_some_and(is_quote) {
                    found.extend(quote!('static));
                }
            }
            quote if is_quote(&quote) => {
                let is_elided =
                    matches!(tokens.peek(), Some(TokenTree::Ident(name)) if name == "_");
                if is_elided {
                    tokens.next();
                    found.extend(quote!('static));
                } else {
                    found.extend([quote]);
                }
            }
            other => found.extend([other]),
        }
    }
    found
}

/// The generics of a client's method: what the method or the trait has by mistake, as far as the method uses it.
pub(super) fn generics<'m>(
    expander: &Expander<'_>,
    method: &'m Method,
) -> (Option<Generics>, Option<&'m WhereClause>) {
    let mut used = words(method.output.ty.to_token_stream());
    used.extend(
        method
            .request
            .iter()
            .flat_map(|request| words(request.ty.to_token_stream())),
    );
    let mut generics = Generics::default();
    let inherited = expander
        .service
        .generics
        .params
        .iter()
        .chain(&method.sig.generics.params);
    generics.params = inherited
        .filter(|parameter| match parameter {
            GenericParam::Type(parameter) => used.contains(&parameter.ident.to_string()),
            GenericParam::Const(parameter) => used.contains(&parameter.ident.to_string()),
            GenericParam::Lifetime(parameter) => {
                used.contains(&parameter.lifetime.ident.to_string())
            }
        })
        .cloned()
        .collect();
    let is_generic = !generics.params.is_empty();
    (
        is_generic.then_some(generics),
        method
            .sig
            .generics
            .where_clause
            .as_ref()
            .filter(|_| is_generic),
    )
}

/// The identifiers in some tokens.
fn words(tokens: TokenStream) -> HashSet<String> {
    let mut found = HashSet::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => drop(found.insert(ident.to_string())),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    found
}
