//! NATS micro-services from annotated Rust traits.
//!
//! One attribute on a trait, and there is a service that is registered with NATS discovery, handlers whose responses are
//! persisted in a Key-Value bucket or an Object Store, and a typed client that calls the service and reads, writes and watches
//! those stores. Requests and responses may be streams. No `.proto` file, no build script.
//!
//! ```no_run
#![cfg_attr(not(feature = "protobuf"), doc = "# #[cfg(any())] mod sample {")]
//! use natsmicro::{Client, Server, Status};
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! pub struct SaveProfileRequest {
//!     #[prost(string, tag = "1")]
//!     pub id: String,
//!     #[prost(string, tag = "2")]
//!     pub name: String,
//! }
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! pub struct Profile {
//!     #[prost(string, tag = "1")]
//!     pub name: String,
//! }
//!
//! /// Stores user profiles.
//! #[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0")]
//! pub trait UserService {
//!     /// Saves a profile.
//!     #[kv_store(bucket = "user_profiles", key = "user.<id>", ttl = "1h", max_history = 5)]
//!     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
//! }
//!
//! struct Users;
//!
//! impl UserService for Users {
//!     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status> {
//!         Ok(Profile { name: request.name })
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let nats = async_nats::connect("localhost").await?;
//! let jetstream = async_nats::jetstream::new(nats.clone());
//!
//! let server = Server::new(nats.clone())
//!     .with_jetstream(jetstream.clone())
//!     .add_service(UserServiceServer::new(Users))
//!     .start()
//!     .await?;
//!
//! let users = UserServiceClient::new(Client::new(nats).with_jetstream(jetstream));
//! users.save_profile(SaveProfileRequest { id: "ada".into(), name: "Ada".into() }).await?;
//! let stored = users.get_save_profile_from_kv("user.ada").await?; // no call
//!
//! server.stop().await?; // answers what was accepted, and stores what is queued
//! # Ok(())
//! # }
#![cfg_attr(not(feature = "protobuf"), doc = "# }")]
//! ```
//!
//! # Where to look
//!
//! * [`#[service]`](macro@service), [`#[endpoint]`](macro@endpoint), [`#[stream]`](macro@stream),
//!   [`#[kv_store]`](macro@kv_store), [`#[object_store]`](macro@object_store) and [`#[kv_delete]`](macro@kv_delete): all settings.
//! * [`Server`] and [`RunningServer`]: start, statistics, stop. [`ServiceServer`] is what `UserServiceServer` stands for.
//! * [`async_nats`] and [`bytes`]: the crates whose types are part of this API, in the versions that it needs.
//! * [`Client`] and [`Call`]: timeouts, headers, what a client reports by itself.
//! * [`Status`], [`Code`] and [`#[derive(ServiceError)]`](derive@ServiceError): errors that keep their meaning over the wire.
//! * [`Context`]: what a handler may know of its call.
//! * [`Streaming`]: requests and responses of more than one message, what is guaranteed of them, and their protocol. [`Chunk`]:
//!   blobs and files.
//! * [`KvStore`], [`Watch`](store::Watch) and [`KvCache`](store::KvCache): the buckets, typed. [`CachedCall`]: calls only where the bucket has nothing.
//! * [`discovery`]: what services say of themselves, and have done so far.
//! * [`guide::permissions`]: what to permit on NATS, and [`ConnectionEvents`]: errors in place of timeouts where something is not.
//! * [`ObjectStore`]: large messages, and bytes; [large responses](macro@object_store#large-responses).
#![cfg_attr(
    feature = "testing",
    doc = "* [`testing`]: a real nats-server for your own tests."
)]
//!
//! # What a handler may assume
//!
//! Handlers of one endpoint run concurrently, up to `max_in_flight` (1,024) of them; with `max_in_flight = 1` they run in the
//! order in which the requests arrived. A handler is polled once where its request was received, and moves to a task of its own
//! if it then still waits, so one that completes at once costs no task. One that computes for long is noticed, and the calls
//! after it get tasks from the start. A handler must not block its thread, for example by waiting for a lock or a file: for as
//! long as it does, its endpoint stands still, and what shares its thread with it, which may be the connection itself. That is
//! what [`spawn_blocking`](tokio::task::spawn_blocking) is for.
//!
//! When the deadline of a call passes, its future is dropped at the next `await`. A panic ends the call and nothing else.
//!
//! # What is stored, and when
//!
//! Only successful responses are stored, as the very bytes of the reply. With `persist = "after_response"` (the default) the
//! write is queued when the handler has finished, and the reply does not wait for it: if the process is killed, the responses
//! that were not yet acknowledged are lost, though their callers have them. With `persist = "before_response"` the reply waits
//! for the acknowledgement, and a write that fails fails the call. It waits until shortly before the deadline of the call: half a second,
//! or a quarter of the time if that is less. Where neither the caller nor the method says how long the call may take, that is the deadline
//! of a caller with the default timeout, 10 seconds. After that no attempt at the write is begun: it is given up.
//!
//! A deletion by [`#[kv_delete]`](macro@kv_delete) is one of these writes: what is said here holds for it too.
//!
//! The writes to one key are made in the order in which their handlers finished, one at a time; of two that finish at the same
//! instant on different threads, either may be first. In a bucket that keeps one value per key (no `max_history`), of several
//! responses that wait for their key only the newest is written; the others count as persisted with it. Writes to different
//! keys go side by side. A write without an acknowledgement is repeated until the persist timeout, over what the key then holds and only
//! if its value is not there already. (With `write = "create"` or `"update"` the entries carry a `Nats-Msg-Id`, by which a repetition is
//! told from somebody else's entry; with `"put"` they carry no header.) So is a first attempt that is late made: one more than a second
//! after the write was queued, in the second half of the time of a call that waits for it, after a reconnect, or behind a write that was
//! repeated. A value that somebody else has written since the write was queued stays. The write then counts as persisted, or, if a
//! reply waits for it, fails the call with `ABORTED`.
//!
//! Nothing is handed to a connection that is known to be down. What was handed over before cannot be taken back, and may replace a newer
//! value: what async-nats holds or has just sent when a connection breaks, what waits in the sockets of a nats-server that stands still
//! and goes on, and what a cluster commits long after it was sent. Nor do objects stand back.
//!
//! What a bucket refuses for good is given up at once: a value that is too large, any value if it is full, all writes if it is gone. A
//! bucket in memory that a restart of nats-server has lost is made again, without its entries, unless the policy is
//! [`BucketPolicy::Never`](crate::store::BucketPolicy::Never).
//!
//! What is given up is logged, counted in `$SRV.STATS`, handed to `Server::on_lost_write`, and listed by
//! [`RunningServer::stop`]. The queue is bounded: when it is full, calls wait before their handlers run.
//!
//! # On the wire
//!
//! Requests, replies, errors and stores look as those of services generated by `protoc-gen-nats-micro`, so that either side can
//! be such a peer. Two headers are our own, and peers ignore them:
//!
//! * `Natsmicro-Timeout-Ms` in a request: the milliseconds that the caller waits, as a decimal number. Calls with a timeout of their
//!   own carry it (by [`Call::with_timeout`] or [`Call::with_context`]). A service of ours answers `DEADLINE_EXCEEDED` when they have
//!   passed, counted from the arrival of the request, and drops the handler.
//! * `Natsmicro-Object` in an error reply with the code `RESOURCE_EXHAUSTED`: the call is a success, but its response is too large
//!   for a reply (it would have, with its headers, more bytes than the `max_payload` of the NATS server), and it is what the object
//!   holds that the header names. The header has four parts with one space between each: the bucket; the number of bytes of the
//!   response; its digest, `SHA-256=` and base64 in the alphabet for URLs, with padding, as in the metadata of the object; and the
//!   name of the object, which is the rest. The object is stored before the reply is sent. A client that follows the reference takes
//!   these bytes for the payload of the reply, and its other headers for those of the response. Since another call may have replaced
//!   the object meanwhile, it must make sure that size and digest are those in the header. To a client that does not, the reply is
//!   the error that it says it is, so nobody has to announce anything. See
//!   [`#[object_store]`](macro@object_store#large-responses) for what our client does.
//!
//! Streams are those of such peers too. For flow control and heartbeats they have an extension, whose headers are
//! `Natsmicro-*` as well, and which is used where both sides know it: it is described at [`Streaming`](Streaming#protocol).
//!
//! # Speed
//!
//! In a clone of the repository, `cargo bench -p natsmicro-bench --bench calls` measures calls, stored responses and reads side
//! by side with the same work written by hand on async-nats, and prints the ratios. What was found, and what limits it, stands in
//! [`tests/bench/README.md`](https://github.com/natsmicro/natsmicro/blob/main/tests/bench/README.md).
//!
//! # Connections
//!
//! Leave the [`subscription_capacity`](async_nats::ConnectOptions::subscription_capacity) of a connection as it is. It says how
//! many messages async-nats holds for a subscription whose reader is behind, 65,536 by default, and what comes on top is dropped
//! without a word. All replies to a [`Client`] arrive on one subscription, and no more than half of that many calls wait for
//! theirs at a time. With a smaller capacity, replies that arrive at once are lost, and their calls end with
//! `DEADLINE_EXCEEDED`; so are requests, of which the server then has no chance to refuse any.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `protobuf` | yes | messages that derive [`prost::Message`](https://docs.rs/prost) |
//! | `json` | yes | messages that derive serde's traits |
//! | `testing` | no | `natsmicro::testing`, `Client::in_process` |
//!
//! The MSRV is 1.89, that of async-nats; it is raised in minor versions only.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod backoff;
mod client;
mod codec;
mod context;
mod contract;
mod descriptor;
pub mod discovery;
mod error;
#[cfg(feature = "testing")]
mod in_process;
#[cfg(test)]
mod layers_tests;
mod log;
pub mod middleware;
mod persist;
#[cfg(test)]
mod public_api_tests;
mod server;
mod service_error;
mod status;
pub mod store;
mod stream;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;

