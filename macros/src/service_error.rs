//! `#[derive(ServiceError)]`.
//!
//! Assumes any derive input. Guarantees an implementation of the runtime's `ServiceError`, also after a mistake, when it is one that
//! does nothing, so that the enum still fits the methods that return it.

mod expand;
mod model;
mod parse;

use proc_macro2::TokenStream;
use quote::quote;

use crate::diag::Diagnostics;
use crate::krate::Krate;

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let (mut expansion, diags) = run(input);
    expansion.extend(diags.into_compile_errors());
    expansion
}

pub(crate) fn run(input: TokenStream) -> (TokenStream, Diagnostics) {
    let mut diags = Diagnostics::default();
    let input = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => {
            diags.push(error);
            return (TokenStream::new(), diags);
        }
    };
    let model = parse::error_enum(&input, &mut diags);
    let expansion = match (&model.rest, diags.has_errors()) {
        (Some(rest), false) => expand::implementation(&model, rest),
        _ => fallback(&model.krate, &input),
    };
    (expansion, diags)
}

fn fallback(krate: &Krate, input: &syn::DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let (parameters, arguments, clause) = input.generics.split_for_impl();
    quote! {
        impl #parameters #krate::ServiceError for #ident #arguments #clause {
            fn into_status(self) -> #krate::Status { ::core::unimplemented!() }
            fn from_status(_status: #krate::Status) -> Self { ::core::unimplemented!() }
        }
    }
}

#[cfg(test)]
#[path = "service_error_tests.rs"]
mod tests;
