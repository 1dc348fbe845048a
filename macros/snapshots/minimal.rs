pub trait Echo: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn echo(
        &self,
        request: Text,
    ) -> impl ::core::future::Future<
        Output = Result<Text, Status>,
    > + ::core::marker::Send;
}
/// How [`Echo`] looks on NATS: its names, settings and message types.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub enum EchoDescriptor {}
#[allow(dead_code)]
impl EchoDescriptor {
    const ECHO: ::natsmicro::__private::Method<Text, Text, Status> = ::natsmicro::__private::Method::new(
        0,
        ("Echo", "echo"),
        <Text as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Text as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Status as ::natsmicro::ServiceError>::CODEC,
    );
}
impl ::natsmicro::__private::Describe for EchoDescriptor {
    const SERVICE: ::natsmicro::__private::ServiceDescriptor = ::natsmicro::__private::ServiceDescriptor::new(
        "Echo",
        "echo",
        1,
    );
}
impl<S: Echo> ::natsmicro::__private::Dispatch<S> for EchoDescriptor {
    fn register(router: &mut ::natsmicro::__private::Router<S>) {
        router
            .unary(
                &Self::ECHO,
                |service, _cx, request| async move {
                    <S as Echo>::echo(&service, request).await
                },
            );
    }
}
/// Serves an implementation of [`Echo`]: `EchoServer::new(value)` goes to [`Server::add_service`](natsmicro::Server::add_service).
#[allow(dead_code)]
pub type EchoServer<S> = ::natsmicro::ServiceServer<S, EchoDescriptor>;
/// Calls [`Echo`] over NATS and reads and writes its stores. Cheap to clone.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct EchoClient {
    inner: ::natsmicro::__private::ServiceClient,
}
#[allow(dead_code)]
impl EchoClient {
    /// A client of [`Echo`]; takes an `async_nats::Client` or a [`Client`](natsmicro::Client) with options.
    #[must_use]
    pub fn new(client: impl ::core::convert::Into<::natsmicro::Client>) -> Self {
        Self {
            inner: ::natsmicro::__private::ServiceClient::new::<
                EchoDescriptor,
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
    /// Calls `echo`.
    pub fn echo(&self, request: Text) -> ::natsmicro::Call<Text, Status> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &EchoDescriptor::ECHO,
            &request,
        )
    }
}
impl Echo for EchoClient {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        EchoClient::echo(self, request).await
    }
}