/// Pages for those who operate services. They hold no code.
pub mod guide {
    #[doc = include_str!("contract/permissions.md")]
    pub mod permissions {}
}

pub use self::client::Client;
pub use self::client::cached::call::{Cached, CachedCall};
pub use self::client::call::{Call, CallFuture, Response};
pub use self::client::retry::settings::{Retry, RetryStats};
#[cfg(feature = "json")]
pub use self::codec::Json;
#[cfg(feature = "protobuf")]
pub use self::codec::Protobuf;
pub use self::codec::{Codec, CodecError};
pub use self::context::Context;
pub use self::error::Error;
#[cfg(feature = "testing")]
pub use self::in_process::InProcess;
pub use self::middleware::origin::Origin;
pub use self::persist::LostWrite;
pub use self::server::health::Health;
pub use self::server::losses::{ConnectionLost, PanickedEndpoint, StopError, UnfinishedCalls};
pub use self::server::router::Dispatch;
pub use self::server::running::{RunningServer, ServerHandle, ServerState};
pub use self::server::serve::{ServeError, ServeErrorKind};
pub use self::server::service_server::ServiceServer;
pub use self::server::{Server, StartError, StartErrorKind};
pub use self::service_error::ServiceError;
pub use self::status::{Code, Result, Status};
pub use self::store::{Key, KvStore, ObjectStore};
pub use self::stream::blob::Chunk;
pub use self::stream::streaming::{SendError, StreamSender, Streaming, TrySendError};
pub use self::transport::events::ConnectionEvents;
pub use self::transport::gate::ConnectionState;
pub use self::transport::headers::InvalidHeader;
pub use async_nats;
pub use bytes;
pub use natsmicro_macros::{
    ServiceError, endpoint, kv_delete, kv_store, object_store, service, stream,
};
