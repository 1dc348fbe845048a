//! Traits in all places, and the code that users write around them.

#![deny(warnings, missing_docs, unused_qualifications, unreachable_pub)]

use std::fmt::Debug;
use std::sync::Arc;

use natsmicro::{Context, ServiceServer, Status};
use natsmicro_tests::common::{Nats, TestResult, Text, text};

#[tokio::test]
async fn a_trait_in_a_function() -> TestResult {
    #[natsmicro::service(subject_prefix = "local")]
    trait Local {
        async fn double(&self, n: Text) -> Result<Text, Status>;
    }

    struct Service;

    impl Local for Service {
        async fn double(&self, n: Text) -> Result<Text, Status> {
            Ok(text(n.text.repeat(2)))
        }
    }

    let nats = Nats::start().await;
    let server = nats.server().add_service(LocalServer::new(Service));
    let _server = server.start().await?;
    let client = LocalClient::new(nats.caller.clone());
    assert_eq!(client.double(text("ab")).await?, text("abab"));
    Ok(())
}

/// What others may use.
pub mod visible {
    /// Answers.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Answer {
        /// The number.
        #[prost(uint64, tag = "1")]
        pub number: u64,
    }

    /// A documented service.
    #[natsmicro::service]
    pub trait Documented {
        /// Answers.
        #[kv_store(bucket = "documented", key = "<number>")]
        #[object_store(bucket = "documents", key = "doc.<number>")]
        async fn answer(&self, request: Answer) -> Result<Answer, natsmicro::Status>;
    }

    mod inner {
        /// Seen by the module above.
        #[natsmicro::service]
        pub(in crate::placement::visible) trait Inner {
            async fn ping(&self) -> natsmicro::Result<()>;
        }
    }

    /// A client of the service inside.
    #[must_use]
    pub fn is_there(nats: async_nats::Client) -> bool {
        let _client = inner::InnerClient::new(nats);
        true
    }
}

#[tokio::test]
async fn two_stores_with_two_templates() -> TestResult {
    use visible::DocumentedClient;

    assert_eq!(DocumentedClient::answer_kv_key(7_u64)?.as_str(), "7");
    assert_eq!(
        DocumentedClient::answer_object_key(7_u64)?.as_str(),
        "doc.7"
    );
    let nats = Nats::start().await;
    assert!(visible::is_there(nats.caller.clone()));
    Ok(())
}

mod deprecated {
    use super::{Status, Text};

    #[natsmicro::service(subject_prefix = "old")]
    pub(crate) trait Old {
        #[deprecated = "use `new`"]
        #[kv_store(bucket = "old", key = "<text>")]
        async fn ancient(&self, request: Text) -> Result<Text, Status>;
        async fn recent(&self) -> Result<(), Status>;
    }

    pub(crate) struct Service;

    impl Old for Service {
        async fn ancient(&self, request: Text) -> Result<Text, Status> {
            Ok(request)
        }
        async fn recent(&self) -> Result<(), Status> {
            Ok(())
        }
    }
}

#[tokio::test]
async fn a_deprecated_method_still_answers() -> TestResult {
    let nats = Nats::start().await;
    let service = deprecated::OldServer::new(deprecated::Service);
    let _server = nats.server().add_service(service).start().await?;
    let client = deprecated::OldClient::new(nats.caller.clone());
    #[allow(deprecated, reason = "it is called once more")]
    let answer = client.ancient(text("x")).await?;
    assert_eq!(answer, text("x"));
    client.recent().await?;
    Ok(())
}

/// A type of the user's with parameters of its own, and a supertrait.
trait Named {
    fn name(&self) -> String;
}

impl Named for GenericClient {
    fn name(&self) -> String {
        "client".to_owned()
    }
}

type TextResult = Result<Text, Status>;

#[natsmicro::service(subject_prefix = "generic")]
trait Generic: Named + Debug {
    async fn show(&self, _: &Context, request: Text) -> TextResult;
    async fn spread(&self, self_: Text) -> TextResult;
    async fn odd_names(&self, client: Text) -> natsmicro::Result<Text>;
    async fn odd_context(&self, service: &Context, router: Text) -> TextResult;
}

