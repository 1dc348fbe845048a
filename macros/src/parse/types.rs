//! What the macro can tell of a type from its tokens.
//!
//! Assumes nothing of names: `Context`, `Streaming` and `Result` are known by their last segment. An alias is not recognised and goes
//! to rustc, whose checks then speak.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    GenericArgument, Pat, PatType, Path, PathArguments, PathSegment, Type, TypePath, TypeReference,
};

/// The path of a type, through parentheses and invisible groups.
fn path(ty: &Type) -> Option<&Path> {
    match ty {
        Type::Path(TypePath {
            qself: None, path, ..
        }) => Some(path),
        Type::Group(group) => path(&group.elem),
        Type::Paren(paren) => path(&paren.elem),
        _ => None,
    }
}

/// Whether the last segment of a type's path is `name`.
pub(super) fn is_named(ty: &Type, name: &str) -> bool {
    path(ty)
        .and_then(|path| path.segments.last())
        .is_some_and(|last| last.ident == name)
}

/// The reference a type is, if it is one.
pub(super) fn reference(ty: &Type) -> Option<&TypeReference> {
    match ty {
        Type::Reference(reference) => Some(reference),
        Type::Group(group) => reference(&group.elem),
        Type::Paren(paren) => reference(&paren.elem),
        _ => None,
    }
}

/// What stands between the angle brackets of a type.
pub(super) fn arguments(ty: &Type) -> Vec<&GenericArgument> {
    match path(ty).and_then(|path| path.segments.last()) {
        Some(PathSegment {
            arguments: PathArguments::AngleBracketed(arguments),
            ..
        }) => arguments.args.iter().collect(),
        _ => Vec::new(),
    }
}

/// `T` and `E` of a `Result<T, E>` that is written with both.
pub(super) fn result(ty: &Type) -> Option<(Type, Type)> {
    match arguments(ty).as_slice() {
        [GenericArgument::Type(ok), GenericArgument::Type(error)] if is_named(ty, "Result") => {
            Some((ok.clone(), error.clone()))
        }
        _ => None,
    }
}

/// The first type argument of a `Result<T, E>` or of an alias such as `ApiResult<T>`.
pub(super) fn result_ok(ty: &Type) -> Option<&Type> {
    let last = path(ty)?.segments.last()?;
    match arguments(ty).first() {
        Some(GenericArgument::Type(ok)) if last.ident.to_string().ends_with("Result") => Some(ok),
        _ => None,
    }
}

/// Whether a type is no `Result`, nor an alias of one as far as names tell: rustc would say so in five places at once.
pub(super) fn is_no_result(ty: &Type) -> bool {
    let Some(last) = path(ty).and_then(|path| path.segments.last()) else {
        // Only a type that some other macro makes could still be one.
        return !matches!(ty, Type::Macro(_) | Type::Path(_) | Type::Verbatim(_));
    };
    let name = last.ident.to_string();
    let is_plain = matches!(last.arguments, PathArguments::None);
    (is_plain && !name.ends_with("Result"))
        || matches!(name.as_str(), "Option" | "Vec" | "Box" | "Streaming")
}

/// The argument of a `Result<T, E>`, or else the whole type, that has a fault.
pub(super) fn part_that(ty: &Type, has_fault: impl Fn(&Type) -> bool) -> Option<Type> {
    if !has_fault(ty) {
        return None;
    }
    let parts = result(ty).map(|(ok, error)| [ok, error]);
    let part = parts.and_then(|parts| parts.into_iter().find(|part| has_fault(part)));
    Some(part.unwrap_or_else(|| ty.clone()))
}

/// Whether a type borrows from something: a reference or a lifetime other than `'static`.
pub(super) fn borrows(ty: &Type) -> bool {
    fn scan(tokens: TokenStream) -> bool {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let borrows = match (token, tokens.peek()) {
                (TokenTree::Group(group), _) => scan(group.stream()),
                (TokenTree::Punct(punct), next) if punct.as_char() == '&' => {
                    !matches!(next, Some(TokenTree::Punct(next)) if next.as_char() == '\'')
                }
                (TokenTree::Punct(punct), next) if punct.as_char() == '\'' => {
                    !matches!(next, Some(TokenTree::Ident(name)) if name == "static")
                }
                _ => false,
            };
            if borrows {
                return true;
            }
        }
        false
    }
    scan(ty.to_token_stream())
}

/// Whether a type mentions a word, such as `impl` or `Self`.
pub(super) fn mentions(ty: &Type, word: &str) -> bool {
    fn scan(tokens: TokenStream, word: &str) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == word,
            TokenTree::Group(group) => scan(group.stream(), word),
            _ => false,
        })
    }
    scan(ty.to_token_stream(), word)
}

/// What a parameter is, by its type.
pub(super) enum Shape {
    Context,
    /// `Context` or `&mut Context`, next to another parameter or under a name that contexts have.
    OwnedContext,
    /// A reference to something else.
    Reference,
    Message,
}

impl Shape {
    pub(super) fn of(parameter: &PatType, many: bool) -> Self {
        let ty = &parameter.ty;
        match reference(ty) {
            Some(reference) if is_named(&reference.elem, "Context") => match reference.mutability {
                None => Self::Context,
                Some(_) => Self::OwnedContext,
            },
            Some(_) => Self::Reference,
            // Alone it may well be a message of that name.
            None if is_named(ty, "Context")
                && (many || is_named_like_a_context(&parameter.pat)) =>
            {
                Self::OwnedContext
            }
            _ => Self::Message,
        }
    }
}

fn is_named_like_a_context(pat: &Pat) -> bool {
    let Pat::Ident(pat) = pat else { return false };
    let name = pat.ident.to_string();
    matches!(name.trim_start_matches('_'), "cx" | "ctx" | "context")
}

/// The tokens of a type as they are usually written: `&Context`, not `& Context`.
pub(super) fn squeeze(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.replace("& ", "&")
        .replace(" <", "<")
        .replace("< ", "<")
        .replace(" >", ">")
        .replace(" ::", "::")
        .replace(":: ", "::")
        .replace(" ,", ",")
}
