//! The path under which generated code finds the runtime.
//!
//! Guarantees that every path into the runtime starts at `crate = ..` or `::natsmicro`, and that it can be given a span of its own:
//! rustc adds "required by a bound introduced by this call" under the whole attribute as soon as one segment of a path keeps the
//! call-site span.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote};
use syn::Path;

/// A path into the runtime as generated code names it.
///
/// The tokens are kept one by one, since some thirty paths per method are put into other tokens: with a `TokenStream` each would be
/// four calls of the compiler.
#[derive(Debug, Clone)]
pub(crate) struct Krate {
    path: Vec<TokenTree>,
}

impl Krate {
    /// `path` is absolute: `::natsmicro`, `crate::reexport`.
    pub(crate) fn new(path: Option<&Path>) -> Self {
        let path = path.map_or_else(|| quote!(::natsmicro), ToTokens::to_token_stream);
        Self {
            path: path.into_iter().collect(),
        }
        .at(Span::call_site())
    }

    /// The module that only generated code may use.
    pub(crate) fn private(&self) -> Self {
        let mut path = self.path.clone();
        path.extend(quote!(::__private));
        Self { path }
    }

    /// The path with every token at `span`; each keeps its own hygiene.
    pub(crate) fn at(&self, span: Span) -> Self {
        let mut path = self.path.clone();
        for token in &mut path {
            token.set_span(token.span().located_at(span));
        }
        Self { path }
    }

    /// The path as a link in rustdoc, which knows no leading `::`.
    pub(crate) fn doc_path(&self) -> String {
        let path: String = self.path.iter().map(ToString::to_string).collect();
        path.trim_start_matches("::").to_owned()
    }
}

impl ToTokens for Krate {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.path);
    }
}

/// The place of `span` with the hygiene of the call site: rustc points there, but takes the tokens for generated ones.
pub(crate) fn call_site_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
