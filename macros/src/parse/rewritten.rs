//! Methods that return a future instead of being `async`: another attribute has rewritten them before ours was read, or the user did.
//!
//! Assumes the signature as it stands. Guarantees the signature that was probably written, as far as it can be known.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{
    AngleBracketedGenericArguments, GenericArgument, GenericParam, PathArguments, ReturnType,
    Signature, Token, Type, TypeParamBound,
};

use super::types;
use crate::diag::{Diagnostics, position};
use crate::model::method::{Method, Rewritten, RewrittenBy};
use crate::model::service::Item;

/// Makes an `async` function of one that returns a future, and gives what it was.
pub(super) fn restore(sig: &mut Signature) -> Option<Rewritten> {
    let ReturnType::Type(_, ty) = &sig.output else {
        return None;
    };
    if sig.asyncness.is_some() {
        return None;
    }
    let output = output_of(ty)?.clone();
    let has_lifetime = |name: &str| {
        sig.generics.params.iter().any(
            |parameter| matches!(parameter, GenericParam::Lifetime(of) if of.lifetime.ident == name),
        )
    };
    let by = if has_lifetime("async_trait") {
        RewrittenBy::AsyncTrait
    } else if position(ty.span()) < position(sig.ident.span()) {
        // What an attribute writes stands where the attribute stands.
        RewrittenBy::AnotherAttribute
    } else {
        RewrittenBy::Hand
    };
    let original = sig.clone();
    sig.asyncness = Some(Token![async](sig.fn_token.span));
    if let ReturnType::Type(_, ty) = &mut sig.output {
        **ty = output;
    }
    if by == RewrittenBy::AsyncTrait {
        let is_lifetime = |parameter: &GenericParam| matches!(parameter, GenericParam::Lifetime(_));
        let params = std::mem::take(&mut sig.generics.params);
        sig.generics.params = params.into_iter().filter(|of| !is_lifetime(of)).collect();
        sig.generics.where_clause = None;
        let inputs = without_lifetimes(sig.inputs.to_token_stream());
        let parser = syn::punctuated::Punctuated::parse_terminated;
        if let Ok(inputs) = syn::parse::Parser::parse2(parser, inputs) {
            sig.inputs = inputs;
        }
    }
    Some(Rewritten { sig: original, by })
}

/// `T` of an `impl Future<Output = T>`, or of a `Pin<Box<dyn Future<Output = T>>>`.
fn output_of(ty: &Type) -> Option<&Type> {
    let bounds = match ty {
        Type::ImplTrait(ty) => &ty.bounds,
        Type::TraitObject(ty) => &ty.bounds,
        Type::Group(ty) => return output_of(&ty.elem),
        Type::Paren(ty) => return output_of(&ty.elem),
        _ if types::is_named(ty, "Pin") || types::is_named(ty, "Box") => {
            let GenericArgument::Type(inner) = types::arguments(ty).into_iter().next()? else {
                return None;
            };
            return output_of(inner);
        }
        _ => return None,
    };
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let last = bound
            .path
            .segments
            .last()
            .filter(|last| last.ident == "Future")?;
        let PathArguments::AngleBracketed(AngleBracketedGenericArguments { args, .. }) =
            &last.arguments
        else {
            return None;
        };
        args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
            _ => None,
        })
    })
}

/// The parameters without the lifetimes that `#[async_trait]` has given them.
fn without_lifetimes(tokens: TokenStream) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    let mut found = TokenStream::new();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let inner = without_lifetimes(group.stream());
                let mut copy = proc_macro2::Group::new(group.delimiter(), inner);
                copy.set_span(group.span());
                found.extend([TokenTree::from(copy)]);
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                let is_theirs = matches!(tokens.peek(), Some(TokenTree::Ident(name)) if name.to_string().starts_with("life"));
                if is_theirs {
                    tokens.next();
                } else {
                    found.extend([TokenTree::from(punct)]);
                }
            }
            token => found.extend([token]),
        }
    }
    found
}

/// One error for all methods that another attribute has rewritten, at that attribute.
pub(super) fn report(service: &str, items: &[Item], diags: &mut Diagnostics) {
    let methods = || {
        items.iter().filter_map(|item| match item {
            Item::Method(method) => Some(&**method),
            Item::Other(_) => None,
        })
    };
    let by = |by: RewrittenBy| {
        let is_by = move |method: &&Method| {
            let rewritten = method.rewritten.as_ref();
            rewritten.is_some_and(|rewritten| rewritten.by == by)
        };
        methods()
            .find(is_by)
            .and_then(|method| method.rewritten.as_ref())
    };
    if let Some(rewritten) = by(RewrittenBy::AsyncTrait) {
        async_trait(service, &rewritten.sig.output, diags);
    } else if let Some(rewritten) = by(RewrittenBy::AnotherAttribute) {
        diags.help(
            &rewritten.sig.output,
            format!("an attribute above `#[service]` has rewritten the methods of `{service}`"),
            "write it below `#[service]`",
        );
    }
}

/// The error for `#[async_trait]`, above `#[service]` or below it.
pub(super) fn async_trait(service: &str, place: impl ToTokens, diags: &mut Diagnostics) {
    diags.help(
        place,
        format!("service trait `{service}` cannot be an `#[async_trait]`"),
        "remove `#[async_trait]` from the trait and from its implementations: both are written with plain `async fn`s",
    );
}
