#[natsmicro::service(name = "Orders", codec = "json", queue_group = false)]
pub trait OrderService {
    /// Places an order.
    #[endpoint(
        name = "place",
        timeout = "5s",
        metadata(operation = "write", "rate-limit" = "10/s"),
        queue_group = "writers",
        max_in_flight = 64
    )]
    #[kv_store(
        bucket = "orders",
        key = "<customer>.<response.number>.<customer>",
        description = "Every order",
        max_history = 1,
        ttl = "7d",
        key_ttl = "1h",
        purge_ttl = "10m",
        marker_ttl = "30s",
        persist = "before_response",
        write = "create",
        compression,
        storage = "memory",
        replicas = 3,
        max_bytes = "1GiB",
        max_value_size = "64KiB",
        metadata(team = "shop", "cost-centre" = "42")
    )]
    #[object_store(
        bucket = "receipts",
        key = "receipt.<response.number>",
        description = "Every receipt",
        ttl = "7d",
        persist = "after_response",
        compression = true,
        storage = "file",
        replicas = 3,
        max_bytes = "1GiB"
    )]
    async fn place_order(&self, order: Order) -> Result<Receipt, OrderError>;

    #[kv_store(bucket = "orders", key = "last.<customer>", client_only)]
    #[kv_delete(bucket = "orders", key = "last.<customer>")]
    #[kv_delete(bucket = "lists", key = "<response.list>", persist = "before_response", purge)]
    async fn cancel_order(&self, request: CancelOrder) -> Result<Order, Status>;

    #[kv_store(bucket = "prices", key = "today", client_only)]
    async fn prices(&self, request: PricesRequest) -> Result<Prices, Status>;
}
