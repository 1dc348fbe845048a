//! What a type has to do with streams.
//!
//! Assumes a type of the user's. Guarantees that a `Streaming<T>` is told from what was meant to be one. A `Streaming` without a `T`
//! is a message of that name, or else rustc says what it lacks.

use syn::punctuated::Punctuated;
use syn::{GenericArgument, PathArguments, Token, Type, TypeParamBound};

use crate::diag::error_with_help;

use super::types::{arguments, is_named, reference, squeeze};

/// A type, seen as a stream.
pub(super) enum Stream {
    /// It has nothing to do with streams.
    No,
    /// `Streaming<T>`, of this message.
    Of(Type),
    /// A stream of this message that cannot be taken or returned.
    Wrong(Type, &'static str),
}

impl Stream {
    pub(super) fn of(ty: &Type) -> Self {
        let Some(item) = item(ty) else {
            return Self::No;
        };
        let fault = match written(ty) {
            Some(argument) if is_result(argument) => "a stream carries messages, not results",
            Some(argument) if self::item(argument).is_some() => "a stream cannot carry streams",
            Some(argument) => return Self::Of(argument.clone()),
            None if is_stream_of_futures(ty) => "only a `Streaming` can travel over NATS",
            None if reference(ty).is_some() => "a stream has one reader, so it is passed by value",
            None => "a stream cannot be a part of another type",
        };
        Self::Wrong(item, fault)
    }

    /// The message that the stream carries, or should.
    pub(super) fn into_item(self) -> Option<Type> {
        match self {
            Self::No => None,
            Self::Of(item) | Self::Wrong(item, _) => Some(item),
        }
    }
}

/// How a stream of these messages is written.
pub(super) fn shown(item: &Type) -> String {
    format!("Streaming<{}>", squeeze(item))
}

/// The error for a stream in the wrong form.
pub(super) fn error(ty: &Type, item: &Type, fault: &str) -> syn::Error {
    let shown = shown(item);
    let help = if is_stream_of_futures(ty) {
        format!("write `{shown}`; `Streaming::new` makes one of any stream")
    } else {
        format!("write `{shown}`")
    };
    error_with_help(ty, fault, help)
}

/// `T` of a `Streaming<T>`.
fn written(ty: &Type) -> Option<&Type> {
    match arguments(ty).as_slice() {
        [GenericArgument::Type(argument)] if is_named(ty, "Streaming") => Some(argument),
        _ => None,
    }
}

/// The message of the first stream that a type mentions.
fn item(ty: &Type) -> Option<Type> {
    if let Some(bounds) = bounds(ty) {
        return bounds.iter().find_map(item_of_bound).map(message);
    }
    if let Some(argument) = written(ty) {
        return Some(message(argument));
    }
    if is_boxed_stream(ty) {
        return types_in(ty).last().map(message);
    }
    match ty {
        Type::Reference(reference) => item(&reference.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(item),
        Type::Array(array) => item(&array.elem),
        Type::Slice(slice) => item(&slice.elem),
        _ => types_in(ty).find_map(item),
    }
}

/// What a stream of such items carries: `T` where the user wrote a stream of streams or of results.
fn message(argument: &Type) -> Type {
    if let Some(item) = item(argument) {
        return item;
    }
    match types_in(argument).next() {
        Some(ok) if is_result(argument) => message(ok),
        _ => argument.clone(),
    }
}

/// `Result<T, Status>` or `natsmicro::Result<T>`: no message, whatever the codec.
fn is_result(ty: &Type) -> bool {
    let types: Vec<&Type> = types_in(ty).collect();
    is_named(ty, "Result")
        && match types.as_slice() {
            [_] => true,
            [_, error] => is_named(error, "Status"),
            _ => false,
        }
}

/// The types among the arguments of a type.
fn types_in(ty: &Type) -> impl Iterator<Item = &Type> {
    arguments(ty)
        .into_iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
}

/// `impl Stream<..>`, `Pin<Box<dyn Stream<..>>>` or `BoxStream<..>`.
fn is_stream_of_futures(ty: &Type) -> bool {
    let is_boxed = is_named(ty, "Pin") || is_named(ty, "Box");
    is_boxed_stream(ty)
        || bounds(ty)
            .is_some_and(|bounds| bounds.iter().any(|bound| item_of_bound(bound).is_some()))
        || (is_boxed && types_in(ty).any(is_stream_of_futures))
}

fn is_boxed_stream(ty: &Type) -> bool {
    is_named(ty, "BoxStream") || is_named(ty, "LocalBoxStream")
}

fn bounds(ty: &Type) -> Option<&Punctuated<TypeParamBound, Token![+]>> {
    match ty {
        Type::ImplTrait(ty) => Some(&ty.bounds),
        Type::TraitObject(ty) => Some(&ty.bounds),
        Type::Group(ty) => bounds(&ty.elem),
        Type::Paren(ty) => bounds(&ty.elem),
        _ => None,
    }
}

/// `T` of a bound `Stream<Item = T>`.
fn item_of_bound(bound: &TypeParamBound) -> Option<&Type> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    let last = bound.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if last.ident == "Stream" && assoc.ident == "Item" => {
            Some(&assoc.ty)
        }
        _ => None,
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
