//! One method of a service as the macro writes it down.

use std::fmt;
use std::time::Duration;

use crate::codec::MessageCodec;
use crate::descriptor::bucket::{BucketDescriptor, StoreKind};
use crate::descriptor::declared::{MethodStore, MethodStores};
use crate::descriptor::deletion::Deletion;
use crate::descriptor::key::{InvalidKey, Key};
use crate::descriptor::pattern::{Pattern, PatternToken};
use crate::descriptor::service::Pairs;
use crate::descriptor::template::{KeyToken, StoreKey};
use crate::descriptor::usage::Usage;
use crate::descriptor::validation::Validation;
use crate::service_error::ErrorCodec;
use crate::status::Status;

/// What is known of a method without its types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MethodSettings {
    pub(crate) index: usize,
    /// The name of the endpoint.
    pub(crate) name: &'static str,
    pub(crate) id: MethodId,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Pairs,
    pub(crate) queue_group: QueueGroup,
    pub(crate) max_in_flight: Option<usize>,
    /// Whether a call may be handled more than once.
    pub(crate) idempotent: bool,
    pub(crate) window: u32,
    pub(crate) window_bytes: u64,
    pub(crate) stores: MethodStores,
    pub(crate) deletions: &'static [Deletion],
}

/// A method as its trait writes it, whatever names it has on NATS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MethodId {
    /// The name of the trait.
    pub(crate) service: &'static str,
    pub(crate) method: &'static str,
    pub(crate) kind: MethodKind,
}

/// Which side of a call sends a stream of messages in place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Neither.
    Unary,
    /// The service.
    ServerStreaming,
    /// The caller.
    ClientStreaming,
    /// Both.
    Bidirectional,
}

impl MethodKind {
    /// Whether either side sends a stream.
    #[must_use]
    pub fn is_streaming(self) -> bool {
        self != Self::Unary
    }

    /// Whether the caller sends a stream.
    #[must_use]
    pub fn streams_requests(self) -> bool {
        matches!(self, Self::ClientStreaming | Self::Bidirectional)
    }

    /// Whether the service sends a stream.
    #[must_use]
    pub fn streams_responses(self) -> bool {
        matches!(self, Self::ServerStreaming | Self::Bidirectional)
    }
}

/// How many messages the sender of a stream may be ahead of the reader, unless `#[stream(window = ..)]` says otherwise. Grants come
/// when half of the window is read: enough messages that a sender need not wait for them, and few enough to hold for thousands of
/// streams.
pub(crate) const DEFAULT_WINDOW: u32 = 1024;

/// How many bytes of messages the sender of a stream may be ahead of the reader, unless `#[stream(window_bytes = ..)]` says otherwise.
pub(crate) const DEFAULT_WINDOW_BYTES: u64 = 1024 * 1024;

/// Where the queue group of a method is set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueGroup {
    OfService,
    Own(Option<&'static str>),
}

impl MethodSettings {
    /// How many calls of the endpoint run at once, or how many of its streams are open.
    pub(crate) fn max_in_flight(&self) -> usize {
        let default = match self.id.kind {
            MethodKind::Unary => 1024,
            MethodKind::ServerStreaming
            | MethodKind::ClientStreaming
            | MethodKind::Bidirectional => 10_000,
        };
        self.max_in_flight.unwrap_or(default)
    }
}

/// Where the key of something that a method's success does is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The `#[kv_store]` or the `#[object_store]`.
    Store(StoreKind),
    /// One of the `#[kv_delete]`s, in the order of the source.
    Deletion(usize),
}

/// How the keys of a method are made.
pub(crate) struct Keys<Req: 'static, Resp: 'static> {
    kv: StoreKey<Req, Resp>,
    object: StoreKey<Req, Resp>,
    deletions: &'static [StoreKey<Req, Resp>],
}

impl<Req, Resp> Keys<Req, Resp> {
    /// The key of a store or a deletion that the method has; [`StoreKey::NONE`], which makes no key, for one that it has not.
    pub(crate) fn at(&self, place: Place) -> StoreKey<Req, Resp> {
        match place {
            Place::Store(StoreKind::Kv) => self.kv,
            Place::Store(StoreKind::Object) => self.object,
            Place::Deletion(at) => self.deletions.get(at).copied().unwrap_or(StoreKey::NONE),
        }
    }
}

/// One method of a service: its settings, its messages and its stores. Server and client are both made from it.
pub struct Method<Req: 'static, Resp: 'static, E> {
    pub(crate) settings: MethodSettings,
    pub(crate) request: MessageCodec<Req>,
    pub(crate) response: MessageCodec<Resp>,
    pub(crate) error: ErrorCodec<E>,
    validation: Option<Validation<Req, E>>,
    pub(crate) keys: Keys<Req, Resp>,
}

