//! One method of the trait: its attributes and its signature.
//!
//! Assumes a method as syn read it. Guarantees a signature that rustc accepts in a trait (plain names for the parameters, no `const`,
//! no `...`; patterns only where there is a body) and, where no error was reported, an `async` method that takes `&self`, at most one
//! context and one request, and returns something. A skipped method stays off NATS and may take and return what it likes.

use proc_macro2::Span;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{
    AttrStyle, Attribute, FnArg, Ident, Pat, PatType, Receiver, ReceiverKind, Safety, Signature,
    Token, TraitItemFn, parse_quote,
};

use super::attrs::{Sorted, settings, sort};
use super::stream::Stream;
use super::types::{Shape, squeeze};
use super::{endpoint, messages, rewritten, stores};
use crate::args::settings::EndpointArgs;
use crate::attribute::{AttrName, StoreKind, is_cfg};
use crate::diag::Diagnostics;
use crate::model::method::{Method, Rewritten, RewrittenBy};
use crate::model::signature::Request;

/// Reads the method that is declared as number `index`.
pub(super) fn parse(index: usize, function: TraitItemFn, diags: &mut Diagnostics) -> Method {
    let mut sig = function.sig;
    let name = sig.ident.to_string();
    let Sorted { attrs, ours } = sort(outer(function.attrs), &name, diags);
    let mut endpoint_args = EndpointArgs::default();
    let (mut stream, mut stores, mut deletions) = (None, Vec::new(), Vec::new());
    for (name, attr) in ours {
        match name {
            AttrName::Stream => stream = Some(endpoint::stream(attr, diags)),
            AttrName::Store(kind) => stores.push(stores::store(kind, attr, diags)),
            AttrName::KvDelete => deletions.push(stores::kv_delete(attr, diags)),
            AttrName::Endpoint | AttrName::Service | AttrName::ServiceError => {
                endpoint_args = settings(name, &attr, diags).args;
            }
        }
    }
    stores.sort_by_key(|store| store.kind == StoreKind::Object);
    let endpoint = endpoint::endpoint(&sig.ident, endpoint_args, diags);
    let mut reader = Reader {
        name,
        skipped: endpoint.skipped,
        has_body: function.default.is_some(),
        diags,
    };

    let rewritten = reader.future(&mut sig);
    reader.qualifiers(&mut sig);
    reader.generics(&sig);
    reader.receiver(&sig);
    let (context, request) = reader.parameters(&mut sig.inputs);
    let output = messages::output(&sig, endpoint.skipped, reader.diags);

    Method {
        index,
        attrs,
        sig,
        rewritten,
        default: function.default,
        semicolon: function.semi_token,
        endpoint,
        stream,
        stores,
        deletions,
        context,
        request,
        output,
        suppressed: Vec::new(),
        repeated: false,
    }
}

/// The attributes in front of the method; those at the start of its body, `#![allow(..)]`, mean the same.
fn outer(mut attrs: Vec<Attribute>) -> Vec<Attribute> {
    for attr in &mut attrs {
        attr.style = AttrStyle::Outer;
    }
    attrs
}

/// `user` for `_user`: generated code uses its parameters.
fn used(ident: &Ident, fallback: &str) -> Ident {
    let name = ident.to_string();
    if !name.starts_with('_') {
        return ident.clone();
    }
    let used = syn::parse_str::<Ident>(name.trim_start_matches('_'));
    let mut used = used.unwrap_or_else(|_| Ident::new(fallback, ident.span()));
    used.set_span(ident.span());
    used
}

struct Reader<'a> {
    name: String,
    skipped: bool,
    has_body: bool,
    diags: &'a mut Diagnostics,
}

