//! `natsmicro::testing`.

mod servers;
mod start;
