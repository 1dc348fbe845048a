//! Responses that are too large for a reply.

mod check;
mod faults;
