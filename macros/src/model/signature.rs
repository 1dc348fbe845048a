//! What a method takes and returns.
//!
//! Holds the types as written, also wrong ones, which were reported.

use std::borrow::Cow;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, Token, Type};

use crate::krate::{Krate, call_site_at};

/// The message or the stream a method takes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// `T` of a `Streaming<T>`.
    pub(crate) item: Option<Type>,
}

/// What a method returns.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) ty: Type,
    /// `T` and `E` of a `Result<T, E>` that is written out.
    pub(crate) result: Option<(Type, Type)>,
    /// `T` of a `Streaming<T>` in the `Result`.
    pub(crate) item: Option<Type>,
    /// Whether the type was reported because it is no `Result`; it is then taken for the response.
    pub(crate) is_no_result: bool,
    /// Whether the type can be written outside the trait; not so for an `impl Trait`.
    pub(crate) nameable: bool,
}

/// The kinds of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStreaming,
    ClientStreaming,
    Bidirectional,
}

impl Request {
    /// The type of the messages that are sent.
    pub(crate) fn message(&self) -> &Type {
        self.item.as_ref().unwrap_or(&self.ty)
    }
}

/// As a parameter: `request: SaveProfileRequest`.
impl ToTokens for Request {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.ident.to_tokens(tokens);
        <Token![:]>::default().to_tokens(tokens);
        self.ty.to_tokens(tokens);
    }
}

impl Output {
    /// Whether a success says nothing else.
    pub(crate) fn is_nothing(&self) -> bool {
        self.result.as_ref().is_some_and(|(ok, _)| is_unit(ok))
    }

    /// The type of the response.
    pub(crate) fn ok(&self, krate: &Krate) -> Cow<'_, Type> {
        self.part(krate, "Ok", |(ok, _)| ok)
    }

    /// The type of the messages that are sent back.
    pub(crate) fn message(&self, krate: &Krate) -> Cow<'_, Type> {
        let item = self.item.as_ref();
        item.map_or_else(|| self.ok(krate), Cow::Borrowed)
    }

    /// The type of the error.
    pub(crate) fn error(&self, krate: &Krate) -> Cow<'_, Type> {
        self.part(krate, "Error", |(_, error)| error)
    }

    fn part(
        &self,
        krate: &Krate,
        name: &str,
        written: impl Fn(&(Type, Type)) -> &Type,
    ) -> Cow<'_, Type> {
        if let Some(result) = &self.result {
            return Cow::Borrowed(written(result));
        }
        let ty = &self.ty;
        let span = call_site_at(ty.span());
        let p = krate.private().at(span);
        let name = Ident::new(name, span);
        Cow::Owned(Type::Verbatim(
            quote_spanned!(span=> <#ty as #p::Outcome>::#name),
        ))
    }
}

/// Whether a type is `()`.
pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}
