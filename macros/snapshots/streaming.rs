pub trait Numbers: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn count_up(
        &self,
        request: CountRequest,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<Count>, Status>,
    > + ::core::marker::Send;
    fn sum(
        &self,
        numbers: Streaming<Number>,
    ) -> impl ::core::future::Future<
        Output = Result<Total, Status>,
    > + ::core::marker::Send;
    fn chat(
        &self,
        cx: &Context,
        lines: Streaming<Line>,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<Line>, Status>,
    > + ::core::marker::Send;
    fn ticks(
        &self,
    ) -> impl ::core::future::Future<
        Output = Result<natsmicro::Streaming<Tick>, Status>,
    > + ::core::marker::Send;
}
/// How [`Numbers`] looks on NATS: its names, settings and message types.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub enum NumbersDescriptor {}
#[allow(dead_code)]
impl NumbersDescriptor {
    const COUNT_UP: ::natsmicro::__private::Method<CountRequest, Count, Status> = ::natsmicro::__private::Method::new(
        0,
        ("Numbers", "count_up"),
        <CountRequest as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Count as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Status as ::natsmicro::ServiceError>::CODEC,
    );
    const SUM: ::natsmicro::__private::Method<Number, Total, Status> = ::natsmicro::__private::Method::new(
            1,
            ("Numbers", "sum"),
            <Number as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Total as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Status as ::natsmicro::ServiceError>::CODEC,
        )
        .window(4096);
    const CHAT: ::natsmicro::__private::Method<Line, Line, Status> = ::natsmicro::__private::Method::new(
            2,
            ("Numbers", "chat"),
            <Line as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Line as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Status as ::natsmicro::ServiceError>::CODEC,
        )
        .timeout(::core::time::Duration::from_secs(3600))
        .max_in_flight(16)
        .validate(|request, into_status| {
            let function: fn(&Line) -> _ = Line::check;
            ::natsmicro::__private::validated(function(request), into_status)
        })
        .window(64)
        .window_bytes(16384);
    const TICKS: ::natsmicro::__private::Method<(), Tick, Status> = ::natsmicro::__private::Method::new(
        3,
        ("Numbers", "ticks"),
        <() as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Tick as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Status as ::natsmicro::ServiceError>::CODEC,
    );
}
impl ::natsmicro::__private::Describe for NumbersDescriptor {
    const SERVICE: ::natsmicro::__private::ServiceDescriptor = ::natsmicro::__private::ServiceDescriptor::new(
        "Numbers",
        "numbers",
        4,
    );
}
impl<S: Numbers> ::natsmicro::__private::Dispatch<S> for NumbersDescriptor {
    fn register(router: &mut ::natsmicro::__private::Router<S>) {
        router
            .server_streaming(
                &Self::COUNT_UP,
                |service, _cx, request| async move {
                    <S as Numbers>::count_up(&service, request).await
                },
            );
        router
            .client_streaming(
                &Self::SUM,
                |service, _cx, request| async move {
                    <S as Numbers>::sum(&service, request).await
                },
            );
        router
            .bidirectional(
                &Self::CHAT,
                |service, cx, request| async move {
                    <S as Numbers>::chat(&service, &cx, request).await
                },
            );
        router
            .server_streaming(
                &Self::TICKS,
                |service, _cx, ()| async move { <S as Numbers>::ticks(&service).await },
            );
    }
}
/// Serves an implementation of [`Numbers`]: `NumbersServer::new(value)` goes to [`Server::add_service`](natsmicro::Server::add_service).
#[allow(dead_code)]
pub type NumbersServer<S> = ::natsmicro::ServiceServer<S, NumbersDescriptor>;
/// Calls [`Numbers`] over NATS and reads and writes its stores. Cheap to clone.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct NumbersClient {
    inner: ::natsmicro::__private::ServiceClient,
}
#[allow(dead_code)]
impl NumbersClient {
    /// A client of [`Numbers`]; takes an `async_nats::Client` or a [`Client`](natsmicro::Client) with options.
    #[must_use]
    pub fn new(client: impl ::core::convert::Into<::natsmicro::Client>) -> Self {
        Self {
            inner: ::natsmicro::__private::ServiceClient::new::<
                NumbersDescriptor,
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
    /// Calls `count_up`.
    pub fn count_up(
        &self,
        request: CountRequest,
    ) -> ::natsmicro::Call<Streaming<Count>, Status> {
        ::natsmicro::__private::ServiceClient::server_streaming(
            &self.inner,
            &NumbersDescriptor::COUNT_UP,
            &request,
        )
    }
    /// Calls `sum`.
    pub fn sum(&self, numbers: Streaming<Number>) -> ::natsmicro::Call<Total, Status> {
        ::natsmicro::__private::ServiceClient::client_streaming(
            &self.inner,
            &NumbersDescriptor::SUM,
            numbers,
        )
    }
    /// Calls `chat`.
    pub fn chat(
        &self,
        lines: Streaming<Line>,
    ) -> ::natsmicro::Call<Streaming<Line>, Status> {
        ::natsmicro::__private::ServiceClient::bidirectional(
            &self.inner,
            &NumbersDescriptor::CHAT,
            lines,
        )
    }
    /// Calls `ticks`.
    pub fn ticks(&self) -> ::natsmicro::Call<natsmicro::Streaming<Tick>, Status> {
        ::natsmicro::__private::ServiceClient::server_streaming(
            &self.inner,
            &NumbersDescriptor::TICKS,
            &(),
        )
    }
}
impl Numbers for NumbersClient {
    async fn count_up(&self, request: CountRequest) -> Result<Streaming<Count>, Status> {
        NumbersClient::count_up(self, request).await
    }
    async fn sum(&self, numbers: Streaming<Number>) -> Result<Total, Status> {
        NumbersClient::sum(self, numbers).await
    }
    async fn chat(
        &self,
        cx: &Context,
        lines: Streaming<Line>,
    ) -> Result<Streaming<Line>, Status> {
        NumbersClient::chat(self, lines).with_context(cx).await
    }
    async fn ticks(&self) -> Result<natsmicro::Streaming<Tick>, Status> {
        NumbersClient::ticks(self).await
    }
}
