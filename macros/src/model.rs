//! A service as the macro understands it: what `parse` makes of the source, `validate` checks and `expand` turns into code.
//!
//! Holds syn nodes and checked settings as plain values, never a bare string where the user wrote something, so that every later
//! phase can point at it. If there were no errors, everything is as the rules ask; if there were some, the trait, the names and the
//! types are still what the user meant, as far as that can be known.
//!
//! Its files, each using those before it: `signature`, `store`, `accessor` (the generated functions of stores), `method` and
//! `service`.

pub(crate) mod accessor;
pub(crate) mod method;
pub(crate) mod service;
pub(crate) mod signature;
pub(crate) mod store;
