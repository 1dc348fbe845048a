pub trait OrderService: ::core::marker::Send + ::core::marker::Sync + 'static {
    /// Places an order.
    fn place_order(
        &self,
        order: Order,
    ) -> impl ::core::future::Future<
        Output = Result<Receipt, OrderError>,
    > + ::core::marker::Send;
    fn cancel_order(
        &self,
        request: CancelOrder,
    ) -> impl ::core::future::Future<
        Output = Result<Order, Status>,
    > + ::core::marker::Send;
    fn prices(
        &self,
        request: PricesRequest,
    ) -> impl ::core::future::Future<
        Output = Result<Prices, Status>,
    > + ::core::marker::Send;
}
/// How [`OrderService`] looks on NATS: its names, settings and message types.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub enum OrderServiceDescriptor {}
#[allow(dead_code)]
impl OrderServiceDescriptor {
    const PLACE_ORDER: ::natsmicro::__private::Method<Order, Receipt, OrderError> = ::natsmicro::__private::Method::new(
            0,
            ("OrderService", "place_order"),
            <Order as ::natsmicro::__private::JsonMessage>::CODEC,
            <Receipt as ::natsmicro::__private::JsonMessage>::CODEC,
            <OrderError as ::natsmicro::ServiceError>::CODEC,
        )
        .endpoint_name("place")
        .timeout(::core::time::Duration::from_secs(5))
        .metadata(&[("operation", "write"), ("rate-limit", "10/s")])
        .queue_group(::core::option::Option::Some("writers"))
        .max_in_flight(64)
        .kv_store(
            ::natsmicro::__private::BucketDescriptor::kv("orders")
                .compression(true)
                .description("Every order")
                .marker_ttl(::core::time::Duration::from_secs(30))
                .max_bytes(1073741824)
                .max_history(1)
                .max_value_size(65536)
                .metadata(&[("team", "shop"), ("cost-centre", "42")])
                .purge_ttl(::core::time::Duration::from_secs(600))
                .replicas(3)
                .storage(::natsmicro::__private::Storage::Memory)
                .ttl(::core::time::Duration::from_secs(604800)),
            ::natsmicro::__private::Usage::new()
                .key_ttl(::core::time::Duration::from_secs(3600))
                .persist(::natsmicro::__private::Persist::BeforeResponse)
                .write(::natsmicro::__private::Write::Create),
            ::natsmicro::__private::StoreKey::with_response(
                &[
                    ::natsmicro::__private::KeyPart::Request("customer"),
                    ::natsmicro::__private::KeyPart::Text("."),
                    ::natsmicro::__private::KeyPart::Response("number"),
                    ::natsmicro::__private::KeyPart::Text("."),
                    ::natsmicro::__private::KeyPart::Request("customer"),
                ],
                |request, key| {
                    key.bind(&[&((*request).customer), &((*request).customer)])
                },
                |response, key| key.complete(&[&((*response).number)]),
            ),
        )
        .object_store(
            ::natsmicro::__private::BucketDescriptor::object("receipts")
                .compression(true)
                .description("Every receipt")
                .max_bytes(1073741824)
                .replicas(3)
                .storage(::natsmicro::__private::Storage::File)
                .ttl(::core::time::Duration::from_secs(604800)),
            ::natsmicro::__private::Usage::new()
                .persist(::natsmicro::__private::Persist::AfterResponse),
            ::natsmicro::__private::StoreKey::with_response(
                &[
                    ::natsmicro::__private::KeyPart::Text("receipt."),
                    ::natsmicro::__private::KeyPart::Response("number"),
                ],
                |_, key| key.bind(&[]),
                |response, key| key.complete(&[&((*response).number)]),
            ),
        );
    const CANCEL_ORDER: ::natsmicro::__private::Method<CancelOrder, Order, Status> = ::natsmicro::__private::Method::new(
            1,
            ("OrderService", "cancel_order"),
            <CancelOrder as ::natsmicro::__private::JsonMessage>::CODEC,
            <Order as ::natsmicro::__private::JsonMessage>::CODEC,
            <Status as ::natsmicro::ServiceError>::CODEC,
        )
        .kv_store(
            ::natsmicro::__private::BucketDescriptor::kv("orders"),
            ::natsmicro::__private::Usage::new().client_only(),
            ::natsmicro::__private::StoreKey::new(
                &[
                    ::natsmicro::__private::KeyPart::Text("last."),
                    ::natsmicro::__private::KeyPart::Request("customer"),
                ],
                |request, key| key.bind(&[&((*request).customer)]),
            ),
        )
        .kv_deletes(
            &[
                ::natsmicro::__private::Deletion::new("orders"),
                ::natsmicro::__private::Deletion::new("lists")
                    .persist(::natsmicro::__private::Persist::BeforeResponse)
                    .purge(),
            ],
            &[
                ::natsmicro::__private::StoreKey::new(
                    &[
                        ::natsmicro::__private::KeyPart::Text("last."),
                        ::natsmicro::__private::KeyPart::Request("customer"),
                    ],
                    |request, key| key.bind(&[&((*request).customer)]),
                ),
                ::natsmicro::__private::StoreKey::with_response(
                    &[::natsmicro::__private::KeyPart::Response("list")],
                    |_, key| key.bind(&[]),
                    |response, key| key.complete(&[&((*response).list)]),
                ),
            ],
        );
    const PRICES: ::natsmicro::__private::Method<PricesRequest, Prices, Status> = ::natsmicro::__private::Method::new(
            2,
            ("OrderService", "prices"),
            <PricesRequest as ::natsmicro::__private::JsonMessage>::CODEC,
            <Prices as ::natsmicro::__private::JsonMessage>::CODEC,
            <Status as ::natsmicro::ServiceError>::CODEC,
        )
        .kv_store(
            ::natsmicro::__private::BucketDescriptor::kv("prices"),
            ::natsmicro::__private::Usage::new().client_only(),
            ::natsmicro::__private::StoreKey::new(
                &[::natsmicro::__private::KeyPart::Text("today")],
                |_, key| key.bind(&[]),
            ),
        );
}
impl ::natsmicro::__private::Describe for OrderServiceDescriptor {
    const SERVICE: ::natsmicro::__private::ServiceDescriptor = ::natsmicro::__private::ServiceDescriptor::new(
            "Orders",
            "order_service",
            3,
        )
        .queue_group(::core::option::Option::None)
        .stores(
            &[
                ::natsmicro::__private::Method::stores(&Self::PLACE_ORDER),
                ::natsmicro::__private::Method::stores(&Self::CANCEL_ORDER),
            ],
        );
}
impl<S: OrderService> ::natsmicro::__private::Dispatch<S> for OrderServiceDescriptor {
    fn register(router: &mut ::natsmicro::__private::Router<S>) {
        router
            .unary(
                &Self::PLACE_ORDER,
                |service, _cx, request| async move {
                    <S as OrderService>::place_order(&service, request).await
                },
            );
        router
            .unary(
                &Self::CANCEL_ORDER,
                |service, _cx, request| async move {
                    <S as OrderService>::cancel_order(&service, request).await
                },
            );
        router
            .unary(
                &Self::PRICES,
                |service, _cx, request| async move {
                    <S as OrderService>::prices(&service, request).await
                },
            );
    }
}
/// Serves an implementation of [`OrderService`]: `OrderServiceServer::new(value)` goes to [`Server::add_service`](natsmicro::Server::add_service).
#[allow(dead_code)]
pub type OrderServiceServer<S> = ::natsmicro::ServiceServer<S, OrderServiceDescriptor>;
/// Calls [`OrderService`] over NATS and reads and writes its stores. Cheap to clone.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct OrderServiceClient {
    inner: ::natsmicro::__private::ServiceClient,
}
#[allow(dead_code)]
impl OrderServiceClient {
    /// A client of [`OrderService`]; takes an `async_nats::Client` or a [`Client`](natsmicro::Client) with options.
    #[must_use]
    pub fn new(client: impl ::core::convert::Into<::natsmicro::Client>) -> Self {
        Self {
            inner: ::natsmicro::__private::ServiceClient::new::<
                OrderServiceDescriptor,
            >(::core::convert::Into::into(client)),
        }
    }
    /// Calls the service under another subject prefix than the one it declares.
    #[must_use]
    pub fn with_subject_prefix(
        self,
        prefix: impl ::core::convert::Into<::natsmicro::__private::String>,
    ) -> Self {
        Self {
            inner: self.inner.with_subject_prefix(::core::convert::Into::into(prefix)),
        }
    }
    /// Places an order.
    pub fn place_order(&self, order: Order) -> ::natsmicro::Call<Receipt, OrderError> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &OrderServiceDescriptor::PLACE_ORDER,
            &order,
        )
    }
    /// The key under which `place_order` stores its response: `<customer>.<response.number>.<customer>`.
    pub fn place_order_kv_key(
        customer: impl ::natsmicro::store::KeyToken,
        number: impl ::natsmicro::store::KeyToken,
    ) -> ::core::result::Result<::natsmicro::Key, ::natsmicro::store::InvalidKey> {
        ::natsmicro::__private::Method::kv_key(
            &OrderServiceDescriptor::PLACE_ORDER,
            &[&customer, &number, &customer],
        )
    }
    /// A pattern of the keys under which `place_order` stores its responses, `<customer>.<response.number>.<customer>`: takes a value or [`Any`](natsmicro::store::Any) for each field.
    pub fn place_order_kv_pattern(
        customer: impl ::natsmicro::store::PatternToken,
        number: impl ::natsmicro::store::PatternToken,
    ) -> ::core::result::Result<
        ::natsmicro::store::Pattern,
        ::natsmicro::store::InvalidKey,
    > {
        ::natsmicro::__private::Method::kv_pattern(
            &OrderServiceDescriptor::PLACE_ORDER,
            &[&customer, &number, &customer],
        )
    }
    /// The key under which `place_order` stores its response: `receipt.<response.number>`.
    pub fn place_order_object_key(
        number: impl ::natsmicro::store::KeyToken,
    ) -> ::core::result::Result<::natsmicro::Key, ::natsmicro::store::InvalidKey> {
        ::natsmicro::__private::Method::object_key(
            &OrderServiceDescriptor::PLACE_ORDER,
            &[&number],
        )
    }
    /// A handle on the `orders` bucket, where `place_order` stores its responses.
    pub fn place_order_kv(&self) -> ::natsmicro::KvStore<Receipt> {
        ::natsmicro::__private::ServiceClient::kv_store(
            &self.inner,
            &OrderServiceDescriptor::PLACE_ORDER,
        )
    }
    /// The entry that `place_order` stored under `key` in the `orders` bucket, if there is one.
    pub async fn get_place_order_from_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Receipt>,
        ::natsmicro::store::StoreError,
    > {
        ::natsmicro::KvStore::get(&self.place_order_kv(), key).await
    }
    /// Stores `value` under `key` in the `orders` bucket, as `place_order` does; gives the revision.
    pub async fn put_place_order_to_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Receipt,
    ) -> ::core::result::Result<::core::primitive::u64, ::natsmicro::store::StoreError> {
        ::natsmicro::KvStore::put(&self.place_order_kv(), key, value).await
    }
    /// A handle on the `receipts` object store, where `place_order` stores its responses.
    pub fn place_order_object_store(&self) -> ::natsmicro::ObjectStore<Receipt> {
        ::natsmicro::__private::ServiceClient::object_store(
            &self.inner,
            &OrderServiceDescriptor::PLACE_ORDER,
        )
    }
    /// The object that `place_order` stored under `key` in the `receipts` object store, if there is one.
    pub async fn get_place_order_from_object_store(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Receipt>,
        ::natsmicro::store::StoreError,
    > {
        ::natsmicro::ObjectStore::get(&self.place_order_object_store(), key).await
    }
    /// Stores `value` under `key` in the `receipts` object store, as `place_order` does; gives the revision.
    pub async fn put_place_order_to_object_store(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Receipt,
    ) -> ::core::result::Result<::core::primitive::u64, ::natsmicro::store::StoreError> {
        ::natsmicro::ObjectStore::put(&self.place_order_object_store(), key, value).await
    }
    /// Calls `cancel_order`.
    pub fn cancel_order(
        &self,
        request: CancelOrder,
    ) -> ::natsmicro::Call<Order, Status> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &OrderServiceDescriptor::CANCEL_ORDER,
            &request,
        )
    }
    /// The key under which `cancel_order` stores its response: `last.<customer>`.
    pub fn cancel_order_key(
        customer: impl ::natsmicro::store::KeyToken,
    ) -> ::core::result::Result<::natsmicro::Key, ::natsmicro::store::InvalidKey> {
        ::natsmicro::__private::Method::kv_key(
            &OrderServiceDescriptor::CANCEL_ORDER,
            &[&customer],
        )
    }
    /// A pattern of the keys under which `cancel_order` stores its responses, `last.<customer>`: takes a value or [`Any`](natsmicro::store::Any) for each field.
    pub fn cancel_order_pattern(
        customer: impl ::natsmicro::store::PatternToken,
    ) -> ::core::result::Result<
        ::natsmicro::store::Pattern,
        ::natsmicro::store::InvalidKey,
    > {
        ::natsmicro::__private::Method::kv_pattern(
            &OrderServiceDescriptor::CANCEL_ORDER,
            &[&customer],
        )
    }
    /// The response of `cancel_order` from its store, or from `cancel_order` itself if it is not there.
    pub fn cancel_order_cached(
        &self,
        request: CancelOrder,
    ) -> ::natsmicro::CachedCall<Order, Status> {
        ::natsmicro::__private::ServiceClient::kv_cached(
            &self.inner,
            &OrderServiceDescriptor::CANCEL_ORDER,
            &request,
        )
    }
    /// A handle on the `orders` bucket, where `cancel_order` stores its responses.
    pub fn cancel_order_kv(&self) -> ::natsmicro::KvStore<Order> {
        ::natsmicro::__private::ServiceClient::kv_store(
            &self.inner,
            &OrderServiceDescriptor::CANCEL_ORDER,
        )
    }
    /// The entry that `cancel_order` stored under `key` in the `orders` bucket, if there is one.
    pub async fn get_cancel_order_from_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Order>,
        ::natsmicro::store::StoreError,
    > {
        ::natsmicro::KvStore::get(&self.cancel_order_kv(), key).await
    }
    /// Stores `value` under `key` in the `orders` bucket, as `cancel_order` does; gives the revision.
    pub async fn put_cancel_order_to_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Order,
    ) -> ::core::result::Result<::core::primitive::u64, ::natsmicro::store::StoreError> {
        ::natsmicro::KvStore::put(&self.cancel_order_kv(), key, value).await
    }
    /// Calls `prices`.
    pub fn prices(&self, request: PricesRequest) -> ::natsmicro::Call<Prices, Status> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &OrderServiceDescriptor::PRICES,
            &request,
        )
    }
    /// The key under which `prices` stores its response: `today`.
    pub fn prices_key() -> ::core::result::Result<
        ::natsmicro::Key,
        ::natsmicro::store::InvalidKey,
    > {
        ::natsmicro::__private::Method::kv_key(&OrderServiceDescriptor::PRICES, &[])
    }
    /// The response of `prices` from its store, or from `prices` itself if it is not there.
    pub fn prices_cached(
        &self,
        request: PricesRequest,
    ) -> ::natsmicro::CachedCall<Prices, Status> {
        ::natsmicro::__private::ServiceClient::kv_cached(
            &self.inner,
            &OrderServiceDescriptor::PRICES,
            &request,
        )
    }
    /// A handle on the `prices` bucket, where `prices` stores its responses.
    pub fn prices_kv(&self) -> ::natsmicro::KvStore<Prices> {
        ::natsmicro::__private::ServiceClient::kv_store(
            &self.inner,
            &OrderServiceDescriptor::PRICES,
        )
    }
    /// The entry that `prices` stored under `key` in the `prices` bucket, if there is one.
    pub async fn get_prices_from_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Prices>,
        ::natsmicro::store::StoreError,
    > {
        ::natsmicro::KvStore::get(&self.prices_kv(), key).await
    }
    /// Stores `value` under `key` in the `prices` bucket, as `prices` does; gives the revision.
    pub async fn put_prices_to_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Prices,
    ) -> ::core::result::Result<::core::primitive::u64, ::natsmicro::store::StoreError> {
        ::natsmicro::KvStore::put(&self.prices_kv(), key, value).await
    }
}
impl OrderService for OrderServiceClient {
    async fn place_order(&self, order: Order) -> Result<Receipt, OrderError> {
        OrderServiceClient::place_order(self, order).await
    }
    async fn cancel_order(&self, request: CancelOrder) -> Result<Order, Status> {
        OrderServiceClient::cancel_order(self, request).await
    }
    async fn prices(&self, request: PricesRequest) -> Result<Prices, Status> {
        OrderServiceClient::prices(self, request).await
    }
}
