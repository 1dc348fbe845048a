//! Cached calls: they look up the response in the bucket of their method, and call the service on a miss.
//!
//! [`call`](self::call) is the public builder, [`lookup`](self::lookup) the read-through of one call, [`singleflight`](self::singleflight)
//! lets concurrent calls for one entry share a look-up and a call, [`store`](self::store) is the bucket in bytes.
//!
//! May use `store` and the leaves; the call itself is a closure of `client/stores.rs`. Guarantees that a client has at most one
//! look-up and one call in flight for one entry with equal options, and that a store which cannot be read or written never fails a
//! call.

pub(crate) mod call;
pub(crate) mod lookup;
pub(crate) mod singleflight;
pub(crate) mod store;
