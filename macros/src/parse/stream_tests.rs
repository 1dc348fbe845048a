use crate::validate::tests::messages;

#[test]
fn what_was_meant_to_be_a_stream() {
    for (method, expected) in [
        (
            "async fn a(&self, x: Option<Streaming<X>>) -> Result<(), E>;",
            "a stream cannot be a part of another type",
        ),
        (
            "async fn a(&self, x: (X, [Streaming<X>; 2])) -> Result<(), E>;",
            "a stream cannot be a part of another type",
        ),
        (
            "async fn a(&self) -> ApiResult<Vec<Streaming<X>>>;",
            "a stream cannot be a part of another type",
        ),
        (
            "async fn a(&self, x: &mut natsmicro::Streaming<X>) -> Result<(), E>;",
            "a stream has one reader, so it is passed by value",
        ),
        (
            "async fn a(&self) -> Result<Streaming<Box<Streaming<X>>>, E>;",
            "a stream cannot carry streams",
        ),
        (
            "async fn a(&self) -> Result<Streaming<natsmicro::Result<X>>, E>;",
            "a stream carries messages, not results",
        ),
        (
            "async fn a(&self, x: impl Stream<Item = X> + Send) -> Result<(), E>;",
            "only a `Streaming` can travel over NATS",
        ),
        (
            "async fn a(&self) -> Result<Pin<Box<dyn Stream<Item = Result<X, Status>>>>, E>;",
            "only a `Streaming` can travel over NATS",
        ),
        (
            "async fn a(&self) -> Result<BoxStream<'static, X>, E>;",
            "only a `Streaming` can travel over NATS",
        ),
        (
            "async fn a(&self) -> Option<Streaming<X>>;",
            "a service method must return `Result<T, E>`, not `Option<Streaming<X>>`",
        ),
        (
            "async fn a(&self, x: Streaming<&X>) -> Result<(), E>;",
            "a request is decoded for each call, so it cannot borrow",
        ),
        (
            "async fn a(&self, x: X, y: Streaming<X>) -> Result<(), E>;",
            "method `a` takes two requests",
        ),
        (
            "#[stream(window = 1)] async fn a(&self, x: X) -> Result<(), E>;",
            "`#[stream]` has no effect here: `a` does not stream",
        ),
        (
            "#[stream(window = 1)] #[endpoint(skip)] async fn a(&self) -> Result<Streaming<X>, E>;",
            "nothing is streamed by a skipped method",
        ),
        (
            "#[stream] async fn a(&self) -> Result<Streaming<X>, E>;",
            "`#[stream]` needs a window",
        ),
        (
            "#[kv_store(bucket = \"b\", key = \"<response.id>\")] async fn a(&self, x: Streaming<X>) -> Result<X, E>;",
            "the response to a stream cannot be stored",
        ),
        (
            "#[kv_store(bucket = \"b\", key = \"<id>\")] async fn a(&self) -> Result<Streaming<X>, E>;",
            "a streamed response cannot be stored",
        ),
    ] {
        assert_eq!(messages("", method), [expected], "{method}");
    }
}

#[test]
fn what_is_a_stream() {
    for method in [
        "async fn a(&self) -> Result<Streaming<X>, E>;",
        "async fn a(&self, cx: &Context, x: Streaming<X>) -> ApiResult<natsmicro::Streaming<X>>;",
        "#[stream(window = 65_536)] #[endpoint(max_in_flight = 1)] async fn a(&self, x: Streaming<X>) -> Result<(), E>;",
        "#[stream(window_bytes = 1024)] async fn a(&self) -> Result<Streaming<X>, E>;",
        "#[stream(window = 1, window_bytes = \"64MiB\")] async fn a(&self) -> Result<Streaming<X>, E>;",
        "async fn a(&self, x: Streaming) -> Result<other::Streaming, E>;",
        "async fn a(&self, x: Streaming<Result<X, String>>) -> Result<(), E>;",
        "#[endpoint(skip)] async fn a(&self, x: &[Streaming<X>]) -> Result<Option<Streaming<X>>, E>;",
    ] {
        assert_eq!(messages("", method), Vec::<String>::new(), "{method}");
    }
}