#[derive(Debug)]
struct Holder<T, const N: usize>([T; N]);

impl<T: Debug, const N: usize> Named for Holder<T, N> {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl<T, const N: usize> Generic for Holder<T, N>
where
    T: Debug + Send + Sync + 'static,
{
    async fn show(&self, _: &Context, _: Text) -> TextResult {
        Ok(text(self.name()))
    }
    async fn spread(&self, Text { text }: Text) -> TextResult {
        Ok(Text { text })
    }
    async fn odd_names(&self, client: Text) -> natsmicro::Result<Text> {
        Ok(client)
    }
    async fn odd_context(&self, service: &Context, router: Text) -> TextResult {
        Ok(text(format!("{} {}", service.endpoint(), router.text)))
    }
}

/// Code that knows the service by its trait alone.
fn serve<S: Generic>(service: Arc<S>) -> GenericServer<S> {
    GenericServer::from_arc(service).with_description("generic")
}

fn serve_by_descriptor<S: Generic>(service: S) -> ServiceServer<S, GenericDescriptor> {
    ServiceServer::new(service)
}

#[derive(Clone)]
struct Caller<G> {
    generic: G,
}

impl<G: Generic> Caller<G> {
    async fn show(&self) -> TextResult {
        let cx = Context::new();
        let (shown, odd) = tokio::join!(
            self.generic.show(&cx, text("")),
            self.generic.odd_context(&cx, text("r")),
        );
        Ok(text(format!("{} {}", shown?.text, odd?.text)))
    }
}

#[tokio::test]
async fn generic_code() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(serve(Arc::new(Holder([1, 2]))))
        .add_service(serve_by_descriptor(Holder(["a"])).with_subject_prefix("second"))
        .start()
        .await?;
    let client = GenericClient::new(nats.caller.clone());
    let caller = Caller {
        generic: client.clone(),
    };
    assert_eq!(caller.clone().show().await?, text("[1, 2] odd_context r"));
    let spawned = tokio::spawn(async move { caller.show().await });
    assert_eq!(spawned.await??, text("[1, 2] odd_context r"));
    let direct = Caller {
        generic: Holder([true]),
    };
    assert_eq!(direct.show().await?, text("[true]  r"));

    let second = client.with_subject_prefix("second");
    assert_eq!(second.name(), "client");
    assert_eq!(second.show(text("")).await?, text(r#"["a"]"#));
    assert_eq!(second.spread(text("s")).await?, text("s"));
    assert_eq!(second.odd_names(text("s")).await?, text("s"));
    Ok(())
}

macro_rules! make_service {
    ($name:ident, $prefix:literal, $message:ty, $key:literal, $method:ident) => {
        #[natsmicro::service(subject_prefix = $prefix)]
        pub(crate) trait $name {
            #[kv_store(bucket = "made", key = $key)]
            async fn $method(&self, cx: &Context, request: $message) -> Result<$message, Status>;
            async fn fixed(&self) -> Result<(), Status>;
        }
    };
}

mod made {
    use super::{Context, Status, Text};

    make_service!(Made, "made.by", Text, "m.<text>", echo);

    pub(crate) struct Service;

    impl Made for Service {
        async fn echo(&self, _cx: &Context, request: Text) -> Result<Text, Status> {
            Ok(request)
        }
        async fn fixed(&self) -> Result<(), Status> {
            Ok(())
        }
    }
}

#[tokio::test]
async fn a_trait_made_by_a_macro() -> TestResult {
    let nats = Nats::start().await;
    let service = made::MadeServer::new(made::Service);
    let server = nats.persisting().add_service(service).start().await?;
    let client = made::MadeClient::new(nats.caller.clone());
    assert_eq!(client.echo(text("x")).await?, text("x"));
    client.fixed().await?;
    assert_eq!(server.info()[0].endpoints[0].subject, "made.by.echo");
    assert_eq!(made::MadeClient::echo_key("x")?.as_str(), "m.x");
    Ok(())
}
