//! Writes say what became of them, and are given up when they cannot succeed.

mod contended;
mod create;
mod domain;
mod elsewhere;
mod full;
mod gone;
mod memory;
mod unreadable;
