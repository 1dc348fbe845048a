//! Generated code in surroundings that are not kind to it.
//!
//! A program of its own: some of its lints are of a whole crate or of what a crate lets out, and so is another name for `natsmicro`.

#![deny(warnings, missing_docs, deprecated)]
#![deny(
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    missing_debug_implementations,
    non_ascii_idents,
    rust_2018_idioms,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unnameable_types,
    unreachable_pub,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    variant_size_differences
)]
#![deny(clippy::all, clippy::pedantic)]

extern crate natsmicro as renamed;

pub mod placement;

use natsmicro::Status;
use natsmicro_tests::common::{Nats, TestResult, Text, error_of, text};

/// No prelude: neither `Result` nor `Ok`, `Some`, `Into` or `ToString`, nor the tools that attributes such as
/// `#[diagnostic::on_unimplemented]` belong to.
#[no_implicit_prelude]
mod without_prelude {
    use ::std::result::Result;

    #[derive(::std::clone::Clone, ::std::fmt::Debug, ::serde::Serialize, ::serde::Deserialize)]
    pub(crate) struct Put {
        pub(crate) id: ::std::string::String,
        pub(crate) n: u64,
    }

    #[derive(::std::fmt::Debug, ::thiserror::Error, ::natsmicro::ServiceError)]
    pub(crate) enum BareError {
        #[error("odd {n}")]
        #[code("ODD")]
        Odd { n: u64 },
        #[error("nothing")]
        #[code("NOTHING")]
        Nothing,
        #[error(transparent)]
        Other(::natsmicro::Status),
    }

    #[::natsmicro::service(codec = "json", timeout = "1s", metadata(a = "b"))]
    pub(crate) trait Bare {
        #[kv_store(
            bucket = "bare",
            key = "<id>.<response.n>",
            ttl = "1h",
            persist = "before_response"
        )]
        #[kv_delete(bucket = "bare", key = "old.<response.id>.<n>", purge)]
        async fn put(&self, cx: &::natsmicro::Context, request: Put) -> Result<Put, BareError>;
    }

    pub(crate) struct Service;

    impl Bare for Service {
        async fn put(&self, _cx: &::natsmicro::Context, request: Put) -> Result<Put, BareError> {
            match request.n {
                0 => Result::Err(BareError::Nothing),
                n if n % 2 == 1 => Result::Err(BareError::Odd { n }),
                _ => Result::Ok(request),
            }
        }
    }
}

#[tokio::test]
async fn no_prelude() -> TestResult {
    use without_prelude::{BareClient, BareError, BareServer, Put, Service};

    let nats = Nats::start().await;
    let server = nats.persisting().add_service(BareServer::new(Service));
    let server = server.start().await?;
    let connection = natsmicro::Client::new(nats.caller.clone()).with_jetstream(nats.jetstream());
    let client = BareClient::new(connection);
    let put = |n| Put { id: "a".into(), n };
    assert_eq!(client.put(put(2)).await?.n, 2);
    let error = client.put(put(3)).await.unwrap_err();
    assert!(matches!(error, BareError::Odd { n: 3 }), "{error}");
    let key = BareClient::put_key("a", 2_u64)?;
    assert_eq!(client.get_put_from_kv(key).await?.unwrap().id, "a");
    let error = client.put(put(0)).await.unwrap_err();
    assert!(matches!(error, BareError::Nothing), "{error}");
    server.stop().await?;
    Ok(())
}

/// Names of the prelude and of the crates that mean something else, and methods that everything has.
#[allow(
    dead_code,
    unused_macros,
    non_camel_case_types,
    reason = "that is the point"
)]
mod shadowed {
    use super::{Status, Text};

    struct Result;
    struct Ok;
    struct Err;
    struct Some;
    struct None;
    struct Option;
    struct Vec;
    struct String;
    struct Box;
    struct Clone;
    struct Debug;
    struct Send;
    struct Sync;
    struct Future;
    struct Into;
    struct AsRef;
    struct str;
    struct u64;
    struct bool;
    mod core {}
    mod std {}
    mod natsmicro {}

    macro_rules! panic {
        () => {};
    }
    macro_rules! unimplemented {
        () => {};
    }
    macro_rules! format {
        () => {};
    }

    trait Everywhere: Sized {
        fn into(&self) {}
        fn clone(&self) {}
        fn as_ref(&self) {}
        fn call(&self) {}
        fn unary(&self) {}
        fn kv_deletes(&self) {}
        fn purge(&self) {}
        fn put(&self) {}
        fn get(&self) {}
        fn fill(&self) {}
        fn to_string(&self) {}
        fn with_context(&self) {}
    }

    impl<T> Everywhere for T {}

    type AnswerResult = ::std::result::Result<Text, Status>;

    #[::natsmicro::service]
    pub(crate) trait Shadowed {
        #[kv_store(bucket = "shadowed", key = "<text>", max_history = 3)]
        #[kv_delete(bucket = "shadowed", key = "old.<text>", persist = "after_response")]
        async fn answer(&self, cx: &::natsmicro::Context, request: Text) -> AnswerResult;
        async fn nothing(&self) -> ::natsmicro::Result<()>;
    }

    #[derive(::std::fmt::Debug, ::thiserror::Error, ::natsmicro::ServiceError)]
    pub(crate) enum Failure {
        #[error("ok {ok}")]
        #[code("OK")]
        Ok {
            ok: i8,
            some: ::std::option::Option<i8>,
        },
        #[error("none")]
        #[code("NONE")]
        None,
        #[error(transparent)]
        Some(Status),
    }
}

