//! An enum of errors as the macro understands it.

use syn::{Attribute, Fields, Ident, LitStr, Type};

use crate::krate::Krate;

/// An enum of errors.
pub(super) struct ErrorEnum {
    pub(super) krate: Krate,
    pub(super) ident: Ident,
    pub(super) coded: Vec<Coded>,
    /// The variant that takes every other status.
    pub(super) rest: Option<(Ident, Type)>,
}

/// A variant with a code.
pub(super) struct Coded {
    pub(super) cfgs: Vec<Attribute>,
    pub(super) ident: Ident,
    pub(super) code: LitStr,
    pub(super) fields: Fields,
}
