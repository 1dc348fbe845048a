//! Retries: when a call that has failed is sent again.
//!
//! Its files, each using those before it: `settings` (the public names), `attempts` (the attempts of one call), `unary` (those of
//! a call whose response is one message). May use `transport`, `client::fetch` and the leaves; knows no `Call`. Guarantees that a call of a
//! method that is not idempotent is sent again only if nobody has received it, and that all attempts together end by the deadline of the
//! call.

pub(crate) mod attempts;
pub(crate) mod settings;
pub(crate) mod unary;
