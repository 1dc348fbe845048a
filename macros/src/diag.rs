//! The mistakes found in one expansion.
//!
//! Every phase takes `&mut Diagnostics`, reports what is wrong and goes on with what it could make out, so that three mistakes are
//! three errors. Guarantees: each error covers the whole range of the tokens it was given (`syn::Error::new_spanned` is the only way
//! to that on stable), and the errors come out in the order of the source, whichever phase found them.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Error};

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
    /// Errors that are some only if all of their cfgs hold, which a macro cannot know.
    conditional: Vec<(Vec<Attribute>, Error)>,
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

    /// An error about two items that are both there only if these cfgs hold.
    pub(crate) fn push_under(&mut self, cfgs: Vec<Attribute>, error: Error) {
        if cfgs.is_empty() {
            self.push(error);
        } else {
            self.conditional.push((cfgs, error));
        }
    }

    /// An error about two items that can be far apart; `note` is at the other one and directly follows `error`.
    pub(crate) fn pair_under(&mut self, cfgs: Vec<Attribute>, mut error: Error, note: Error) {
        error.combine(note);
        self.push_under(cfgs, error);
    }

    pub(crate) fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Whether there is an error whatever the cfgs.
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// How many errors there are so far, to tell whether a step added one.
    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// One `compile_error!` per error, in source order. Errors at the same place keep the order in which they were reported.
    pub(crate) fn into_compile_errors(self) -> TokenStream {
        let error = |(cfgs, error): (Vec<Attribute>, Error)| {
            let errors = error.into_iter().map(|error| error.to_compile_error());
            errors
                .map(|error| quote!(#(#cfgs)* #error))
                .collect::<TokenStream>()
        };
        self.sorted().into_iter().map(error).collect()
    }

    #[cfg(test)]
    pub(crate) fn messages(self) -> Vec<String> {
        let errors = self.sorted().into_iter().flat_map(|(_, error)| error);
        errors.map(|error| error.to_string()).collect()
    }

    fn sorted(self) -> Vec<(Vec<Attribute>, Error)> {
        let unconditional = self.errors.into_iter().map(|error| (Vec::new(), error));
        let mut errors: Vec<_> = unconditional.chain(self.conditional).collect();
        errors.sort_by_key(|(_, error)| position(error.span()));
        errors
    }
}

/// The line and column at which a span starts.
#[cfg(not(test))]
pub(crate) fn position(span: Span) -> (usize, usize) {
    let span = span.unwrap();
    (span.line(), span.column())
}

/// Outside a compiler only proc-macro2 itself knows where a token stands.
#[cfg(test)]
pub(crate) fn position(span: Span) -> (usize, usize) {
    let start = span.start();
    (start.line, start.column)
}
