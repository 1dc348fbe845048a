/// Stores user profiles.
pub trait UserService: ::core::marker::Send + ::core::marker::Sync + 'static {
    /// Saves a profile.
    fn save_profile(
        &self,
        request: SaveProfileRequest,
    ) -> impl ::core::future::Future<
        Output = Result<Profile, Status>,
    > + ::core::marker::Send;
    fn generate_report(
        &self,
        cx: &Context,
        request: ReportRequest,
    ) -> impl ::core::future::Future<
        Output = Result<Report, Status>,
    > + ::core::marker::Send;
}
/// How [`UserService`] looks on NATS: its names, settings and message types.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub enum UserServiceDescriptor {}
#[allow(dead_code)]
impl UserServiceDescriptor {
    const SAVE_PROFILE: ::natsmicro::__private::Method<
        SaveProfileRequest,
        Profile,
        Status,
    > = ::natsmicro::__private::Method::new(
            0,
            ("UserService", "save_profile"),
            <SaveProfileRequest as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Profile as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Status as ::natsmicro::ServiceError>::CODEC,
        )
        .kv_store(
            ::natsmicro::__private::BucketDescriptor::kv("user_profiles")
                .max_history(5)
                .ttl(::core::time::Duration::from_secs(3600)),
            ::natsmicro::__private::Usage::new(),
            ::natsmicro::__private::StoreKey::new(
                &[
                    ::natsmicro::__private::KeyPart::Text("user."),
                    ::natsmicro::__private::KeyPart::Request("id"),
                ],
                |request, key| key.bind(&[&((*request).id)]),
            ),
        );
    const GENERATE_REPORT: ::natsmicro::__private::Method<
        ReportRequest,
        Report,
        Status,
    > = ::natsmicro::__private::Method::new(
            1,
            ("UserService", "generate_report"),
            <ReportRequest as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Report as ::natsmicro::__private::ProtobufMessage>::CODEC,
            <Status as ::natsmicro::ServiceError>::CODEC,
        )
        .timeout(::core::time::Duration::from_secs(60))
        .metadata(&[("operation", "read")])
        .object_store(
            ::natsmicro::__private::BucketDescriptor::object("reports"),
            ::natsmicro::__private::Usage::new(),
            ::natsmicro::__private::StoreKey::new(
                &[
                    ::natsmicro::__private::KeyPart::Text("report."),
                    ::natsmicro::__private::KeyPart::Request("id"),
                ],
                |request, key| key.bind(&[&((*request).id)]),
            ),
        );
}
impl ::natsmicro::__private::Describe for UserServiceDescriptor {
    const SERVICE: ::natsmicro::__private::ServiceDescriptor = ::natsmicro::__private::ServiceDescriptor::new(
            "UserService",
            "api.v1",
            2,
        )
        .version("1.2.0")
        .description("Stores user profiles.")
        .timeout(::core::time::Duration::from_secs(30))
        .metadata(&[("team", "platform")]);
}
impl<S: UserService> ::natsmicro::__private::Dispatch<S> for UserServiceDescriptor {
    fn register(router: &mut ::natsmicro::__private::Router<S>) {
        router
            .unary(
                &Self::SAVE_PROFILE,
                |service, _cx, request| async move {
                    <S as UserService>::save_profile(&service, request).await
                },
            );
        router
            .unary(
                &Self::GENERATE_REPORT,
                |service, cx, request| async move {
                    <S as UserService>::generate_report(&service, &cx, request).await
                },
            );
    }
}
/// Serves an implementation of [`UserService`]: `UserServiceServer::new(value)` goes to [`Server::add_service`](natsmicro::Server::add_service).
#[allow(dead_code)]
pub type UserServiceServer<S> = ::natsmicro::ServiceServer<S, UserServiceDescriptor>;
/// Calls [`UserService`] over NATS and reads and writes its stores. Cheap to clone.
#[allow(dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct UserServiceClient {
    inner: ::natsmicro::__private::ServiceClient,
}
#[allow(dead_code)]
impl UserServiceClient {
    /// A client of [`UserService`]; takes an `async_nats::Client` or a [`Client`](natsmicro::Client) with options.
    #[must_use]
    pub fn new(client: impl ::core::convert::Into<::natsmicro::Client>) -> Self {
        Self {
            inner: ::natsmicro::__private::ServiceClient::new::<
                UserServiceDescriptor,
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
    /// Saves a profile.
    pub fn save_profile(
        &self,
        request: SaveProfileRequest,
    ) -> ::natsmicro::Call<Profile, Status> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &UserServiceDescriptor::SAVE_PROFILE,
            &request,
        )
    }
    /// The key under which `save_profile` stores its response: `user.<id>`.
    pub fn save_profile_key(
        id: impl ::natsmicro::store::KeyToken,
    ) -> ::core::result::Result<::natsmicro::Key, ::natsmicro::store::InvalidKey> {
        ::natsmicro::__private::Method::kv_key(
            &UserServiceDescriptor::SAVE_PROFILE,
            &[&id],
        )
    }
    /// A pattern of the keys under which `save_profile` stores its responses, `user.<id>`: takes a value or [`Any`](natsmicro::store::Any) for each field.
    pub fn save_profile_pattern(
        id: impl ::natsmicro::store::PatternToken,
    ) -> ::core::result::Result<
        ::natsmicro::store::Pattern,
        ::natsmicro::store::InvalidKey,
    > {
        ::natsmicro::__private::Method::kv_pattern(
            &UserServiceDescriptor::SAVE_PROFILE,
            &[&id],
        )
    }
    /// The response of `save_profile` from its store, or from `save_profile` itself if it is not there.
    pub fn save_profile_cached(
        &self,
        request: SaveProfileRequest,
    ) -> ::natsmicro::CachedCall<Profile, Status> {
        ::natsmicro::__private::ServiceClient::kv_cached(
            &self.inner,
            &UserServiceDescriptor::SAVE_PROFILE,
            &request,
        )
    }
    /// A handle on the `user_profiles` bucket, where `save_profile` stores its responses.
    pub fn save_profile_kv(&self) -> ::natsmicro::KvStore<Profile> {
        ::natsmicro::__private::ServiceClient::kv_store(
            &self.inner,
            &UserServiceDescriptor::SAVE_PROFILE,
        )
    }
    /// The entry that `save_profile` stored under `key` in the `user_profiles` bucket, if there is one.
    pub async fn get_save_profile_from_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Profile>,
        ::natsmicro::store::StoreError,
    > {
        ::natsmicro::KvStore::get(&self.save_profile_kv(), key).await
    }
    /// Stores `value` under `key` in the `user_profiles` bucket, as `save_profile` does; gives the revision.
    pub async fn put_save_profile_to_kv(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Profile,
    ) -> ::core::result::Result<::core::primitive::u64, ::natsmicro::store::StoreError> {
        ::natsmicro::KvStore::put(&self.save_profile_kv(), key, value).await
    }
    /// Calls `generate_report`.
    pub fn generate_report(
        &self,
        request: ReportRequest,
    ) -> ::natsmicro::Call<Report, Status> {
        ::natsmicro::__private::ServiceClient::call(
            &self.inner,
            &UserServiceDescriptor::GENERATE_REPORT,
            &request,
        )
    }
    /// The key under which `generate_report` stores its response: `report.<id>`.
    pub fn generate_report_key(
        id: impl ::natsmicro::store::KeyToken,
    ) -> ::core::result::Result<::natsmicro::Key, ::natsmicro::store::InvalidKey> {
        ::natsmicro::__private::Method::object_key(
            &UserServiceDescriptor::GENERATE_REPORT,
            &[&id],
        )
    }
    /// The response of `generate_report` from its store, or from `generate_report` itself if it is not there.
    pub fn generate_report_cached(
        &self,
        request: ReportRequest,
    ) -> ::natsmicro::CachedCall<Report, Status> {
        ::natsmicro::__private::ServiceClient::object_cached(
            &self.inner,
            &UserServiceDescriptor::GENERATE_REPORT,
            &request,
        )
    }
    /// A handle on the `reports` object store, where `generate_report` stores its responses.
    pub fn generate_report_object_store(&self) -> ::natsmicro::ObjectStore<Report> {
        ::natsmicro::__private::ServiceClient::object_store(
            &self.inner,
            &UserServiceDescriptor::GENERATE_REPORT,
        )
    }
    /// The object that `generate_report` stored under `key` in the `reports` object store, if there is one.
    pub async fn get_generate_report_from_object_store(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
    ) -> ::core::result::Result<
        ::core::option::Option<Report>,
        ::natsmicro::store::StoreError,
    > {
        ::natsmicro::ObjectStore::get(&self.generate_report_object_store(), key).await
    }
    /// Stores `value` under `key` in the `reports` object store, as `generate_report` does; gives the revision.
    pub async fn put_generate_report_to_object_store(
        &self,
        key: impl ::core::convert::AsRef<::core::primitive::str>,
        value: &Report,
    ) -> ::core::result::Result<::core::primitive::u64, ::natsmicro::store::StoreError> {
        ::natsmicro::ObjectStore::put(&self.generate_report_object_store(), key, value)
            .await
    }
}
impl UserService for UserServiceClient {
    async fn save_profile(
        &self,
        request: SaveProfileRequest,
    ) -> Result<Profile, Status> {
        UserServiceClient::save_profile(self, request).await
    }
    async fn generate_report(
        &self,
        cx: &Context,
        request: ReportRequest,
    ) -> Result<Report, Status> {
        UserServiceClient::generate_report(self, request).with_context(cx).await
    }
}
