//! The part of a client that reads and writes stores.

use std::sync::Arc;

use futures::{FutureExt, TryFutureExt};

use crate::client::cached::call::CachedCall;
use crate::client::cached::shelf::Shelf;
use crate::client::call::Response;
use crate::client::{ServiceClient, encode_request};
use crate::codec;
use crate::codec::MessageCodec;
use crate::descriptor::bucket::{BucketDescriptor, StoreKind};
use crate::descriptor::declared::MethodStore;
use crate::descriptor::method::{Method, MethodSettings, Place};
use crate::descriptor::usage::Usage;
use crate::status::Status;
use crate::store::kv::handle::KvStore;
use crate::store::object::handle::ObjectStore;

impl ServiceClient {
    /// The bucket of a method's `#[kv_store]`.
    #[must_use]
    pub fn kv_store<Req, Resp, E>(&self, method: &Method<Req, Resp, E>) -> KvStore<Resp> {
        self.kv(&method.settings, method.response)
    }

    /// The bucket of a method's `#[object_store]`.
    #[must_use]
    pub fn object_store<Req, Resp, E>(&self, method: &Method<Req, Resp, E>) -> ObjectStore<Resp> {
        self.objects(&method.settings, method.response)
    }

    /// A call that looks into the method's `#[kv_store]` first, whose key needs the request alone.
    pub fn kv_cached<Req, Resp, E>(
        &self,
        method: &'static Method<Req, Resp, E>,
        request: &Req,
    ) -> CachedCall<Resp, E> {
        let store = self.kv(&method.settings, codec::BYTES);
        self.cached(method, request, StoreKind::Kv, Shelf::Kv(store))
    }

    /// A call that looks into the method's `#[object_store]` first, like [`kv_cached`](Self::kv_cached).
    pub fn object_cached<Req, Resp, E>(
        &self,
        method: &'static Method<Req, Resp, E>,
        request: &Req,
    ) -> CachedCall<Resp, E> {
        let store = self.objects(&method.settings, codec::BYTES);
        self.cached(method, request, StoreKind::Object, Shelf::Object(store))
    }

    fn kv<T>(&self, method: &MethodSettings, codec: MessageCodec<T>) -> KvStore<T> {
        let undeclared = const { undeclared(BucketDescriptor::kv("")) };
        let store = method.stores.kv.unwrap_or(undeclared);
        let jetstream = self.client.jetstream.clone();
        KvStore::new(jetstream, store, self.service.stores, codec)
    }

    fn objects<T>(&self, method: &MethodSettings, codec: MessageCodec<T>) -> ObjectStore<T> {
        let undeclared = const { undeclared(BucketDescriptor::object("")) };
        let store = method.stores.object.unwrap_or(undeclared);
        let jetstream = self.client.jetstream.clone();
        ObjectStore::new(jetstream, store, self.service.stores, codec)
    }

    fn cached<Req, Resp, E>(
        &self,
        method: &'static Method<Req, Resp, E>,
        request: &Req,
        kind: StoreKind,
        store: Shelf,
    ) -> CachedCall<Resp, E> {
        let key = method.keys.at(Place::Store(kind));
        let key = key.bind(request).and_then(|key| key.complete(&[]));
        let payload = encode_request(method, request);
        // A request that cannot be sent must not be the one that is sent for others.
        let key = match &payload {
            Ok(_) => key.map_err(Status::from),
            Err(status) => Err(status.clone()),
        };
        let client = self.clone();
        let call = move |headers| {
            let answer = client.answer(&method.settings, codec::BYTES);
            let call = client.new_call(method, payload.clone(), answer);
            let sending = call.shared(headers).send();
            sending.map_ok(Response::into_inner).boxed()
        };
        let timeout = self.timeout(&method.settings);
        CachedCall::new(
            method,
            Arc::clone(&self.flights),
            store,
            key,
            timeout,
            Box::new(call),
        )
    }
}

/// Stands in for a store that the method does not have, for which generated code never asks. NATS has no bucket without a name, so
/// every operation on it fails.
const fn undeclared(bucket: BucketDescriptor) -> MethodStore {
    let usage = Usage::new();
    MethodStore { bucket, usage }
}
