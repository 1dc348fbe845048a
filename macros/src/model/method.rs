//! One method of the trait.
//!
//! Holds checked settings and syn nodes, so that every later phase can point at what the user wrote.

use proc_macro2::{Ident, Span, TokenStream};
use syn::ext::IdentExt;
use syn::{Attribute, Block, Signature, Token};

use super::accessor::{Accessor, accessors};
use super::signature::{Kind, Output, Request};
use super::store::{Deletion, Store};
use crate::args::composite::{FunctionPath, Metadata, QueueGroup};
use crate::args::quantity::{Number, Period, Window, WindowBytes};

/// A method of the trait.
#[derive(Debug)]
pub(crate) struct Method {
    /// The place among all methods of the trait, whatever their cfgs.
    pub(crate) index: usize,
    pub(crate) attrs: MethodAttrs,
    /// The signature as written, with plain names for the parameters unless there is a body.
    pub(crate) sig: Signature,
    /// What `sig` was before it was made `async` again; reported.
    pub(crate) rewritten: Option<Rewritten>,
    /// What an implementation that leaves the method out serves.
    pub(crate) default: Option<Block>,
    /// The end of the declaration, if it has no body.
    pub(crate) semicolon: Option<Token![;]>,
    pub(crate) endpoint: Endpoint,
    pub(crate) stream: Option<StreamAttr>,
    /// At most one of each kind, the key-value store first.
    pub(crate) stores: Vec<Store>,
    pub(crate) deletions: Vec<Deletion>,
    /// The name of the `&Context` parameter.
    pub(crate) context: Option<Ident>,
    pub(crate) request: Option<Request>,
    pub(crate) output: Output,
    /// Generated functions that were reported because their name is taken.
    pub(crate) suppressed: Vec<String>,
    /// Declared before under the same name: reported, and left out of everything.
    pub(crate) repeated: bool,
}

/// The signature of a method that returns a future instead of being `async`.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) sig: Signature,
    pub(crate) by: RewrittenBy,
}

/// Who has made a method return a future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RewrittenBy {
    AsyncTrait,
    AnotherAttribute,
    Hand,
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

/// How a method is reached: `#[endpoint]` and the defaults.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Whether the method stays off NATS.
    pub(crate) skipped: bool,
    /// The last token of the method's subject.
    pub(crate) name: String,
    /// What gives it that name: a setting, or the method's own name.
    pub(crate) name_label: TokenStream,
    pub(crate) timeout: Option<Period>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) max_in_flight: Option<MaxInFlight>,
    /// Its own queue group.
    pub(crate) queue_group: OwnGroup,
    /// Whether a call may be handled more than once.
    pub(crate) idempotent: bool,
    /// What is called with each request before the handler.
    pub(crate) validate: Option<FunctionPath>,
}

/// How many requests are handled at once.
pub(crate) type MaxInFlight = Number<1, { u32::MAX as u64 }>;

/// The queue group of a service or of one method.
#[derive(Debug, Default)]
pub(crate) struct OwnGroup {
    pub(crate) group: Option<QueueGroup>,
    /// Whether one was written, rightly or not.
    pub(crate) is_written: bool,
    /// The value, to point at.
    pub(crate) label: TokenStream,
}

/// `#[stream]`
#[derive(Debug)]
pub(crate) struct StreamAttr {
    pub(crate) attr: Attribute,
    pub(crate) window: Option<Window>,
    pub(crate) window_bytes: Option<WindowBytes>,
}

impl Method {
    /// The method's name without `r#`.
    pub(crate) fn name(&self) -> String {
        self.sig.ident.unraw().to_string()
    }

    /// The constant that describes the method, `SAVE_PROFILE`. At the call site: a click on the method in the trait leads to its
    /// implementations, not to ten shadows.
    pub(crate) fn constant(&self) -> Ident {
        Ident::new(&self.name().to_ascii_uppercase(), Span::call_site())
    }

    /// The functions of the client that are generated for the stores.
    pub(crate) fn accessors(&self) -> Vec<Accessor<'_>> {
        accessors(&self.name(), &self.stores)
    }

    /// The cfgs of two methods: both methods are there if all hold.
    pub(crate) fn together_with(&self, other: &Self) -> Vec<Attribute> {
        let mut cfgs = self.attrs.cfgs.clone();
        let others = other.attrs.cfgs.iter();
        cfgs.extend(others.filter(|cfg| !self.attrs.cfgs.contains(cfg)).cloned());
        cfgs
    }

    /// Whether `other` is there whenever this method is, as far as the words of their cfgs tell.
    pub(crate) fn comes_with(&self, other: &Self) -> bool {
        let mut cfgs = other.attrs.cfgs.iter();
        cfgs.all(|cfg| self.attrs.cfgs.contains(cfg))
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

    /// Whether a function of the client was reported because its name is taken.
    pub(crate) fn is_suppressed(&self, name: &str) -> bool {
        self.suppressed.iter().any(|suppressed| suppressed == name)
    }
}

impl OwnGroup {
    /// Whether every instance gets each request.
    pub(crate) fn is_off(&self) -> bool {
        matches!(self.group, Some(QueueGroup::Off))
    }
}
