//! The path under which generated code finds the runtime.
//!
//! Guarantees that every path into the runtime starts at `crate = ..` or `::natsmicro`, and that it can be given a span of its own:
//! rustc adds "required by a bound introduced by this call" under the whole attribute as soon as one segment of a path keeps the
//! call-site span.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::Path;

/// The runtime crate as generated code names it.
#[derive(Debug, Clone)]
pub(crate) struct Krate {
    path: TokenStream,
}

impl Krate {
    /// `path` is absolute: `::natsmicro`, `crate::reexport`.
    pub(crate) fn new(path: Option<&Path>) -> Self {
        let path = path.map_or_else(
            || quote!(::natsmicro),
            |path| respan(path.to_token_stream(), Span::call_site()),
        );
        Self { path }
    }

    /// The module that only generated code may use.
    pub(crate) fn private(&self) -> TokenStream {
        let path = &self.path;
        quote!(#path::__private)
    }

    /// The path of the crate with every token at `span`.
    pub(crate) fn at(&self, span: Span) -> TokenStream {
        respan(self.path.clone(), span)
    }

    /// [`private`](Self::private) with every token at `span`.
    pub(crate) fn private_at(&self, span: Span) -> TokenStream {
        respan(self.private(), span)
    }

    /// The path as a link in rustdoc, which knows no leading `::`.
    pub(crate) fn doc_path(&self) -> String {
        let path: String = self
            .path
            .clone()
            .into_iter()
            .map(|token| token.to_string())
            .collect();
        path.trim_start_matches("::").to_owned()
    }
}

impl ToTokens for Krate {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.path.to_tokens(tokens);
    }
}

/// Moves the tokens of a path, which has no groups, to `span`; each keeps its own hygiene.
fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token: TokenTree| {
            token.set_span(token.span().located_at(span));
            token
        })
        .collect()
}
