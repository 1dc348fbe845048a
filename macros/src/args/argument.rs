//! Values of settings as arguments of the runtime's builders.
//!
//! Assumes checked values. Guarantees expressions that can stand in a constant.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::LitStr;

use super::composite::{Metadata, QueueGroup};
use super::quantity::{Bytes, Number, Period};
use super::value::{Flag, Persist, Storage, Text, Write};
use crate::krate::Krate;

/// A value that a builder of the runtime takes.
pub(crate) trait Argument {
    /// `p` is the runtime's module for generated code.
    fn argument(&self, p: &Krate) -> TokenStream;
}

impl Argument for Flag {
    fn argument(&self, _: &Krate) -> TokenStream {
        self.0.to_token_stream()
    }
}

impl Argument for LitStr {
    fn argument(&self, _: &Krate) -> TokenStream {
        self.to_token_stream()
    }
}

impl<G> Argument for Text<G> {
    fn argument(&self, p: &Krate) -> TokenStream {
        self.lit.argument(p)
    }
}

/// `::core::time::Duration::from_secs(3600)`
impl Argument for Period {
    fn argument(&self, _: &Krate) -> TokenStream {
        let Self(duration) = self;
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (function, number) = if millis.is_multiple_of(1000) {
            ("from_secs", millis / 1000)
        } else {
            ("from_millis", millis)
        };
        let (function, number) = (format_ident!("{function}"), Literal::u64_unsuffixed(number));
        quote!(::core::time::Duration::#function(#number))
    }
}

impl<const MIN: u64, const MAX: u64> Argument for Number<MIN, MAX> {
    fn argument(&self, _: &Krate) -> TokenStream {
        Literal::u64_unsuffixed(self.0).to_token_stream()
    }
}

impl<const MIN: u64, const MAX: u64> Argument for Bytes<MIN, MAX> {
    fn argument(&self, _: &Krate) -> TokenStream {
        Literal::u64_unsuffixed(self.0).to_token_stream()
    }
}

/// `&[("team", "platform")]`
impl Argument for Metadata {
    fn argument(&self, _: &Krate) -> TokenStream {
        let pairs = self.0.iter().map(|(key, value)| quote!((#key, #value)));
        quote!(&[#(#pairs),*])
    }
}

impl Argument for QueueGroup {
    fn argument(&self, _: &Krate) -> TokenStream {
        match self {
            Self::Named(name) => quote!(::core::option::Option::Some(#name)),
            Self::Off => quote!(::core::option::Option::None),
        }
    }
}

impl Argument for Persist {
    fn argument(&self, p: &Krate) -> TokenStream {
        let variant = format_ident!("{}", self.variant());
        quote!(#p::Persist::#variant)
    }
}

impl Argument for Storage {
    fn argument(&self, p: &Krate) -> TokenStream {
        let variant = format_ident!("{}", self.variant());
        quote!(#p::Storage::#variant)
    }
}

impl Argument for Write {
    fn argument(&self, p: &Krate) -> TokenStream {
        let variant = format_ident!("{}", self.variant());
        quote!(#p::Write::#variant)
    }
}
