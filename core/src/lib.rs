//! NATS micro-services from annotated traits.
#![doc(test(attr(deny(warnings))))]

mod call;
mod client;
mod codec;
mod context;
mod discovery;
mod dispatch;
mod endpoint;
mod error;
mod header;
mod nats;
#[cfg(feature = "stores")]
mod persist;
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod server;
mod service;
mod service_error;
mod status;
#[cfg(feature = "stores")]
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

pub use self::call::{Call, CallFuture, Response};
pub use self::client::Client;
#[cfg(feature = "json")]
pub use self::codec::Json;
#[cfg(feature = "protobuf")]
pub use self::codec::Protobuf;
pub use self::codec::{Codec, CodecError};
pub use self::context::Context;
pub use self::discovery::{EndpointInfo, EndpointStats, PersistenceStats, ServiceInfo, ServiceStats};
pub use self::error::Error;
pub use self::header::InvalidHeader;
#[cfg(feature = "stores")]
pub use self::persist::{BucketPolicy, LostWrite};
pub use self::server::{RunningServer, Server, StartError, StartErrorKind, StopError, UnfinishedCalls};
pub use self::service::ServiceServer;
pub use self::service_error::ServiceError;
pub use self::status::{Code, Result, Status};
#[cfg(feature = "kv")]
pub use self::store::{Entry, KvStore, Operation, Watch, WatchEvent};
#[cfg(feature = "object-store")]
pub use self::store::ObjectStore;
#[cfg(feature = "stores")]
pub use self::store::{InvalidKey, InvalidKeyKind, Key, KeyToken, MAX_KEY_LEN, StoreError, StoreErrorKind};
