//! The settings of `#[service]`, `#[endpoint]`, `#[stream]`, `#[kv_store]`, `#[object_store]` and `#[kv_delete]`.
//!
//! Assumes the tokens between the parentheses. Guarantees that what is left holds only checked values. Rules between two settings of
//! one attribute are in `parse`, those between two attributes or two methods in `validate`.
//!
//! Its files, each using those before it: `value`, `quantity` and `composite` (the grammar of values), `argument` (values in
//! generated code), `settings` (what each attribute accepts), `unknown` and `read`.

pub(crate) mod argument;
pub(crate) mod composite;
pub(crate) mod quantity;
pub(crate) mod read;
pub(crate) mod settings;
mod unknown;
pub(crate) mod value;
