//! A service as the macro understands it: what `parse` makes of the source and `expand` turns into code.
//!
//! Holds syn nodes and checked settings, never a bare string where the user wrote something, so that every later phase can point at
//! it. If there were no errors, everything is as the rules ask; if there were some, the trait, the names and the types are still what
//! the user meant, as far as that can be known.

use std::borrow::Cow;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Block, Generics, Ident, Signature, Token, TraitItem, Type, TypeParamBound,
    Visibility,
};

use crate::args::composite::Key;
use crate::args::{
    EndpointArgs, KvDeleteArgs, KvStoreArgs, ObjectStoreArgs, ServiceArgs, Setting, StreamArgs,
};
use crate::key::{Source, Template};
use crate::krate::Krate;
use crate::names::snake_case;

/// A trait under `#[service]`.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) krate: Krate,
    pub(crate) args: ServiceArgs,
    /// The user's attributes on the trait.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) deprecated: bool,
    pub(crate) vis: Visibility,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    pub(crate) items: Vec<Item>,
}

/// An item of the trait.
#[derive(Debug)]
pub(crate) enum Item {
    Method(Box<Method>),
    /// Not allowed, but kept: the implementations have it too.
    Other(Box<TraitItem>),
}

/// A method of the trait.
#[derive(Debug)]
pub(crate) struct Method {
    /// The place among all methods of the trait, whatever their cfgs.
    pub(crate) index: usize,
    pub(crate) attrs: MethodAttrs,
    /// The signature as written, with plain names for the parameters.
    pub(crate) sig: Signature,
    /// Not allowed, but kept: implementations can rely on it.
    pub(crate) default: Option<Block>,
    /// The end of the declaration, if it has no body.
    pub(crate) semicolon: Option<Token![;]>,
    pub(crate) endpoint: EndpointArgs,
    pub(crate) stream: Option<Helper<StreamArgs>>,
    pub(crate) kv: Option<Helper<KvStoreArgs>>,
    pub(crate) object: Option<Helper<ObjectStoreArgs>>,
    pub(crate) deletions: Vec<Helper<KvDeleteArgs>>,
    /// The name of the `&Context` parameter.
    pub(crate) context: Option<Ident>,
    pub(crate) request: Option<Request>,
    pub(crate) output: Output,
    /// Generated functions that were reported because their name is taken.
    pub(crate) suppressed: Vec<String>,
    /// Declared before under the same name: reported, and left out of everything.
    pub(crate) repeated: bool,
}

/// The attributes of a method, sorted by where they go.
#[derive(Debug, Default)]
pub(crate) struct MethodAttrs {
    /// What stays on the trait's method: all but our own.
    pub(crate) kept: Vec<Attribute>,
    /// What decides whether the method exists; goes to every item made from it.
    pub(crate) cfgs: Vec<Attribute>,
    /// Doc comments; they go to the client's method too.
    pub(crate) docs: Vec<Attribute>,
    /// `#[deprecated]` and lint levels; they go to the client's method too.
    pub(crate) lints: Vec<Attribute>,
    pub(crate) deprecated: bool,
}

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

/// An attribute that says something only of some methods: `#[stream]`, `#[kv_store]`, `#[object_store]` or `#[kv_delete]`.
#[derive(Debug)]
pub(crate) struct Helper<A> {
    pub(crate) attr: Attribute,
    pub(crate) args: A,
}

impl Service {
    /// The trait's name without `r#`, as it shows on NATS and in messages.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// `UserServiceClient` for the suffix `Client`; keeps the span of the trait's name, so that "go to definition" leads there.
    pub(crate) fn derived(&self, suffix: &str) -> Ident {
        Ident::new(
            &format!("{}{suffix}", self.ident.unraw()),
            self.ident.span(),
        )
    }

    /// All methods but repeated ones, in the order of the trait.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.items.iter().filter_map(|item| match item {
            Item::Method(method) if !method.repeated => Some(&**method),
            _ => None,
        })
    }

    /// The methods that are on NATS.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Method> {
        self.methods().filter(|method| !method.skipped())
    }
}

impl Method {
    /// The method's name without `r#`.
    pub(crate) fn name(&self) -> String {
        self.sig.ident.unraw().to_string()
    }

    /// A name made from the method's. At the call site: a click on the method in the trait leads to its implementations, not to ten
    /// shadows.
    pub(crate) fn derived(&self, prefix: &str, suffix: &str) -> Ident {
        Ident::new(
            &format!("{prefix}{}{suffix}", self.name()),
            Span::call_site(),
        )
    }

