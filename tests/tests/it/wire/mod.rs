//! The bytes of the protocol, and other implementations of it.

mod interop;
mod json;
mod protobuf;
