//! The trait itself.
//!
//! Assumes the model. Guarantees the trait as it was written, but for `async fn` and our own attributes.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, TokenStreamExt, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Block, ReturnType, Signature, Token, Type};

use super::expander::Expander;
use crate::krate::call_site_at;
use crate::model::method::Method;
use crate::model::service::Item;

/// Input:
/// ```text
/// pub trait UserService {
///     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
/// }
/// ```
/// Output:
/// ```text
/// pub trait UserService: ::core::marker::Send + ::core::marker::Sync + 'static {
///     fn save_profile(&self, request: SaveProfileRequest)
///         -> impl ::core::future::Future<Output = Result<Profile, Status>> + ::core::marker::Send;
/// }
/// ```
pub(super) fn service_trait(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let (attrs, vis, unsafety, ident) = (
        &service.attrs,
        &service.vis,
        &service.unsafety,
        &service.ident,
    );
    let (generics, clause) = (&service.generics, &service.generics.where_clause);
    let supertraits = service.supertraits.iter();
    // At the trait's name, so that "`RefCell<u8>` cannot be shared between threads" points there.
    let bounds =
        quote_spanned!(ident.span()=> ::core::marker::Send + ::core::marker::Sync + 'static);
    // A response of type `Self`, which was reported, would also need this.
    let sized = expander.broken.then(|| quote!(+ ::core::marker::Sized));
    // For a type that is not in scope rustc would offer to make it a parameter of the trait, were it not for these.
    let no_generics = generics
        .params
        .is_empty()
        .then(|| quote_spanned!(call_site_at(ident.span())=> <>));
    let item = |item: &Item| match item {
        Item::Method(method) if method.repeated => TokenStream::new(),
        Item::Method(method) => declared_method(expander, method),
        Item::Other(item) => item.to_token_stream(),
    };
    let items: TokenStream = service.items.iter().map(item).collect();
    quote! {
        #(#attrs)*
        #vis #unsafety trait #ident #generics #no_generics: #bounds #sized #(+ #supertraits)* #clause {
            #items
        }
    }
}

fn declared_method(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let attrs = &method.attrs.kept;
    let sig = &method.sig;
    let (semicolon, default) = (&method.semicolon, &method.default);
    if let Some(rewritten) = &method.rewritten {
        let sig = &rewritten.sig;
        return quote!(#(#attrs)* #sig #default #semicolon);
    }
    if expander.service.async_trait.is_some() {
        return quote!(#(#attrs)* #sig #default #semicolon);
    }
    let is_send = !(expander.broken && may_hold_anything(expander, method));
    match default {
        Some(body) if !is_send || !method.output.nameable => {
            quote!(#(#attrs)* #[allow(async_fn_in_trait)] #sig #body)
        }
        Some(body) => {
            let (desugared, body) = (desugar(method, is_send), default_body(method, body));
            quote!(#(#attrs)* #desugared #body)
        }
        None => {
            let desugared = desugar(method, is_send);
            quote!(#(#attrs)* #desugared #semicolon)
        }
    }
}

/// Input: `{ Ok(Pong) }`
/// Output: `{ async move { if let Some(output) = None::<Result<Pong, Status>> { return output; } Ok(Pong) } }`
///
/// An `async` block takes its type from what is returned first, and an `async fn` from its signature. With a `return` of the declared type
/// before all others, rustc infers and reports in the body as it does in an `async fn`.
fn default_body(method: &Method, body: &Block) -> TokenStream {
    let ty = &method.output.ty;
    let span = call_site_at(ty.span());
    let output = Ident::new("output", Span::mixed_site().located_at(ty.span()));
    let typed = quote_spanned! {span=>
        if let ::core::option::Option::Some(#output) = ::core::option::Option::None::<#ty> {
            return #output;
        }
    };
    let mut block = TokenStream::new();
    body.brace_token.surround(&mut block, |block| {
        typed.to_tokens(block);
        block.append_all(&body.stmts);
    });
    let asyncness = method
        .sig
        .asyncness
        .map_or(span, |it| call_site_at(it.span()));
    let future = quote_spanned!(asyncness=> async move);
    quote!({ #future #block })
}

/// Whether a method has a mistake for which its future may well hold what is not `Send`: it is generic, or takes a reference.
fn may_hold_anything(expander: &Expander<'_>, method: &Method) -> bool {
    let request = method.request.as_ref().map(|request| &request.ty);
    matches!(request, Some(Type::ImplTrait(_) | Type::Reference(_)))
        || !expander.service.generics.params.is_empty()
        || !method.sig.generics.params.is_empty()
}

/// Input: `async fn ping(&self) -> R`  Output: `fn ping(&self) -> impl Future<Output = R> + Send`
fn desugar(method: &Method, is_send: bool) -> TokenStream {
    let Signature {
        asyncness,
        safety,
        abi,
        fn_token,
        ident,
        generics,
        paren_token,
        inputs,
        ..
    } = &method.sig;
    let clause = &generics.where_clause;
    let output = &method.output.ty;
    // Nothing stands at the call site, so that rustc shows the declaration as it is written.
    let arrow = match &method.sig.output {
        ReturnType::Default => Token![->](ident.span()),
        ReturnType::Type(arrow, _) => *arrow,
    };
    let mut parameters = TokenStream::new();
    paren_token.surround(&mut parameters, |parameters| inputs.to_tokens(parameters));
    // At the user's `async`, where rustc then says "required by this bound" about a future that is not `Send`.
    let span = asyncness.map_or(fn_token.span(), |asyncness| asyncness.span());
    let send = is_send.then(|| quote_spanned!(span=> + ::core::marker::Send));
    let future = quote_spanned!(span=> impl ::core::future::Future<Output = #output> #send);
    quote!(#safety #abi #fn_token #ident #generics #parameters #arrow #future #clause)
}
