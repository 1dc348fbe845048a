//! One method of the trait: its attributes and its signature.
//!
//! Assumes a method as syn read it. Guarantees a signature that rustc accepts in a trait (plain names for the parameters, no `const`,
//! no `...`) and, where no error was reported, an `async` method that takes `&self`, at most one context and one request, and returns
//! something. A skipped method stays off NATS and may take and return what it likes.

use proc_macro2::Span;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, FnArg, Ident, Pat, PatType, Receiver, ReceiverKind, ReturnType, Safety, Signature,
    Token, TraitItemFn, Type, parse_quote,
};

use super::attrs;
use super::types::{self, Shape, squeeze};
use crate::diag::Diagnostics;
use crate::model::{Method, Output, Request};

/// Reads the method that is declared as number `index`.
pub(super) fn parse(index: usize, function: TraitItemFn, diags: &mut Diagnostics) -> Method {
    let name = function.sig.ident.to_string();
    let (attrs, helpers) = attrs::sort(function.attrs, &name, diags);
    let skipped = helpers.endpoint.skip.get().is_some_and(|skip| skip.0);
    let mut sig = function.sig;
    let mut reader = Reader {
        name,
        skipped,
        diags,
    };

    reader.qualifiers(&mut sig);
    reader.generics(&sig);
    reader.receiver(&sig);
    let (context, request, is_streaming) = reader.parameters(&mut sig.inputs);
    let output = reader.output(&sig, is_streaming);
    if let Some(body) = &function.default {
        let message = format!("method `{}` cannot have a default body", reader.name);
        reader.diags.help(
            body,
            message,
            "end the declaration with `;` and implement it on the service type",
        );
    }

    Method {
        index,
        attrs,
        sig,
        default: function.default,
        semicolon: function.semi_token,
        endpoint: helpers.endpoint,
        kv: helpers.kv,
        object: helpers.object,
        context,
        request,
        output,
        suppressed: Vec::new(),
        repeated: false,
    }
}

