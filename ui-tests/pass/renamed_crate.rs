//! The runtime under another name, without a prelude, and a trait named as what the macro uses.
#![no_implicit_prelude]
#![deny(warnings)]

extern crate natsmicro as some_other_name;

mod natsmicro {}
mod core {}
mod std {}

#[some_other_name::service(crate = ::some_other_name)]
pub trait Service {
    #[endpoint(timeout = "1s", metadata(a = "b"), queue_group = false)]
    #[kv_store(
        bucket = "b",
        key = "<id>.<response.id>",
        ttl = "1h",
        metadata(a = "b")
    )]
    #[object_store(bucket = "b", key = "<id>", persist = "before_response")]
    async fn send(
        &self,
        cx: &some_other_name::Context,
        request: ::natsmicro_ui_tests::SaveUser,
    ) -> ::core::result::Result<::natsmicro_ui_tests::User, Error>;

    #[some_other_name::stream(window = 16)]
    async fn sync(
        &self,
        cx: &some_other_name::Context,
        users: some_other_name::Streaming<::natsmicro_ui_tests::User>,
    ) -> ::core::result::Result<some_other_name::Streaming<::natsmicro_ui_tests::User>, Error>;
}

#[derive(::core::fmt::Debug, some_other_name::ServiceError)]
#[service_error(crate = ::some_other_name)]
pub enum Error {
    #[code("GONE")]
    Gone {
        id: ::std::string::String,
    },
    #[code("BUSY")]
    Busy,
    Other(some_other_name::Status),
}

impl ::core::fmt::Display for Error {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.write_str("an error")
    }
}

pub struct Send;

impl Service for Send {
    async fn send(
        &self,
        _cx: &some_other_name::Context,
        _request: ::natsmicro_ui_tests::SaveUser,
    ) -> ::core::result::Result<::natsmicro_ui_tests::User, Error> {
        ::core::result::Result::Err(Error::Busy)
    }

    async fn sync(
        &self,
        _cx: &some_other_name::Context,
        users: some_other_name::Streaming<::natsmicro_ui_tests::User>,
    ) -> ::core::result::Result<some_other_name::Streaming<::natsmicro_ui_tests::User>, Error> {
        ::core::result::Result::Ok(users)
    }
}

pub fn server() -> ServiceServer<Send> {
    ServiceServer::new(Send)
}
