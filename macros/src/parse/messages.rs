//! What a method takes and returns: messages, streams of them, and a `Result` around the answer.
//!
//! Assumes the types as written. Guarantees, where no error was reported, types that are the same for every implementation and borrow
//! nothing. Whether they are messages is for rustc.

use syn::{ReturnType, Signature, Type, parse_quote};

use super::stream::{self, Stream};
use super::types::{self, squeeze};
use crate::diag::Diagnostics;
use crate::model::signature::Output;

/// Checks the type of a request; gives its messages if it is a stream.
pub(super) fn request(ty: &Type, method: &str, diags: &mut Diagnostics) -> Option<Type> {
    let stream = Stream::of(ty);
    if let Stream::Wrong(item, fault) = &stream {
        diags.push(stream::error(ty, item, fault));
    } else if let Some(reference) = types::reference(ty) {
        let prefix = if reference.mutability.is_some() {
            "&mut"
        } else {
            "&"
        };
        diags.help(
            ty,
            "a request is decoded for each call, so it is passed by value",
            format!("remove the `{prefix}`"),
        );
    } else if types::mentions(ty, "impl") {
        diags.help(
            ty,
            format!("method `{method}` cannot be generic"),
            "name the type of the request",
        );
    } else if types::mentions(ty, "Self") {
        diags.error(
            ty,
            "a request is the same type for every implementation, so it cannot be a `Self`",
        );
    } else if types::borrows(ty) {
        diags.error(
            ty,
            "a request is decoded for each call, so it cannot borrow",
        );
    }
    stream.into_item()
}

/// Checks what a method returns.
pub(super) fn output(sig: &Signature, skipped: bool, diags: &mut Diagnostics) -> Output {
    let ReturnType::Type(_, ty) = &sig.output else {
        diags.help(
            &sig.ident,
            format!("method `{}` must return a `Result`", sig.ident),
            "write `-> Result<(), natsmicro::Status>` if there is nothing to return",
        );
        return Output {
            ty: parse_quote!(()),
            result: None,
            item: None,
            is_no_result: true,
            nameable: true,
        };
    };
    let result = types::result(ty);
    let ok = types::result_ok(ty);
    let stream = if skipped {
        Stream::No
    } else {
        Stream::of(ok.unwrap_or(ty))
    };
    let nameable = !types::mentions(ty, "impl");
    let is_bare_stream = ok.is_none() && !matches!(stream, Stream::No);
    let is_no_result = result.is_none() && nameable && (is_bare_stream || types::is_no_result(ty));
    match &stream {
        Stream::Of(item) | Stream::Wrong(item, _) if is_bare_stream => {
            no_result(ty, &stream::shown(item), "", diags);
        }
        Stream::Wrong(item, fault) => {
            diags.push(stream::error(ok.unwrap_or(ty), item, fault));
        }
        _ if !nameable => {
            let message = format!("method `{}` must name the type it returns", sig.ident);
            diags.error(ty, message);
        }
        _ if is_no_result => {
            let alias = "; the name of an alias ends in `Result`";
            no_result(ty, &squeeze(ty), alias, diags);
        }
        _ if !skipped => lasting(ty, diags),
        _ => {}
    }
    Output {
        ty: (**ty).clone(),
        result,
        item: stream.into_item(),
        is_no_result,
        nameable,
    }
}

fn no_result(ty: &Type, ok: &str, addition: &str, diags: &mut Diagnostics) {
    let shown = squeeze(ty);
    diags.help(
        ty,
        format!("a service method must return `Result<T, E>`, not `{shown}`"),
        format!("write `-> Result<{ok}, natsmicro::Status>`{addition}"),
    );
}

/// A response is the same type for everybody, and outlives the method.
fn lasting(ty: &Type, diags: &mut Diagnostics) {
    if let Some(own) = types::part_that(ty, |ty| types::mentions(ty, "Self")) {
        diags.error(
            own,
            "a response is the same type for every implementation, so it cannot be a `Self`",
        );
    } else if let Some(borrowed) = types::part_that(ty, types::borrows) {
        diags.error(
            borrowed,
            "a response is sent after the method has returned, so it cannot borrow",
        );
    }
}
