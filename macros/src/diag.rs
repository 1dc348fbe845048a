//! The mistakes found in one expansion.
//!
//! Every phase takes `&mut Diagnostics`, reports what is wrong and goes on with what it could make out, so that three mistakes are
//! three errors. Guarantees: each error covers the whole range of the tokens it was given (`syn::Error::new_spanned` is the only way
//! to that on stable), and the errors come out in the order of the source, whichever phase found them.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::Error;

/// An error that covers `tokens`.
pub(crate) fn error(tokens: impl ToTokens, message: impl Display) -> Error {
    Error::new_spanned(tokens, message)
}

/// An error that covers `tokens` and says on a second line what to do about it.
///
/// Stable Rust has no sub-diagnostics for macros; rustc aligns the second line under the message.
pub(crate) fn error_with_help(
    tokens: impl ToTokens,
    message: impl Display,
    help: impl Display,
) -> Error {
    Error::new_spanned(tokens, format_args!("{message}\nhelp: {help}"))
}

/// Collects the errors of an expansion.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    errors: Vec<Error>,
}

impl Diagnostics {
    pub(crate) fn error(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(error(tokens, message));
    }

    pub(crate) fn help(
        &mut self,
        tokens: impl ToTokens,
        message: impl Display,
        help: impl Display,
    ) {
        self.push(error_with_help(tokens, message, help));
    }

    /// An error that needs two places to be understood; `note` directly follows `error`.
    pub(crate) fn pair(&mut self, mut error: Error, note: Error) {
        error.combine(note);
        self.push(error);
    }

    pub(crate) fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// How many errors there are so far, to tell whether a step added one.
    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// One `compile_error!` per error, in source order. Errors at the same place keep the order in which they were reported.
    pub(crate) fn into_compile_errors(mut self) -> TokenStream {
        self.errors.sort_by_key(|error| position(error.span()));
        self.errors.iter().map(Error::to_compile_error).collect()
    }

    #[cfg(test)]
    pub(crate) fn messages(mut self) -> Vec<String> {
        self.errors.sort_by_key(|error| position(error.span()));
        self.errors
            .iter()
            .flatten()
            .map(|error| error.to_string())
            .collect()
    }
}

/// The line and column at which a span starts.
#[cfg(not(test))]
fn position(span: Span) -> (usize, usize) {
    let span = span.unwrap();
    (span.line(), span.column())
}

/// Outside a compiler only proc-macro2 itself knows where a token stands.
#[cfg(test)]
fn position(span: Span) -> (usize, usize) {
    let start = span.start();
    (start.line, start.column)
}
