//! wip

#[cfg(feature = "testing")]
pub mod testing;
