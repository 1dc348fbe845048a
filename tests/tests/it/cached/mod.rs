//! Calls that look into the store first.

mod read_through;
mod shared;
