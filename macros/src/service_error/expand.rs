//! The implementation of `ServiceError`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Fields, Type};

use super::model::{Coded, ErrorEnum};
use crate::krate::call_site_at;

/// ```text
/// impl #krate::ServiceError for OrderError {
///     fn into_status(self) -> #krate::Status {
///         let message = <Self as #p::ErrorText>::text(&self);
///         match self {
///             Self::Expired { id: field_0 } => #p::ErrorBody::new()
///                 .field("id", <String as #p::ErrorField>::write(&field_0))
///                 .into_status("ORDER_EXPIRED", message),
///             Self::Other(status) => <Status as #p::AnyStatus>::into_status(status),
///         }
///     }
///     fn from_status(status: #krate::Status) -> Self { .. }
/// }
/// ```
pub(super) fn implementation(model: &ErrorEnum, (rest, rest_type): &(Ident, Type)) -> TokenStream {
    let ErrorEnum {
        krate,
        ident,
        coded,
        ..
    } = model;
    let encoded = coded.iter().map(|variant| encoded(variant, model));

    // At the enum's name, where rustc then says that it lacks `Display`.
    let name_p = krate.private().at(call_site_at(ident.span()));
    let message =
        quote_spanned!(call_site_at(ident.span())=> <Self as #name_p::ErrorText>::text(&self));
    let status = format_ident!("status");
    // Twice the same words at the same place, which rustc prints once.
    let rest_span = call_site_at(rest_type.span());
    let rest_p = krate.private().at(rest_span);
    let into_status = quote_spanned!(rest_span=> <#rest_type as #rest_p::AnyStatus>::into_status);
    let from_status = quote_spanned!(rest_span=> <#rest_type as #rest_p::AnyStatus>::from_status);
    let decoded = coded.iter().map(|variant| decoded(variant, model, &status));
    quote! {
        #[allow(deprecated)]
        impl #krate::ServiceError for #ident {
            fn into_status(self) -> #krate::Status {
                let message = #message;
                match self {
                    #(#encoded)*
                    Self::#rest(#status) => #into_status(#status),
                }
            }

            fn from_status(#status: #krate::Status) -> Self {
                let decoded: ::core::option::Option<Self> = match #krate::Code::as_str(#krate::Status::code(&#status)) {
                    #(#decoded)*
                    _ => ::core::option::Option::None,
                };
                match decoded {
                    ::core::option::Option::Some(error) => error,
                    ::core::option::Option::None => Self::#rest(#from_status(#status)),
                }
            }
        }
    }
}

/// The names of a variant's fields on the wire, as members and bound to.
fn fields(fields: &Fields) -> Vec<(String, TokenStream, Ident, &Type)> {
    let named = fields.iter().enumerate().map(|(i, field)| {
        let index = syn::Index::from(i);
        let (name, member) = match &field.ident {
            Some(ident) => (ident.unraw().to_string(), quote!(#ident)),
            None => (i.to_string(), quote!(#index)),
        };
        (
            name,
            member,
            format_ident!("field_{i}", span = Span::call_site()),
            &field.ty,
        )
    });
    named.collect()
}

fn encoded(variant: &Coded, model: &ErrorEnum) -> TokenStream {
    let Coded {
        cfgs, ident, code, ..
    } = variant;
    let fields = fields(&variant.fields);
    let bindings = fields
        .iter()
        .map(|(_, member, binding, _)| quote!(#member: #binding));
    // At the field's type, where rustc then says that it cannot be serialized.
    let p = model.krate.private();
    let calls = fields.iter().map(|(name, _, binding, ty)| {
        let span = call_site_at(ty.span());
        let p = model.krate.private().at(span);
        let write = quote_spanned!(span=> <#ty as #p::ErrorField>::write);
        quote!(.field(#name, #write(&#binding)))
    });
    quote! {
        #(#cfgs)*
        Self::#ident { #(#bindings),* } => #p::ErrorBody::new() #(#calls)* .into_status(#code, message),
    }
}

fn decoded(variant: &Coded, model: &ErrorEnum, status: &Ident) -> TokenStream {
    let Coded {
        cfgs, ident, code, ..
    } = variant;
    let fields = fields(&variant.fields);
    if fields.is_empty() {
        return quote!(#(#cfgs)* #code => ::core::option::Option::Some(Self::#ident {}),);
    }
    let p = model.krate.private();
    let values = fields.iter().map(|(name, member, _, ty)| {
        let span = call_site_at(ty.span());
        let p = model.krate.private().at(span);
        let read = quote_spanned!(span=> <#ty as #p::ErrorField>::read);
        quote!(#member: #read(&fields, #name)?)
    });
    quote! {
        #(#cfgs)*
        #code => #p::ErrorFields::parse(&#status)
            .and_then(|fields| ::core::option::Option::Some(Self::#ident { #(#values),* })),
    }
}
