//! The trait itself.
//!
//! Assumes the model. Guarantees the trait as it was written, but for `async fn` and our own attributes.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ReturnType, Signature, Token, Type};

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
    if let (true, Some(body)) = (expander.broken, &method.default) {
        return quote!(#(#attrs)* #[allow(async_fn_in_trait)] #sig #body);
    }
    let is_send = !(expander.broken && may_hold_anything(expander, method));
    let desugared = desugar(method, is_send);
    quote!(#(#attrs)* #desugared #semicolon)
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
