//! Layers around calls, on servers, services and clients.

mod caching;
mod client;
mod in_process;
mod outcomes;
mod server;
mod shop;
mod tower;