    /// The constant that describes the method, `SAVE_PROFILE`, or one that belongs to it, `SAVE_PROFILE_KEY`.
    pub(crate) fn constant(&self, suffix: &str) -> Ident {
        Ident::new(
            &format!("{}{suffix}", self.name().to_ascii_uppercase()),
            Span::call_site(),
        )
    }

    /// Whether the method stays off NATS.
    pub(crate) fn skipped(&self) -> bool {
        self.endpoint.skip.get().is_some_and(|skip| skip.0)
    }

    /// Which side sends a stream.
    pub(crate) fn kind(&self) -> Kind {
        let takes_stream = self
            .request
            .as_ref()
            .is_some_and(|request| request.item.is_some());
        match (takes_stream, self.output.item.is_some()) {
            (false, false) => Kind::Unary,
            (false, true) => Kind::ServerStreaming,
            (true, false) => Kind::ClientStreaming,
            (true, true) => Kind::Bidirectional,
        }
    }

    /// The attributes that declare its stores.
    pub(crate) fn store_attrs(&self) -> impl Iterator<Item = &Attribute> {
        let kv = self.kv.iter().map(|store| &store.attr);
        kv.chain(self.object.iter().map(|store| &store.attr))
    }

    /// Whether a function of the client was reported because its name is taken.
    pub(crate) fn is_suppressed(&self, name: &str) -> bool {
        self.suppressed.iter().any(|suppressed| suppressed == name)
    }

    /// The last token of the method's subject.
    pub(crate) fn endpoint_name(&self) -> String {
        match (self.endpoint.name.get(), self.endpoint.proto_name.get()) {
            (Some(name), _) => name.lit.value(),
            (None, Some(proto_name)) => snake_case(&proto_name.lit.value()),
            (None, None) => self.name(),
        }
    }

    /// What makes the call that looks into a store first, if there is a store whose key is known before the response.
    pub(crate) fn cached(&self) -> Option<&'static str> {
        let is_known = |key: &Setting<Key>| {
            template(key).is_some_and(|key| key.fields(Source::Response).next().is_none())
        };
        let kv = self.kv.as_ref();
        let object = self.object.as_ref();
        if kv.is_some_and(|store| is_known(&store.args.key)) {
            Some("kv_cached")
        } else if object.is_some_and(|store| is_known(&store.args.key)) {
            Some("object_cached")
        } else {
            None
        }
    }

    /// The names of the keys of the stores: one key where the templates agree.
    pub(crate) fn keys(&self) -> Vec<MethodKey<'_>> {
        let kv = self.kv.as_ref().and_then(|store| template(&store.args.key));
        let object = self
            .object
            .as_ref()
            .and_then(|store| template(&store.args.key));
        match (kv, object) {
            (Some(kv), Some(object)) if !kv.same_keys(object) => {
                vec![
                    MethodKey {
                        suffix: "_kv_key",
                        of: "kv_key",
                        template: kv,
                    },
                    MethodKey {
                        suffix: "_object_key",
                        of: "object_key",
                        template: object,
                    },
                ]
            }
            (Some(template), _) => vec![MethodKey {
                suffix: "_key",
                of: "kv_key",
                template,
            }],
            (None, Some(template)) => vec![MethodKey {
                suffix: "_key",
                of: "object_key",
                template,
            }],
            (None, None) => Vec::new(),
        }
    }
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

/// A key function: `save_profile_key`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MethodKey<'a> {
    pub(crate) suffix: &'static str,
    /// What makes it in the runtime.
    pub(crate) of: &'static str,
    pub(crate) template: &'a Template,
}

impl MethodKey<'_> {
    /// What the function is called that makes patterns of these keys, if there is anything to leave open. The names of objects have
    /// no patterns.
    pub(crate) fn pattern_suffix(&self) -> Option<&'static str> {
        let mut placeholders = self.template.placeholders();
        match self.suffix {
            _ if !placeholders.any(|placeholder| self.template.is_token(placeholder)) => None,
            "_key" if self.of == "kv_key" => Some("_pattern"),
            "_kv_key" => Some("_kv_pattern"),
            _ => None,
        }
    }
}

fn template(key: &Setting<Key>) -> Option<&Template> {
    key.get().map(|key| &key.0)
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

/// The place of `span` with the hygiene of the call site: rustc points there, but takes the tokens for generated ones.
pub(crate) fn call_site_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
