//! The handles of stores and the cached calls of a [`ServiceClient`].
//!
//! Apart from `client/mod.rs`, since only methods with a store need it. A method without the store gets a handle whose operations all
//! fail; generated code never asks for one.

use std::sync::Arc;

use futures::{FutureExt, TryFutureExt};

use crate::client::cached::call::CachedCall;
use crate::client::cached::store::ResponseStore;
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
        let payload = encode_request(method, request);
        // A request that cannot be encoded must not start a call that others share.
        let key = match &payload {
            Ok(_) => key.map_err(Status::from),
            Err(status) => Err(status.clone()),
        };
        let client = self.clone();
        let make_call = move |headers| {
            let kind = client.response_kind(&method.settings, codec::BYTES_CODEC);
            let call = client.new_call(method, payload.clone(), kind);
            let call = call.shared(headers).send();
            call.map_ok(Response::into_inner).boxed()
        };
        let timeout = self.timeout(&method.settings);
        CachedCall::new(
            method,
            Arc::clone(&self.single_flight),
            store,
            key,
            timeout,
            Box::new(make_call),
        )
    }
}

/// The store of a method without one. NATS has no bucket with an empty name, so every operation on it fails.
const fn undeclared(bucket: BucketDescriptor) -> MethodStore {
    let usage = Usage::new();
    MethodStore { bucket, usage }
}
