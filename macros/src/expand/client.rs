//! The calling side: a client with a method for each method of the service, and functions for its stores.
//!
//! Assumes the model; the implementation of the trait needs a sound one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::FnArg;

use super::accessors;
use super::expander::{Expander, doc};
use super::signature::{ClientTypes, client_types};
use crate::model::method::Method;
use crate::model::signature::{Kind, Request};

/// ```text
/// #[derive(::core::clone::Clone, ::core::fmt::Debug)]
/// pub struct UserServiceClient { inner: #p::ServiceClient }
/// ```
pub(super) fn type_(expander: &Expander<'_>) -> TokenStream {
    let p = &expander.private;
    let (vis, client, attrs) = (
        &expander.service.vis,
        expander.client(),
        expander.item_attrs(),
    );
    let doc = doc(format!(
        "Calls [`{}`] over NATS and reads and writes its stores. Cheap to clone.",
        expander.service.name()
    ));
    quote! {
        #[doc = #doc]
        #attrs
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #client { inner: #p::ServiceClient }
    }
}

/// The client's own methods.
pub(super) fn methods(expander: &Expander<'_>) -> TokenStream {
    let krate = expander.krate;
    let p = &expander.private;
    let (client, descriptor, attrs) = (
        expander.client(),
        expander.descriptor(),
        expander.item_attrs(),
    );
    let name = expander.service.name();
    let new_doc = doc(format!(
        "A client of [`{name}`]; takes an `async_nats::Client` or a [`Client`]({}::Client) with options.",
        krate.doc_path()
    ));
    let prefix_doc =
        doc("Calls the service under another subject prefix than the one it declares.");
    let new =
        expander.body(quote!(Self { inner: #p::ServiceClient::new::<#descriptor>(::core::convert::Into::into(client)) }));
    let with_prefix = expander.body(quote!(Self {
        inner: self
            .inner
            .with_subject_prefix(::core::convert::Into::into(prefix))
    }));
    let methods: TokenStream = expander
        .service
        .endpoints()
        .flat_map(|method| {
            [
                call(expander, method),
                accessors::of_stores(expander, method),
            ]
        })
        .collect();
    quote! {
        #attrs
        impl #client {
            #[doc = #new_doc]
            #[must_use]
            pub fn new(client: impl ::core::convert::Into<#krate::Client>) -> Self #new

            #[doc = #prefix_doc]
            #[must_use]
            pub fn with_subject_prefix(self, prefix: impl ::core::convert::Into<#p::String>) -> Self #with_prefix

            #methods
        }
    }
}

/// ```text
/// pub fn save_profile(&self, request: SaveProfileRequest) -> #krate::Call<Profile, Status> {
///     #p::ServiceClient::call(&self.inner, &UserServiceDescriptor::SAVE_PROFILE, &request)
/// }
/// ```
fn call(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let krate = expander.krate;
    let p = &expander.private;
    let types = client_types(expander, method).filter(|_| !method.is_suppressed(&method.name()));
    let Some(ClientTypes {
        ok,
        error,
        generics,
        clause,
    }) = types
    else {
        return TokenStream::new();
    };
    let descriptor = expander.descriptor();
    let (cfgs, docs, lints) = (&method.attrs.cfgs, &method.attrs.docs, &method.attrs.lints);
    let generated_doc = docs
        .is_empty()
        .then(|| doc(format!("Calls `{}`.", method.name())))
        .map(|doc| quote!(#[doc = #doc]));
    let name = &method.sig.ident;
    let constant = method.constant();
    let parameter = &method.request;
    let argument = match &method.request {
        Some(Request {
            ident,
            item: Some(_),
            ..
        }) => quote!(#ident),
        Some(Request { ident, .. }) => quote!(&#ident),
        None => quote!(&()),
    };
    let send = match method.kind() {
        Kind::Unary => quote!(call),
        Kind::ServerStreaming => quote!(server_streaming),
        Kind::ClientStreaming => quote!(client_streaming),
        Kind::Bidirectional => quote!(bidirectional),
    };
    let body = expander
        .body(quote!(#p::ServiceClient::#send(&self.inner, &#descriptor::#constant, #argument)));
    quote! {
        #(#docs)*
        #generated_doc
        #(#cfgs)*
        #(#lints)*
        pub fn #name #generics (&self, #parameter) -> #krate::Call<#ok, #error> #clause #body
    }
}

/// The trait for the client, so that code generic over the service takes it. A call through the trait hands on the context. A skipped
/// method with a default body is left to that body.
/// ```text
/// impl UserService for UserServiceClient {
///     async fn generate_report(&self, cx: &Context, request: ReportRequest) -> Result<Report, Status> {
///         UserServiceClient::generate_report(self, request).with_context(cx).await
///     }
/// }
/// ```
pub(super) fn implementation(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let (ident, client, service_cfgs) = (&service.ident, expander.client(), &service.cfgs);
    let deprecated = expander.allow_deprecated(service.methods());
    let written = |method: &&Method| !(method.endpoint.skipped && method.default.is_some());
    let methods = service.methods().filter(written).map(|method| {
        if method.endpoint.skipped {
            skipped(expander, method)
        } else {
            forwarded(expander, method)
        }
    });
    let methods: TokenStream = methods.collect();
    quote! {
        #(#service_cfgs)*
        #deprecated
        impl #ident for #client {
            #methods
        }
    }
}

fn forwarded(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let client = expander.client();
    let (cfgs, name, output) = (&method.attrs.cfgs, &method.sig.ident, &method.output.ty);
    let context_type = method
        .sig
        .inputs
        .iter()
        .find_map(|input| match (&method.context, input) {
            (Some(_), FnArg::Typed(typed)) => Some(&typed.ty),
            _ => None,
        });
    let context = method.context.as_ref();
    let context_parameter = context_type.map(|ty| quote!(#context: #ty,));
    let with_context = context.map(|cx| quote!(.with_context(#cx)));
    let parameter = &method.request;
    let argument = parameter.as_ref().map(|request| &request.ident);
    let call = quote!(#client::#name(self, #argument) #with_context.await);
    let call = if method.output.result.is_some() {
        call
    } else {
        let p = &expander.private;
        quote!(#p::Outcome::from_result(#call))
    };
    quote! {
        #(#cfgs)*
        async fn #name(&self, #context_parameter #parameter) -> #output { #call }
    }
}

/// A skipped method without a default body is there, but nobody answers.
fn skipped(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let p = &expander.private;
    let (cfgs, sig, output) = (&method.attrs.cfgs, &method.sig, &method.output.ty);
    let (service, name) = (expander.service.name(), method.name());
    quote! {
        #(#cfgs)*
        #[allow(unused_variables)]
        #sig { <#output as #p::Outcome>::unimplemented(#service, #name) }
    }
}