/// What was found among the parameters so far.
#[derive(Default)]
struct Parameters {
    context: Option<Ident>,
    request: Option<Request>,
    /// Whether a second request was reported.
    surplus: bool,
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
    }

    /// A method is `async`. One that returns a future is taken for what it was before it did, so that this is the only error.
    fn future(&mut self, sig: &mut Signature) -> Option<Rewritten> {
        let rewritten = rewritten::restore(sig);
        let by = rewritten.as_ref().map(|rewritten| rewritten.by);
        if by == Some(RewrittenBy::Hand) || (by.is_none() && sig.asyncness.is_none()) {
            let name = &self.name;
            self.diags.help(
                sig.fn_token,
                format!("method `{name}` must be `async`"),
                format!("write `async fn {name}`"),
            );
        }
        rewritten
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

    /// Gives the name of the context, and the request.
    fn parameters(
        &mut self,
        inputs: &mut Punctuated<FnArg, Token![,]>,
    ) -> (Option<Ident>, Option<Request>) {
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
            return (None, None);
        }

        let many = typed.len() > 1;
        let mut read = Parameters::default();
        for (position, parameter) in typed.into_iter().enumerate() {
            match Shape::of(parameter, many) {
                Shape::Context => self.context(position, parameter, &mut read),
                Shape::OwnedContext => {
                    let name = self.plain_name(parameter, "cx", "a context parameter");
                    self.diags.help(
                        &parameter.ty,
                        "a context is passed by reference",
                        format!("write `{name}: &Context`"),
                    );
                    read.context = read.context.or(Some(name));
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
                    read.context = Some(self.context_name(parameter));
                }
                Shape::Reference | Shape::Message => self.request(position, parameter, &mut read),
            }
        }
        if let (Some(context), Some(request)) = (&mut read.context, &mut read.request)
            && context == &request.ident
        {
            *context = Ident::new("cx", Span::call_site());
            request.ident = Ident::new("request", Span::call_site());
        }
        (read.context, read.request)
    }

    fn context(&mut self, position: usize, parameter: &mut PatType, read: &mut Parameters) {
        if read.context.is_some() {
            let message = format!("method `{}` takes its context twice", self.name);
            self.diags.error(&parameter.ty, message);
            return;
        }
        if position > 0 {
            self.context_order(parameter, read.request.as_ref());
        }
        read.context = Some(used(&self.context_name(parameter), "cx"));
    }

    fn request(&mut self, position: usize, parameter: &mut PatType, read: &mut Parameters) {
        const WHAT: &str = "a request parameter";
        if read.request.is_some() {
            if !read.surplus {
                self.two_requests(parameter, read.request.as_ref());
            }
            read.surplus = true;
            self.plain_name(parameter, &format!("request_{position}"), WHAT);
            return;
        }
        let item = messages::request(&parameter.ty, &self.name, self.diags);
        let ident = self.plain_name(parameter, "request", WHAT);
        read.request = Some(Request {
            ident: used(&ident, "request"),
            ty: (*parameter.ty).clone(),
            item,
        });
    }

    fn attributes(&mut self, attrs: &[Attribute]) {
        for attr in attrs.iter().filter(|attr| is_cfg(attr)) {
            self.diags.help(
                attr,
                format!("a parameter of `{}` cannot be conditional", self.name),
                "declare the method twice, each under a `#[cfg(..)]`",
            );
        }
    }

    /// The name of a parameter. A pattern gets `fallback`; without a body it is an error, and replaced, or rustc would have its say as well
    /// (E0642).
    fn plain_name(&mut self, parameter: &mut PatType, fallback: &str, what: &str) -> Ident {
        if let Pat::Ident(pat) = &*parameter.pat
            && pat.by_ref.is_none()
            && pat.mutability.is_none()
            && pat.subpat.is_none()
        {
            return pat.ident.clone();
        }
        let (ident, help) = match &*parameter.pat {
            Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => (
                pat.ident.clone(),
                format!(
                    "write `{0}` here, and `mut {0}` in the implementation",
                    pat.ident
                ),
            ),
            _ => (
                Ident::new(fallback, Span::call_site()),
                "destructure it in the implementation".to_owned(),
            ),
        };
        if !self.has_body {
            self.diags
                .help(&parameter.pat, format!("{what} needs a plain name"), help);
            *parameter.pat = parse_quote!(#ident);
        }
        ident
    }

    /// The name of the context, which may be `_`.
    fn context_name(&mut self, parameter: &mut PatType) -> Ident {
        if matches!(&*parameter.pat, Pat::Wild(_)) {
            return Ident::new("cx", Span::call_site());
        }
        self.plain_name(parameter, "cx", "a context parameter")
    }

    fn two_requests(&mut self, second: &PatType, first: Option<&Request>) {
        let is_stream = first.is_some_and(|first| first.item.is_some())
            || Stream::of(&second.ty).into_item().is_some();
        let help = if is_stream {
            "a method takes one message or one stream; put the value into the messages of the stream"
        } else {
            "put both values in one message type"
        };
        self.diags.help(
            &second.ty,
            format!("method `{}` takes two requests", self.name),
            help,
        );
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
}
