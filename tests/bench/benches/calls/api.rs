//! What all sides of the benchmark agree on.

use std::hint::black_box;

use bytes::Bytes;
use natsmicro::Status;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Item {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

impl Item {
    /// One that takes about this many bytes.
    pub(crate) fn of(id: String, size: usize) -> Self {
        let data = match size {
            128 => Bytes::from_static(&[7; 112]),
            16_384 => Bytes::from_static(&[7; 16_368]),
            size => vec![7; size].into(),
        };
        Self { id, data }
    }
}

#[natsmicro::service(subject_prefix = "ours")]
pub(crate) trait Ours {
    async fn echo(&self, request: Item) -> Result<Item, Status>;
    /// Waits a millisecond.
    async fn wait(&self, request: Item) -> Result<Item, Status>;
    /// Computes for about a millisecond.
    async fn compute(&self, request: Item) -> Result<Item, Status>;
    #[kv_store(bucket = "after", key = "k.<id>")]
    async fn after(&self, request: Item) -> Result<Item, Status>;
    #[kv_store(bucket = "before", key = "k.<id>", persist = "before_response")]
    async fn before(&self, request: Item) -> Result<Item, Status>;
    #[object_store(bucket = "objects", key = "<id>", client_only)]
    async fn object(&self, request: Item) -> Result<Item, Status>;
}

/// The stored responses of `Ours`, written in batches.
#[natsmicro::service(subject_prefix = "batched")]
pub(crate) trait Batched {
    #[kv_store(bucket = "after_batched", key = "k.<id>")]
    async fn after(&self, request: Item) -> Result<Item, Status>;
    #[kv_store(bucket = "before_batched", key = "k.<id>", persist = "before_response")]
    async fn before(&self, request: Item) -> Result<Item, Status>;
}

/// Work for about a millisecond: the same amount each time, whatever else the machine does.
pub(crate) fn compute() {
    let mut hash = 0_u64;
    for n in 0..black_box(500_000) {
        hash = hash.rotate_left(5) ^ n;
        hash = black_box(hash.wrapping_mul(0x517c_c1b7_2722_0a95));
    }
}

/// How many writes are still to be acknowledged, as a decimal number.
pub(crate) const PENDING: &str = "bench.pending";
/// The bucket of the hand-written services.
pub(crate) const BY_HAND: &str = "by_hand";
/// The subjects of the hand-written services.
pub(crate) const SPAWNED: &str = "hand.spawned";
pub(crate) const IN_PLACE: &str = "hand.in_place";
/// The prefix of a service that has nothing but `echo`.
pub(crate) const SENT_BACK: &str = "sent_back";
pub(crate) const MODULE: &str = "hand.module";
pub(crate) const WAITING: &str = "hand.waiting";
pub(crate) const COMPUTING: &str = "hand.computing";
pub(crate) const COMPUTING_IN_PLACE: &str = "hand.computing_in_place";
pub(crate) const PUT_AWAITED: &str = "hand.put_awaited";
pub(crate) const PUT_SPAWNED: &str = "hand.put_spawned";
pub(crate) const WINDOW_BEHIND: &str = "hand.window_behind";