impl<Req, Resp, E> Method<Req, Resp, E> {
    /// The method declared at `index` as `service::method`. Its endpoint has its name.
    #[must_use]
    pub const fn new(
        index: usize,
        (service, method): (&'static str, &'static str),
        request: MessageCodec<Req>,
        response: MessageCodec<Resp>,
        error: ErrorCodec<E>,
    ) -> Self {
        Self {
            settings: MethodSettings {
                index,
                name: method,
                id: MethodId {
                    service,
                    method,
                    kind: MethodKind::Unary,
                },
                timeout: None,
                metadata: &[],
                queue_group: QueueGroup::OfService,
                max_in_flight: None,
                idempotent: false,
                window: DEFAULT_WINDOW,
                window_bytes: DEFAULT_WINDOW_BYTES,
                stores: MethodStores::NONE,
                deletions: &[],
            },
            request,
            response,
            error,
            validation: None,
            keys: Keys {
                kv: StoreKey::NONE,
                object: StoreKey::NONE,
                deletions: &[],
            },
        }
    }

    /// Sets the `name` of the endpoint.
    #[must_use]
    pub const fn endpoint_name(mut self, name: &'static str) -> Self {
        self.settings.name = name;
        self
    }

    /// Sets `timeout`.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets `metadata`.
    #[must_use]
    pub const fn metadata(mut self, metadata: Pairs) -> Self {
        self.settings.metadata = metadata;
        self
    }

    /// Sets the `queue_group`; `None` for none at all.
    #[must_use]
    pub const fn queue_group(mut self, queue_group: Option<&'static str>) -> Self {
        self.settings.queue_group = QueueGroup::Own(queue_group);
        self
    }

    /// Sets `max_in_flight`.
    #[must_use]
    pub const fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.settings.max_in_flight = Some(max_in_flight);
        self
    }

    /// Sets `idempotent`.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.settings.idempotent = true;
        self
    }

    /// Sets `validate`.
    #[must_use]
    pub const fn validate(mut self, validation: Validation<Req, E>) -> Self {
        self.validation = Some(validation);
        self
    }

    /// Sets the `window` of `#[stream]`.
    #[must_use]
    pub const fn window(mut self, messages: u32) -> Self {
        self.settings.window = messages;
        self
    }

    /// Sets the `window_bytes` of `#[stream]`.
    #[must_use]
    pub const fn window_bytes(mut self, bytes: u64) -> Self {
        self.settings.window_bytes = bytes;
        self
    }

    /// Adds a `#[kv_store]`.
    #[must_use]
    pub const fn kv_store(
        mut self,
        bucket: BucketDescriptor,
        usage: Usage,
        key: StoreKey<Req, Resp>,
    ) -> Self {
        self.settings.stores.kv = Some(MethodStore { bucket, usage });
        self.keys.kv = key;
        self
    }

    /// Adds an `#[object_store]`.
    #[must_use]
    pub const fn object_store(
        mut self,
        bucket: BucketDescriptor,
        usage: Usage,
        key: StoreKey<Req, Resp>,
    ) -> Self {
        self.settings.stores.object = Some(MethodStore { bucket, usage });
        self.keys.object = key;
        self
    }

    /// Adds the `#[kv_delete]`s, each with its key.
    #[must_use]
    pub const fn kv_deletes(
        mut self,
        deletions: &'static [Deletion],
        keys: &'static [StoreKey<Req, Resp>],
    ) -> Self {
        self.settings.deletions = deletions;
        self.keys.deletions = keys;
        self
    }

    /// Whether requests are validated.
    pub(crate) fn validates(&self) -> bool {
        self.validation.is_some()
    }

    /// Calls the function that `validate` names, if there is one.
    pub(crate) fn check(&self, request: &Req) -> Result<(), Status> {
        match self.validation {
            Some(validation) => validation(request, self.error.into_status),
            None => Ok(()),
        }
    }

    /// What it declares, for [`ServiceDescriptor::stores`](super::ServiceDescriptor::stores).
    #[must_use]
    pub const fn stores(&self) -> MethodStores {
        self.settings.stores
    }

    /// The key of the `#[kv_store]` with these values in its placeholders, in the order in which they stand.
    pub fn kv_key(&self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        self.keys
            .at(Place::Store(StoreKind::Kv))
            .template()
            .fill(values)
    }

    /// The pattern of the keys of the `#[kv_store]` with these values in its placeholders, in the order in which they stand.
    pub fn kv_pattern(&self, values: &[&dyn PatternToken]) -> Result<Pattern, InvalidKey> {
        self.keys
            .at(Place::Store(StoreKind::Kv))
            .template()
            .pattern(values)
    }

    /// The key of the `#[object_store]`, like [`kv_key`](Self::kv_key).
    pub fn object_key(&self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        self.keys
            .at(Place::Store(StoreKind::Object))
            .template()
            .fill(values)
    }
}

impl<Req, Resp> Clone for Keys<Req, Resp> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Resp> Copy for Keys<Req, Resp> {}

impl<Req, Resp, E> Clone for Method<Req, Resp, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Resp, E> Copy for Method<Req, Resp, E> {}

impl<Req, Resp, E> fmt::Debug for Method<Req, Resp, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
