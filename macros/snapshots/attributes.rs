/// Has a bit of everything that a method can be.
#[cfg(feature = "shop")]
#[deprecated(note = "use `Shop`")]
pub(crate) trait r#Match: ::core::marker::Send + ::core::marker::Sync + 'static + Named {
    /// Matches only on Unix.
    #[cfg(unix)]
    fn r#yield(
        &self,
        request: Yield,
    ) -> impl ::core::future::Future<
        Output = other::Result<Found>,
    > + ::core::marker::Send;
    #[deprecated]
    #[must_use]
    fn archive(
        &self,
        cx: &other::Context,
        request: Archive,
    ) -> impl ::core::future::Future<
        Output = Result<Found, MatchError>,
    > + ::core::marker::Send;
    fn ping(
        &self,
    ) -> impl ::core::future::Future<Output = Result<(), Status>> + ::core::marker::Send;
    fn uptime(
        &self,
        cx: &other::Context,
    ) -> impl ::core::future::Future<
        Output = Result<Uptime, Status>,
    > + ::core::marker::Send;
    /// For callers in this process.
    fn local(
        &self,
        limit: u32,
        name: &str,
    ) -> impl ::core::future::Future<
        Output = Result<u32, Status>,
    > + ::core::marker::Send;
}
/// How [`Match`] looks on NATS: its names, settings and message types.
#[cfg(feature = "shop")]
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub(crate) enum MatchDescriptor {}
#[cfg(feature = "shop")]
#[allow(dead_code)]
impl MatchDescriptor {
    #[cfg(unix)]
    const YIELD: ::other::__private::Method<
        Yield,
        <other::Result<Found> as ::other::__private::Outcome>::Ok,
        <other::Result<Found> as ::other::__private::Outcome>::Error,
    > = ::other::__private::Method::new(
            0,
            ("Match", "yield"),
            ::other::__private::message::<crate::Cbor, Yield>(),
            ::other::__private::message::<
                crate::Cbor,
                <other::Result<Found> as ::other::__private::Outcome>::Ok,
            >(),
            <<other::Result<
                Found,
            > as ::other::__private::Outcome>::Error as ::other::ServiceError>::CODEC,
        )
        .kv_store(
            ::other::__private::BucketDescriptor::kv("matches"),
            ::other::__private::Usage::new(),
            ::other::__private::StoreKey::new(
                &[::other::__private::KeyPart::Request("type")],
                |request, key| key.bind(&[&((*request).r#type)]),
            ),
        );
    const ARCHIVE: ::other::__private::Method<Archive, Found, MatchError> = ::other::__private::Method::new(
            1,
            ("Match", "archive"),
            ::other::__private::message::<crate::Cbor, Archive>(),
            ::other::__private::message::<crate::Cbor, Found>(),
            <MatchError as ::other::ServiceError>::CODEC,
        )
        .object_store(
            ::other::__private::BucketDescriptor::object("archive"),
            ::other::__private::Usage::new(),
            ::other::__private::StoreKey::new(
                &[
                    ::other::__private::KeyPart::Text("a."),
                    ::other::__private::KeyPart::Request("id"),
                ],
                |request, key| key.bind(&[&((*request).id)]),
            ),
        );
    const PING: ::other::__private::Method<(), (), Status> = ::other::__private::Method::new(
            2,
            ("Match", "ping"),
            ::other::__private::message::<crate::Cbor, ()>(),
            ::other::__private::message::<crate::Cbor, ()>(),
            <Status as ::other::ServiceError>::CODEC,
        )
        .idempotent();
    const UPTIME: ::other::__private::Method<(), Uptime, Status> = ::other::__private::Method::new(
        3,
        ("Match", "uptime"),
        ::other::__private::message::<crate::Cbor, ()>(),
        ::other::__private::message::<crate::Cbor, Uptime>(),
        <Status as ::other::ServiceError>::CODEC,
    );
}
#[cfg(feature = "shop")]
impl ::other::__private::Describe for MatchDescriptor {
    const SERVICE: ::other::__private::ServiceDescriptor = ::other::__private::ServiceDescriptor::new(
            "Match",
            "match",
            5,
        )
        .description("Has a bit of everything that a method can be.");
}
#[cfg(feature = "shop")]
#[allow(deprecated)]
impl<S: r#Match> ::other::__private::Dispatch<S> for MatchDescriptor {
    fn register(router: &mut ::other::__private::Router<S>) {
        #[cfg(unix)]
        router
            .unary(
                &Self::YIELD,
                |service, _cx, request| async move {
                    ::other::__private::Outcome::into_result(
                        <S as r#Match>::r#yield(&service, request).await,
                    )
                },
            );
        router
            .unary(
                &Self::ARCHIVE,
                |service, cx, request| async move {
                    <S as r#Match>::archive(&service, &cx, request).await
                },
            );
        router
            .unary(
                &Self::PING,
                |service, _cx, ()| async move { <S as r#Match>::ping(&service).await },
            );
        router
            .unary(
                &Self::UPTIME,
                |service, cx, ()| async move {
                    <S as r#Match>::uptime(&service, &cx).await
                },
            );
    }
}
/// Serves an implementation of [`Match`]: `MatchServer::new(value)` goes to [`Server::add_service`](other::Server::add_service).
#[cfg(feature = "shop")]
#[allow(dead_code)]
pub(crate) type MatchServer<S> = ::other::ServiceServer<S, MatchDescriptor>;
/// Calls [`Match`] over NATS and reads and writes its stores. Cheap to clone.
#[cfg(feature = "shop")]
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub(crate) struct MatchClient {
    inner: ::other::__private::ServiceClient,
}
#[cfg(feature = "shop")]
#[allow(dead_code)]
impl MatchClient {
    /// A client of [`Match`]; takes an `async_nats::Client` or a [`Client`](other::Client) with options.
    #[must_use]
    pub fn new(client: impl ::core::convert::Into<::other::Client>) -> Self {
        Self {
            inner: ::other::__private::ServiceClient::new::<
                MatchDescriptor,
            >(::core::convert::Into::into(client)),
        }
    }
    /// Calls the service under another subject prefix than the one it declares.
    #[must_use]
    pub fn with_subject_prefix(
        self,
        prefix: impl ::core::convert::Into<::other::__private::String>,
    ) -> Self {
        Self {
            inner: self.inner.with_subject_prefix(::core::convert::Into::into(prefix)),
        }
    }
    /// Matches only on Unix.
    #[cfg(unix)]
    pub fn r#yield(
        &self,
        request: Yield,
    ) -> ::other::Call<
        <other::Result<Found> as ::other::__private::Outcome>::Ok,
        <other::Result<Found> as ::other::__private::Outcome>::Error,
    > {
        ::other::__private::ServiceClient::call(
            &self.inner,
            &MatchDescriptor::YIELD,
            &request,
        )
    }
    /// The key under which `yield` stores its response: `<type>`.
    #[cfg(unix)]
    pub fn yield_key(
        r#type: impl ::other::store::KeyToken,
    ) -> ::core::result::Result<::other::Key, ::other::store::InvalidKey> {
        ::other::__private::Method::kv_key(&MatchDescriptor::YIELD, &[&r#type])
    }
    /// A pattern of the keys under which `yield` stores its responses, `<type>`: takes a value or [`Any`](other::store::Any) for each field.
    #[cfg(unix)]
    pub fn yield_pattern(
        r#type: impl ::other::store::PatternToken,
    ) -> ::core::result::Result<::other::store::Pattern, ::other::store::InvalidKey> {
        ::other::__private::Method::kv_pattern(&MatchDescriptor::YIELD, &[&r#type])
    }
    /// The response of `yield` from its store, or from `yield` itself if it is not there.
    #[cfg(unix)]
    pub fn yield_cached(
        &self,
        request: Yield,
    ) -> ::other::CachedCall<
        <other::Result<Found> as ::other::__private::Outcome>::Ok,
        <other::Result<Found> as ::other::__private::Outcome>::Error,
    > {
        ::other::__private::ServiceClient::kv_cached(
            &self.inner,
            &MatchDescriptor::YIELD,
            &request,
        )
    }
    /// A handle on the `matches` bucket, where `yield` stores its responses.
    #[cfg(unix)]
    pub fn yield_kv(
        &self,
    ) -> ::other::KvStore<<other::Result<Found> as ::other::__private::Outcome>::Ok> {
        ::other::__private::ServiceClient::kv_store(&self.inner, &MatchDescriptor::YIELD)
    }
    /// The entry that `yield` stored under `key` in the `matches` bucket, if there is one.
    #[cfg(unix)]
    pub async fn get_yield_from_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<
            <other::Result<Found> as ::other::__private::Outcome>::Ok,
        >,
        ::other::store::StoreError,
    > {
        ::other::KvStore::get(&self.yield_kv(), key).await
    }
    /// Stores `value` under `key` in the `matches` bucket, as `yield` does; gives the revision.
    #[cfg(unix)]
    pub async fn put_yield_to_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &<other::Result<Found> as ::other::__private::Outcome>::Ok,
    ) -> ::core::result::Result<::core::primitive::u64, ::other::store::StoreError> {
        ::other::KvStore::put(&self.yield_kv(), key, value).await
    }
    /// Calls `archive`.
    #[deprecated]
    pub fn archive(&self, request: Archive) -> ::other::Call<Found, MatchError> {
        ::other::__private::ServiceClient::call(
            &self.inner,
            &MatchDescriptor::ARCHIVE,
            &request,
        )
    }
    /// The key under which `archive` stores its response: `a.{id}`.
    #[deprecated]
    pub fn archive_key(
        id: impl ::other::store::KeyToken,
    ) -> ::core::result::Result<::other::Key, ::other::store::InvalidKey> {
        ::other::__private::Method::object_key(&MatchDescriptor::ARCHIVE, &[&id])
    }
    /// The response of `archive` from its store, or from `archive` itself if it is not there.
    #[deprecated]
    pub fn archive_cached(
        &self,
        request: Archive,
    ) -> ::other::CachedCall<Found, MatchError> {
        ::other::__private::ServiceClient::object_cached(
            &self.inner,
            &MatchDescriptor::ARCHIVE,
            &request,
        )
    }
    /// A handle on the `archive` object store, where `archive` stores its responses.
    #[deprecated]
    pub fn archive_object_store(&self) -> ::other::ObjectStore<Found> {
        ::other::__private::ServiceClient::object_store(
            &self.inner,
            &MatchDescriptor::ARCHIVE,
        )
    }
    /// The object that `archive` stored under `key` in the `archive` object store, if there is one.
    #[deprecated]
    #[allow(deprecated)]
    pub async fn get_archive_from_object_store(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Found>,
        ::other::store::StoreError,
    > {
        ::other::ObjectStore::get(&self.archive_object_store(), key).await
    }
    /// Stores `value` under `key` in the `archive` object store, as `archive` does; gives the revision.
    #[deprecated]
    #[allow(deprecated)]
    pub async fn put_archive_to_object_store(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Found,
    ) -> ::core::result::Result<::core::primitive::u64, ::other::store::StoreError> {
        ::other::ObjectStore::put(&self.archive_object_store(), key, value).await
    }
    /// Calls `ping`.
    pub fn ping(&self) -> ::other::Call<(), Status> {
        ::other::__private::ServiceClient::call(&self.inner, &MatchDescriptor::PING, &())
    }
    /// Calls `uptime`.
    pub fn uptime(&self) -> ::other::Call<Uptime, Status> {
        ::other::__private::ServiceClient::call(
            &self.inner,
            &MatchDescriptor::UPTIME,
            &(),
        )
    }
}
#[cfg(feature = "shop")]
#[allow(deprecated)]
impl r#Match for MatchClient {
    #[cfg(unix)]
    async fn r#yield(&self, request: Yield) -> other::Result<Found> {
        ::other::__private::Outcome::from_result(
            MatchClient::r#yield(self, request).await,
        )
    }
    async fn archive(
        &self,
        cx: &other::Context,
        request: Archive,
    ) -> Result<Found, MatchError> {
        MatchClient::archive(self, request).with_context(cx).await
    }
    async fn ping(&self) -> Result<(), Status> {
        MatchClient::ping(self).await
    }
    async fn uptime(&self, cx: &other::Context) -> Result<Uptime, Status> {
        MatchClient::uptime(self).with_context(cx).await
    }
    #[allow(unused_variables)]
    async fn local(&self, limit: u32, name: &str) -> Result<u32, Status> {
        <Result<
            u32,
            Status,
        > as ::other::__private::Outcome>::unimplemented("Match", "local")
    }
}
