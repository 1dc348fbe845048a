//! The serving side: how requests reach the methods of an implementation.
//!
//! Assumes a sound model, but for the alias.

use proc_macro2::TokenStream;
use quote::quote;

use super::expander::{Expander, doc};
use crate::model::method::Method;
use crate::model::signature::Kind;

/// ```text
/// impl<S: UserService> #p::Dispatch<S> for UserServiceDescriptor {
///     fn register(router: &mut #p::Router<S>) {
///         router.unary(&Self::PING, |service, _cx, ()| async move { <S as UserService>::ping(&service).await });
///     }
/// }
/// ```
pub(super) fn dispatch(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let p = &expander.private;
    let (ident, descriptor, implementation) = (
        &service.ident,
        expander.descriptor(),
        expander.implementation(),
    );
    let service_cfgs = &service.cfgs;
    let deprecated = expander.allow_deprecated(service.endpoints());
    let routes: TokenStream = service
        .endpoints()
        .map(|method| route(expander, method))
        .collect();
    quote! {
        #(#service_cfgs)*
        #deprecated
        impl<#implementation: #ident> #p::Dispatch<#implementation> for #descriptor {
            fn register(router: &mut #p::Router<#implementation>) {
                #routes
            }
        }
    }
}

fn route(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let p = &expander.private;
    let (ident, implementation) = (&expander.service.ident, expander.implementation());
    let cfgs = &method.attrs.cfgs;
    let constant = method.constant();
    let name = &method.sig.ident;
    let parameters = match (&method.context, &method.request) {
        (Some(_), Some(_)) => quote!(service, cx, request),
        (Some(_), None) => quote!(service, cx, ()),
        (None, Some(_)) => quote!(service, _cx, request),
        (None, None) => quote!(service, _cx, ()),
    };
    let arguments = match (&method.context, &method.request) {
        (Some(_), Some(_)) => quote!(&service, &cx, request),
        (Some(_), None) => quote!(&service, &cx),
        (None, Some(_)) => quote!(&service, request),
        (None, None) => quote!(&service),
    };
    // Named through the trait: a supertrait may have a method of the same name.
    let call = quote!(<#implementation as #ident>::#name(#arguments).await);
    let call = if method.output.result.is_some() {
        call
    } else {
        quote!(#p::Outcome::into_result(#call))
    };
    let kind = match method.kind() {
        Kind::Unary => quote!(unary),
        Kind::ServerStreaming => quote!(server_streaming),
        Kind::ClientStreaming => quote!(client_streaming),
        Kind::Bidirectional => quote!(bidirectional),
    };
    quote! {
        #(#cfgs)*
        router.#kind(&Self::#constant, |#parameters| async move { #call });
    }
}

/// ```text
/// pub type UserServiceServer<S> = #krate::ServiceServer<S, UserServiceDescriptor>;
/// ```
pub(super) fn alias(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let krate = expander.krate;
    let (vis, attrs) = (&service.vis, expander.item_attrs());
    let (server, descriptor, implementation) = (
        service.derived("Server"),
        expander.descriptor(),
        expander.implementation(),
    );
    let doc = doc(format!(
        "Serves an implementation of [`{}`]: `{server}::new(value)` goes to [`Server::add_service`]({}::Server::add_service).",
        service.name(),
        krate.doc_path(),
    ));
    quote! {
        #[doc = #doc]
        #attrs
        #vis type #server<#implementation> = #krate::ServiceServer<#implementation, #descriptor>;
    }
}
