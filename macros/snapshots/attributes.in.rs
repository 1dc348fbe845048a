/// Has a bit of everything that a method can be.
#[cfg(feature = "shop")]
#[deprecated(note = "use `Shop`")]
#[natsmicro::service(crate = ::other, codec = crate::Cbor)]
pub(crate) trait r#Match: Named {
    /// Matches only on Unix.
    #[cfg(unix)]
    #[kv_store(bucket = "matches", key = "<type>")]
    async fn r#yield(&self, request: Yield) -> other::Result<Found>;

    #[deprecated]
    #[must_use]
    #[object_store(bucket = "archive", key = "a.{id}")]
    async fn archive(&self, cx: &other::Context, request: Archive) -> Result<Found, MatchError>;

    #[endpoint(idempotent)]
    async fn ping(&self) -> Result<(), Status>;

    async fn uptime(&self, cx: &other::Context) -> Result<Uptime, Status>;

    /// For callers in this process.
    #[endpoint(skip)]
    async fn local(&self, limit: u32, name: &str) -> Result<u32, Status>;
}
