//! All integration tests that can share a process, so that they are linked once.
//!
//! They run beside each other: a test has a nats-server of its own, does not change the environment, and installs neither a global
//! subscriber of `tracing` nor a panic hook. What needs a process of its own is beside this folder.

mod accounts;
mod cached;
mod calls;
mod claims;
mod connection;
mod kv;
mod lists;
mod middleware;
mod objects;
mod operators;
mod permissions;
mod persist;
mod programs;
mod replicas;
mod service;
mod streams;
mod testing;
mod trust;
mod ways;
mod wire;
mod writes;