/// All names with `r#`.
mod raw {
    use natsmicro::Status;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Message {
        #[prost(string, tag = "1")]
        pub(crate) r#type: String,
    }

    #[natsmicro::service]
    pub(crate) trait r#Dyn {
        #[kv_store(bucket = "raw", key = "<type>.{type}.<response.type>")]
        #[kv_delete(bucket = "raw", key = "{type}.<response.type>")]
        async fn r#yield(&self, r#in: Message) -> Result<Message, Status>;
        #[endpoint(metadata(r#type = "t"))]
        async fn r#match(&self) -> Result<(), Status>;
    }

    pub(crate) struct Service;

    impl r#Dyn for Service {
        async fn r#yield(&self, r#in: Message) -> Result<Message, Status> {
            Ok(r#in)
        }
        async fn r#match(&self) -> Result<(), Status> {
            Ok(())
        }
    }
}

#[tokio::test]
async fn raw_identifiers() -> TestResult {
    let nats = Nats::start().await;
    let service = raw::DynServer::new(raw::Service);
    let server = nats.persisting().add_service(service).start().await?;
    let info = server.info().remove(0);
    assert_eq!(info.name, "Dyn");
    let subjects: Vec<_> = info.endpoints.iter().map(|e| e.subject.as_str()).collect();
    assert_eq!(subjects, ["dyn.yield", "dyn.match"]);
    assert_eq!(info.endpoints[1].metadata["type"], "t");

    let connection = natsmicro::Client::new(nats.caller.clone()).with_jetstream(nats.jetstream());
    let client = raw::DynClient::new(connection);
    let message = raw::Message { r#type: "a".into() };
    assert_eq!(client.r#yield(message.clone()).await?, message);
    client.r#match().await?;
    server.stop().await?;
    assert_eq!(client.get_yield_from_kv("a.a.a").await?, Some(message));
    assert_eq!(raw::DynClient::yield_key("a", "b")?.as_str(), "a.a.b");
    Ok(())
}

/// What is configured away is not looked at.
mod absent {
    use super::{Status, Text};

    #[natsmicro::service(subject_prefix = "absent")]
    pub(crate) trait Partly {
        #[cfg(any())]
        #[kv_store(bucket = "nowhere", key = "<missing>")]
        #[object_store(bucket = "nowhere", key = "<response.missing>")]
        #[kv_delete(bucket = "nowhere", key = "old.<response.missing>")]
        async fn gone(&self, cx: &Context, request: Missing) -> Result<Missing, Missing>;
        #[cfg(not(any(windows, unix)))]
        async fn elsewhere(&self, request: Missing) -> Result<Text, Status>;
        #[cfg(any(windows, unix))]
        async fn here(&self, request: Text) -> Result<Text, Status>;
        #[endpoint(skip)]
        #[cfg(any())]
        async fn gone_too(&self, request: Missing) -> MissingResult;
    }

    #[natsmicro::service]
    #[cfg(any())]
    trait Gone {
        async fn gone(&self, request: Missing) -> Result<Missing, Missing>;
    }

    pub(crate) struct Service;

    impl Partly for Service {
        async fn here(&self, request: Text) -> Result<Text, Status> {
            Ok(request)
        }
    }
}

#[tokio::test]
async fn methods_that_are_configured_away() -> TestResult {
    let nats = Nats::start().await;
    let service = absent::PartlyServer::new(absent::Service);
    let server = nats.persisting().add_service(service).start().await?;
    assert_eq!(server.info()[0].endpoints.len(), 1);
    let client = absent::PartlyClient::new(nats.caller.clone());
    assert_eq!(client.here(text("x")).await?, text("x"));
    Ok(())
}

/// The runtime under another name.
mod under_another_name {
    use super::{Text, renamed};

    #[renamed::service(crate = ::renamed, subject_prefix = "renamed")]
    pub(crate) trait Renamed {
        #[kv_store(bucket = "renamed", key = "<text>", client_only)]
        async fn fail(&self, cx: &renamed::Context, request: Text) -> Result<Text, Failure>;
    }

    #[derive(Debug, thiserror::Error, renamed::ServiceError)]
    #[service_error(crate = ::renamed)]
    pub(crate) enum Failure {
        #[error("failed")]
        #[code("FAILED")]
        Failed,
        #[error(transparent)]
        Other(renamed::Status),
    }

    pub(crate) struct Service;

    impl Renamed for Service {
        async fn fail(&self, _: &renamed::Context, _: Text) -> Result<Text, Failure> {
            Err(Failure::Failed)
        }
    }

    /// Through a re-export of the user's own.
    pub(crate) mod facade {
        pub(crate) use natsmicro as nm;

        #[nm::service(crate = crate::under_another_name::facade::nm)]
        pub(crate) trait Facade {
            async fn ping(&self) -> nm::Result<()>;
        }
    }
}

#[tokio::test]
async fn a_renamed_crate() -> TestResult {
    let nats = Nats::start().await;
    let service = under_another_name::RenamedServer::new(under_another_name::Service);
    let _server = nats.server().add_service(service).start().await?;
    let reply = nats.ask("renamed.fail", "").await;
    assert_eq!(error_of(&reply), Some(("FAILED", "failed")));
    let facade = under_another_name::facade::FacadeClient::new(nats.caller.clone());
    assert_eq!(
        facade.ping().await.unwrap_err().code().as_str(),
        "UNAVAILABLE"
    );
    Ok(())
}
