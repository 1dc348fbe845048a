//! The types and the generics of what the client has for a method.
//!
//! Assumes a method that is on NATS. Those of a service with mistakes are repaired by `broken`.

use std::borrow::Cow;

use syn::{Generics, Type, WhereClause};

use super::broken;
use super::expander::Expander;
use crate::model::method::Method;

/// What stands in the signature of a client's function.
pub(super) struct ClientTypes<'m> {
    /// The type of the response.
    pub(super) ok: Cow<'m, Type>,
    pub(super) error: Cow<'m, Type>,
    /// None, unless something is generic by mistake.
    pub(super) generics: Option<Generics>,
    pub(super) clause: Option<&'m WhereClause>,
}

/// The types of a method; `None` if there was a mistake and they cannot be written outside the trait.
pub(super) fn client_types<'m>(
    expander: &Expander<'_>,
    method: &'m Method,
) -> Option<ClientTypes<'m>> {
    if expander.broken {
        let (ok, error) = broken::types(expander, method)?;
        let (generics, clause) = broken::generics(expander, method);
        return Some(ClientTypes {
            ok,
            error,
            generics,
            clause,
        });
    }
    Some(ClientTypes {
        ok: method.output.ok(expander.krate),
        error: method.output.error(expander.krate),
        generics: None,
        clause: None,
    })
}
