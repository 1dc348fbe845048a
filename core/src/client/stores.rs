//! The handles of stores and the cached calls of a [`ServiceClient`].
//!
//! Apart from `client/mod.rs`, since only methods with a store need it. A method without the store gets a handle whose operations all
//! fail; generated code never asks for one.

use std::sync::Arc;

use futures::{FutureExt, TryFutureExt};

use crate::client::cached::call::CachedCall;
use crate::client::cached::store::ResponseStore;
use crate::client::call::Response;
use crate::client::service_client::{ServiceClient, encode_request};
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

    /// A call that looks up the response in the method's `#[kv_store]` first. The key must need the request alone.
    pub fn kv_cached<Req, Resp, E>(
        &self,
        method: &'static Method<Req, Resp, E>,
        request: &Req,
    ) -> CachedCall<Resp, E> {
        let store = self.kv(&method.settings, codec::BYTES_CODEC);
        self.cached(method, request, StoreKind::Kv, ResponseStore::Kv(store))
    }

    /// A call that looks up the response in the method's `#[object_store]` first, as [`kv_cached`](Self::kv_cached).
    pub fn object_cached<Req, Resp, E>(
        &self,
        method: &'static Method<Req, Resp, E>,
        request: &Req,
    ) -> CachedCall<Resp, E> {
        let store = self.objects(&method.settings, codec::BYTES_CODEC);
        let store = ResponseStore::Object(store);
        self.cached(method, request, StoreKind::Object, store)
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
        store: ResponseStore,
    ) -> CachedCall<Resp, E> {
        let key = method.keys.at(Place::Store(kind));
        let key = key.bind(request).and_then(|key| key.complete(&[]));
        // Behind the layers, which a cached call has passed.
        let client = self.without_layers();
        let make_call = move |headers, payload, until| {
            let exchange = client.unary(&method.settings, codec::BYTES_CODEC);
            let call = client.new_call(method, Ok(payload), exchange);
            let call = call.shared(headers, until).send();
            call.map_ok(Response::into_inner).boxed()
        };
        CachedCall::new(
            self,
            method,
            store,
            key.map_err(Status::from),
            encode_request(method, request),
            Arc::new(make_call),
        )
    }
}

/// The store of a method without one. NATS has no bucket with an empty name, so every operation on it fails.
const fn undeclared(bucket: BucketDescriptor) -> MethodStore {
    let usage = Usage::new();
    MethodStore { bucket, usage }
}
