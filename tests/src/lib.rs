//! What the integration tests of natsmicro share.

pub mod accounts;
pub mod blobs;
pub mod cached;
pub mod claims;
pub mod common;
pub mod linked;
pub mod persistence;
pub mod raw;
pub mod streams;
pub mod trust;