struct Reader<'a> {
    name: String,
    skipped: bool,
    diags: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// `async fn` and nothing else in front of the name.
    fn qualifiers(&mut self, sig: &mut Signature) {
        let name = &self.name;
        if let Some(constness) = sig.constness.take() {
            self.diags
                .error(constness, format!("method `{name}` cannot be `const`"));
        }
        if let Safety::Unsafe(safety) = &sig.safety {
            self.diags
                .error(safety, format!("method `{name}` cannot be `unsafe`"));
        }
        if let Some(abi) = &sig.abi {
            self.diags
                .error(abi, format!("method `{name}` cannot be `extern`"));
        }
        if let Some(variadic) = sig.variadic.take() {
            self.diags.error(
                variadic,
                format!("method `{name}` cannot take a variable number of arguments"),
            );
        }
        if sig.asyncness.is_none() {
            self.diags.help(
                sig.fn_token,
                format!("method `{name}` must be `async`"),
                format!("write `async fn {name}`"),
            );
        }
    }

    fn generics(&mut self, sig: &Signature) {
        if self.skipped {
            return;
        }
        let message = format!("method `{}` cannot be generic", self.name);
        if !sig.generics.params.is_empty() {
            self.diags.error(&sig.generics, message);
        } else if let Some(clause) = &sig.generics.where_clause {
            let message = format!("method `{}` cannot have a `where` clause", self.name);
            self.diags.error(clause, message);
        }
    }

    fn receiver(&mut self, sig: &Signature) {
        let label = match sig.inputs.first() {
            Some(FnArg::Receiver(Receiver {
                kind: ReceiverKind::Reference(_, _, None),
                ..
            })) => return,
            Some(first) => first.to_token_stream(),
            None => sig.ident.to_token_stream(),
        };
        self.diags.help(
            label,
            format!("method `{}` must take `&self`", self.name),
            "one value serves all requests at once; keep mutable state behind a lock",
        );
    }

    /// Gives the names of the context and the request, and whether the method takes a stream.
    fn parameters(
        &mut self,
        inputs: &mut Punctuated<FnArg, Token![,]>,
    ) -> (Option<Ident>, Option<Request>, bool) {
        let mut typed: Vec<&mut PatType> = inputs
            .iter_mut()
            .filter_map(|input| match input {
                FnArg::Typed(typed) => Some(typed),
                FnArg::Receiver(_) => None,
            })
            .collect();
        for parameter in &typed {
            self.attributes(&parameter.attrs);
        }
        if self.skipped {
            for (position, parameter) in typed.iter_mut().enumerate() {
                if !matches!(&*parameter.pat, Pat::Wild(_)) {
                    self.plain_name(parameter, &format!("argument_{position}"), "a parameter");
                }
            }
            return (None, None, false);
        }

        let many = typed.len() > 1;
        let mut parameters = typed.into_iter().enumerate();
        let mut context = None;
        let mut request: Option<Request> = None;
        let mut is_streaming = false;
        let mut surplus = false;
        for (position, parameter) in parameters.by_ref() {
            let shape = Shape::of(parameter, many);
            match shape {
                Shape::Context if context.is_none() => {
                    if position > 0 {
                        self.context_order(parameter, request.as_ref());
                    }
                    context = Some(self.context_name(parameter));
                }
                Shape::Context => {
                    self.diags.error(
                        &parameter.ty,
                        format!("method `{}` takes its context twice", self.name),
                    );
                }
                Shape::OwnedContext => {
                    let name = self.plain_name(parameter, "cx", "a context parameter");
                    self.diags.help(
                        &parameter.ty,
                        "a context is passed by reference",
                        format!("write `{name}: &Context`"),
                    );
                    context = context.or(Some(name));
                }
                Shape::Reference if many && position == 0 => {
                    let shown = squeeze(&parameter.ty);
                    self.diags.help(
                        &parameter.ty,
                        format!(
                            "`{shown}` is neither the context of `{}` nor a request",
                            self.name
                        ),
                        "the context is written `&Context`, and a request is passed by value",
                    );
                    context = Some(self.context_name(parameter));
                }
                Shape::Reference | Shape::Message if request.is_none() => {
                    is_streaming = self.message(&parameter.ty);
                    let ident = self.plain_name(parameter, "request", "a request parameter");
                    request = Some(Request {
                        ident,
                        ty: (*parameter.ty).clone(),
                    });
                }
                Shape::Reference | Shape::Message => {
                    if !surplus {
                        self.diags.help(
                            &parameter.ty,
                            format!("method `{}` takes two requests", self.name),
                            "put both values in one message type",
                        );
                    }
                    surplus = true;
                    self.plain_name(
                        parameter,
                        &format!("request_{position}"),
                        "a request parameter",
                    );
                }
            }
        }
        (context, request, is_streaming)
    }

    fn attributes(&mut self, attrs: &[Attribute]) {
        for attr in attrs.iter().filter(|attr| attrs::is_cfg(attr)) {
            self.diags.help(
                attr,
                format!("a parameter of `{}` cannot be conditional", self.name),
                "declare the method twice, each under a `#[cfg(..)]`",
            );
        }
    }

    /// The name of a parameter. A pattern gets `fallback`, or rustc would have its say as well (E0642).
    fn plain_name(&mut self, parameter: &mut PatType, fallback: &str, what: &str) -> Ident {
        if let Pat::Ident(pat) = &*parameter.pat
            && pat.by_ref.is_none()
            && pat.mutability.is_none()
            && pat.subpat.is_none()
        {
            return pat.ident.clone();
        }
        self.diags.help(
            &parameter.pat,
            format!("{what} needs a plain name"),
            "destructure it in the implementation",
        );
        let ident = Ident::new(fallback, Span::call_site());
        *parameter.pat = parse_quote!(#ident);
        ident
    }

    /// The name of the context, which may be `_`.
    fn context_name(&mut self, parameter: &mut PatType) -> Ident {
        if matches!(&*parameter.pat, Pat::Wild(_)) {
            return Ident::new("cx", Span::call_site());
        }
        self.plain_name(parameter, "cx", "a context parameter")
    }

    fn context_order(&mut self, parameter: &PatType, request: Option<&Request>) {
        let (pat, ty) = (parameter.pat.to_token_stream(), squeeze(&parameter.ty));
        let request = request
            .map(|request| format!(", {}: {}", request.ident, squeeze(&request.ty)))
            .unwrap_or_default();
        self.diags.help(
            parameter,
            "`Context` comes before the request",
            format!(
                "write `async fn {}(&self, {pat}: {ty}{request})`",
                self.name
            ),
        );
    }

    /// Checks the type of a request; says whether it is a stream.
    fn message(&mut self, ty: &Type) -> bool {
        let name = &self.name;
        if types::is_named(ty, "Streaming") {
            self.streaming(ty);
            return true;
        }
        if let Some(reference) = types::reference(ty) {
            let prefix = if reference.mutability.is_some() {
                "&mut"
            } else {
                "&"
            };
            self.diags.help(
                ty,
                "a request is decoded for each call, so it is passed by value",
                format!("remove the `{prefix}`"),
            );
        } else if types::mentions(ty, "impl") {
            self.diags.help(
                ty,
                format!("method `{name}` cannot be generic"),
                "name the type of the request",
            );
        } else if types::mentions(ty, "Self") {
            self.diags.error(
                ty,
                "a request is the same type for every implementation, so it cannot be a `Self`",
            );
        } else if types::borrows(ty) {
            self.diags.error(
                ty,
                "a request is decoded for each call, so it cannot borrow",
            );
        }
        false
    }

    fn streaming(&mut self, ty: &Type) {
        self.diags.error(
            ty,
            "streaming methods are not available in this version yet",
        );
    }

    fn output(&mut self, sig: &Signature, is_streaming: bool) -> Output {
        let name = &self.name;
        let ReturnType::Type(_, ty) = &sig.output else {
            self.diags.help(
                &sig.ident,
                format!("method `{name}` must return a `Result`"),
                "write `-> Result<(), natsmicro::Status>` if there is nothing to return",
            );
            return Output {
                ty: parse_quote!(()),
                result: None,
                is_no_result: true,
                nameable: true,
            };
        };
        let result = types::result(ty);
        let nameable = !types::mentions(ty, "impl");
        let is_no_result = result.is_none() && nameable && types::is_no_result(ty);
        if !nameable {
            self.diags
                .error(ty, format!("method `{name}` must name the type it returns"));
        } else if is_no_result {
            let shown = squeeze(ty);
            self.diags.help(
                ty,
                format!("a service method must return `Result<T, E>`, not `{shown}`"),
                format!("write `-> Result<{shown}, natsmicro::Status>`; the name of an alias ends in `Result`"),
            );
        } else if self.skipped {
        } else if let Some(streaming) =
            types::result_ok(ty).filter(|ok| types::is_named(ok, "Streaming"))
        {
            if !is_streaming {
                self.streaming(streaming);
            }
        } else if let Some(own) = types::part_that(ty, |ty| types::mentions(ty, "Self")) {
            self.diags.error(
                own,
                "a response is the same type for every implementation, so it cannot be a `Self`",
            );
        } else if let Some(borrowed) = types::part_that(ty, types::borrows) {
            self.diags.error(
                borrowed,
                "a response is sent after the method has returned, so it cannot borrow",
            );
        }
        Output {
            ty: (**ty).clone(),
            result,
            is_no_result,
            nameable,
        }
    }
}
