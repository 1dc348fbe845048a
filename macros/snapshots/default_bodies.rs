pub trait Users: ::core::marker::Send + ::core::marker::Sync + 'static {
    #[allow(unused_variables)]
    fn find(
        &self,
        FindUser { id, .. }: FindUser,
    ) -> impl ::core::future::Future<
        Output = Result<User, Status>,
    > + ::core::marker::Send {
        async move {
            if let ::core::option::Option::Some(output) = ::core::option::Option::None::<
                Result<User, Status>,
            > {
                return output;
            }
            Err(Status::unimplemented("users are not found here"))
        }
    }
    fn list(
        &self,
        cx: &Context,
        mut request: ListUsers,
    ) -> impl ::core::future::Future<
        Output = natsmicro::Result<Streaming<User>>,
    > + ::core::marker::Send {
        async move {
            if let ::core::option::Option::Some(output) = ::core::option::Option::None::<
                natsmicro::Result<Streaming<User>>,
            > {
                return output;
            }
            request.limit = request.limit.min(100);
            self.list_all(request, cx.remaining()).await
        }
    }
    fn list_all(
        &self,
        request: ListUsers,
        timeout: Option<Duration>,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<User>, Status>,
    > + ::core::marker::Send {
        async move {
            if let ::core::option::Option::Some(output) = ::core::option::Option::None::<
                Result<Streaming<User>, Status>,
            > {
                return output;
            }
            Ok(Streaming::new(empty()))
        }
    }
}
/// How [`Users`] looks on NATS: its names, settings and message types.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub enum UsersDescriptor {}
#[allow(dead_code)]
impl UsersDescriptor {
    const FIND: ::natsmicro::__private::Method<FindUser, User, Status> = ::natsmicro::__private::Method::new(
        0,
        ("Users", "find"),
        <FindUser as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <User as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <Status as ::natsmicro::ServiceError>::CODEC,
    );
    const LIST: ::natsmicro::__private::Method<
        ListUsers,
        User,
        <natsmicro::Result<Streaming<User>> as ::natsmicro::__private::Outcome>::Error,
    > = ::natsmicro::__private::Method::new(
        1,
        ("Users", "list"),
        <ListUsers as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <User as ::natsmicro::__private::ProtobufMessage>::CODEC,
        <<natsmicro::Result<
            Streaming<User>,
        > as ::natsmicro::__private::Outcome>::Error as ::natsmicro::ServiceError>::CODEC,
    );
}
impl ::natsmicro::__private::Describe for UsersDescriptor {
    const SERVICE: ::natsmicro::__private::ServiceDescriptor = ::natsmicro::__private::ServiceDescriptor::new(
        "Users",
        "users",
        3,
    );
}
impl<S: Users> ::natsmicro::__private::Dispatch<S> for UsersDescriptor {
    fn register(router: &mut ::natsmicro::__private::Router<S>) {
        router
            .unary(
                &Self::FIND,
                |service, _cx, request| async move {
                    <S as Users>::find(&service, request).await
                },
            );
        router
            .server_streaming(
                &Self::LIST,
                |service, cx, request| async move {
                    ::natsmicro::__private::Outcome::into_result(
                        <S as Users>::list(&service, &cx, request).await,
                    )
                },
            );
    }
}
/// Serves an implementation of [`Users`]: `UsersServer::new(value)` goes to [`Server::add_service`](natsmicro::Server::add_service).
#[allow(dead_code)]
pub type UsersServer<S> = ::natsmicro::ServiceServer<S, UsersDescriptor>;
/// Calls [`Users`] over NATS and reads and writes its stores. Cheap to clone.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct UsersClient {
    inner: ::natsmicro::__private::ServiceClient,
}
#[allow(dead_code)]
impl UsersClient {
    /// A client of [`Users`]; takes an `async_nats::Client` or a [`Client`](natsmicro::Client) with options.
    #[must_use]
    pub fn new(client: impl ::core::convert::Into<::natsmicro::Client>) -> Self {
        Self {
            inner: ::natsmicro::__private::ServiceClient::new::<
                UsersDescriptor,
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
    /// Calls `find`.
    #[allow(unused_variables)]
    pub fn find(&self, request: FindUser) -> ::natsmicro::Call<User, Status> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &UsersDescriptor::FIND,
            &request,
        )
    }
    /// Calls `list`.
    pub fn list(
        &self,
        request: ListUsers,
    ) -> ::natsmicro::Call<
        <natsmicro::Result<Streaming<User>> as ::natsmicro::__private::Outcome>::Ok,
        <natsmicro::Result<Streaming<User>> as ::natsmicro::__private::Outcome>::Error,
    > {
        ::natsmicro::__private::ServiceClient::server_streaming(
            &self.inner,
            &UsersDescriptor::LIST,
            &request,
        )
    }
}
impl Users for UsersClient {
    async fn find(&self, request: FindUser) -> Result<User, Status> {
        UsersClient::find(self, request).await
    }
    async fn list(
        &self,
        cx: &Context,
        request: ListUsers,
    ) -> natsmicro::Result<Streaming<User>> {
        ::natsmicro::__private::Outcome::from_result(
            UsersClient::list(self, request).with_context(cx).await,
        )
    }
}
