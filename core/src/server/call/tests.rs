//! Runs methods of all four kinds through the pipeline, without a connection.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::*;
use crate::codec::{CodecError, MessageCodec};
use crate::context::{EndpointContext, Names};
use crate::descriptor::method::MethodKind;
use crate::middleware::body::Body;
use crate::server::router::Router;
use crate::server::stats::Counters;
use crate::service_error::ErrorCodec;
use crate::status::Code;
use crate::stream::streaming::Streaming;

/// Numbers as text.
const TEXT: MessageCodec<u64> = MessageCodec {
    encode: |number| match number {
        13 => Err(CodecError::new("no thirteen")),
        number => Ok(number.to_string().into()),
    },
    decode: |payload| {
        let text = std::str::from_utf8(&payload).map_err(CodecError::new)?;
        text.parse().map_err(CodecError::new)
    },
};

static METHOD: Method<u64, u64, Status> = METHOD_OF_TEXT;

const METHOD_OF_TEXT: Method<u64, u64, Status> = Method::new(
    0,
    ("Numbers", "method"),
    TEXT,
    TEXT,
    ErrorCodec {
        into_status: |status| status,
        from_status: |status| status,
    },
);

/// Runs the only method of a service.
async fn call(
    register: impl FnOnce(&mut Router<()>),
    body: Body,
    deadline: Option<Instant>,
) -> Reply {
    let mut router = Router::new(Arc::new(()));
    register(&mut router);
    let route = router.into_routes().pop().unwrap();
    let endpoint = Endpoint {
        context: Arc::new(EndpointContext {
            names: Arc::new(Names {
                service: "numbers".to_owned(),
                endpoint: "method".to_owned(),
            }),
            stopping: None,
        }),
        subject: "numbers.method".to_owned(),
        queue_group: None,
        settings: route.settings,
        timeout: None,
        counters: Counters::default(),
        stores: crate::persist::Stores::default(),
    };
    let mut headers = HeaderMap::new();
    headers.insert("Accept-Language", "en");
    let request = Request {
        subject: "numbers.method".into(),
        headers,
        body,
        deadline,
        ..Request::new("")
    };
    (route.handler)(Arc::new(endpoint), request)
        .await
        .reply()
        .await
}

fn message(text: &'static str) -> Body {
    Body::Message(Bytes::from_static(text.as_bytes()))
}

fn stream(texts: &'static [&'static str]) -> Body {
    let texts = texts.iter().map(|text| Bytes::from_static(text.as_bytes()));
    Body::Stream(Streaming::iter(texts).boxed())
}

fn bytes(reply: Reply) -> Result<Bytes, Status> {
    match reply.result? {
        Answer::Message(bytes) => Ok(bytes),
        other => panic!("no message: {other:?}"),
    }
}

async fn items(reply: Reply) -> Vec<Result<Bytes, Status>> {
    match reply.result.unwrap() {
        Answer::Stream(messages) => messages.collect().await,
        other => panic!("no stream: {other:?}"),
    }
}

fn code(result: &Result<Bytes, Status>) -> &Code {
    result.as_ref().unwrap_err().code()
}

fn double(router: &mut Router<()>) {
    router.unary(&METHOD, |_, cx, number| async move {
        let language = cx.header("Accept-Language").unwrap_or_default().to_owned();
        cx.insert_response_header("Content-Language", &language)?;
        match number {
            0 => Err(Status::not_found("nothing")),
            1 => panic!("a bug"),
            number => Ok(number * 2),
        }
    });
}

#[tokio::test]
async fn a_unary_method() {
    let reply = call(double, message("21"), None).await;
    let language = reply.headers.clone();
    assert_eq!(language.get("Content-Language").unwrap().as_str(), "en");
    assert_eq!(bytes(reply).unwrap(), "42");
}

#[tokio::test]
async fn the_errors_of_a_unary_method() {
    for (request, expected) in [
        ("no number", Code::InvalidArgument),
        ("0", Code::NotFound),
        ("1", Code::Internal),
    ] {
        let reply = call(double, message(request), None).await;
        assert_eq!(*code(&bytes(reply)), expected, "{request}");
    }
    let thirteen = |router: &mut Router<()>| router.unary(&METHOD, |_, _, _| async { Ok(13) });
    let reply = call(thirteen, message("2"), None).await;
    assert_eq!(*code(&bytes(reply)), Code::Internal);
    let reply = call(double, stream(&["2"]), None).await;
    assert_eq!(*code(&bytes(reply)), Code::InvalidArgument);
}

#[tokio::test]
async fn an_error_keeps_the_response_headers() {
    let reply = call(double, message("0"), None).await;
    assert!(reply.result.is_err());
    assert!(!reply.headers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_drops_the_handler() {
    let never = |router: &mut Router<()>| {
        router.unary(&METHOD, |_, cx, _| async move {
            assert!(cx.remaining().is_some());
            std::future::pending().await
        });
    };
    let in_a_second = Some(Instant::now() + Duration::from_secs(1));
    let reply = call(never, message("2"), in_a_second).await;
    assert_eq!(*code(&bytes(reply)), Code::DeadlineExceeded);
    // One that has passed: the handler does not run.
    let reply = call(double, message("1"), Some(Instant::now())).await;
    assert_eq!(*code(&bytes(reply)), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_of_responses() {
    let count = |router: &mut Router<()>| {
        router.server_streaming(&METHOD, |_, _, to| async move {
            match to {
                0 => Err(Status::not_found("nothing")),
                to => Ok(Streaming::iter(1..=to)),
            }
        });
    };
    let reply = call(count, message("3"), None).await;
    let items: Vec<_> = items(reply).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(items, ["1", "2", "3"]);
    let reply = call(count, message("0"), None).await;
    assert_eq!(*reply.result.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_of_responses_that_panics_or_cannot_be_encoded() {
    let faulty = |router: &mut Router<()>| {
        router.server_streaming(&METHOD, |_, _, _| async {
            let numbers = futures::stream::iter([12, 13, 14]).map(|number| {
                assert_ne!(number, 14, "a bug");
                Ok(number)
            });
            Ok(Streaming::new(numbers))
        });
    };
    let items = items(call(faulty, message("1"), None).await).await;
    assert_eq!(*items[0].as_ref().unwrap(), "12");
    assert_eq!(*code(&items[1]), Code::Internal);
    let panicked = items[2].as_ref().unwrap_err();
    assert_eq!(*panicked.code(), Code::Internal);
    assert!(!panicked.message().contains("a bug"), "{panicked}");
    assert_eq!(items.len(), 3);
}

#[tokio::test]
async fn a_stream_of_requests() {
    let sum = |router: &mut Router<()>| {
        router.client_streaming(&METHOD, |_, _, mut numbers: Streaming<u64>| async move {
            let mut sum = 0;
            while let Some(number) = numbers.message().await? {
                sum += number;
            }
            Ok(sum)
        });
    };
    assert_eq!(
        bytes(call(sum, stream(&["1", "2", "3"]), None).await).unwrap(),
        "6"
    );
    let undecodable = bytes(call(sum, stream(&["1", "x"]), None).await).unwrap_err();
    assert_eq!(*undecodable.code(), Code::InvalidArgument);
    assert!(undecodable.message().contains("message 2"), "{undecodable}");
}

static VALIDATED: Method<u64, u64, Status> =
    METHOD_OF_TEXT.validate(|number, into_status| match number {
        7 => Err(into_status(Status::aborted("seven"))),
        8 => panic!("a bug"),
        _ => Ok(()),
    });

#[tokio::test]
async fn a_request_is_validated_before_the_handler() {
    let echo = |router: &mut Router<()>| {
        router.unary(&VALIDATED, |_, _, number| async move {
            assert!(number < 7, "the handler gets {number}");
            Ok(number)
        });
    };
    assert_eq!(bytes(call(echo, message("6"), None).await).unwrap(), "6");
    for (request, expected) in [
        ("7", Code::Aborted),
        ("8", Code::Internal),
        ("x", Code::InvalidArgument),
    ] {
        let reply = call(echo, message(request), None).await;
        assert_eq!(*code(&bytes(reply)), expected, "{request}");
    }
}

#[tokio::test]
async fn a_refused_message_ends_the_stream() {
    let echo = |router: &mut Router<()>| {
        router.bidirectional(&VALIDATED, |_, _, numbers: Streaming<u64>| async {
            // As a stream that does not end with its first error.
            Ok(Streaming::new(numbers.map(|number| {
                Ok(number.unwrap_or_else(|refused| match refused.code() {
                    Code::Aborted => 70,
                    Code::Internal => 80,
                    _ => 0,
                }))
            })))
        });
    };
    for (texts, expected) in [
        (&["1", "7", "2"][..], vec!["1", "70"]),
        (&["1", "8", "2"], vec!["1", "80"]),
        // Not refused by the function, which sees only what is decoded.
        (&["1", "x", "2"], vec!["1", "0", "2"]),
    ] {
        let items = items(call(echo, stream(texts), None).await).await;
        let items: Vec<_> = items.into_iter().map(Result::unwrap).collect();
        assert_eq!(items, expected);
    }
}

#[tokio::test]
async fn streams_in_both_directions() {
    let double = |router: &mut Router<()>| {
        router.bidirectional(&METHOD, |_, _, numbers: Streaming<u64>| async {
            Ok(Streaming::new(numbers.map(|number| Ok(number? * 2))))
        });
    };
    let items = items(call(double, stream(&["1", "x", "3"]), None).await).await;
    assert_eq!(*items[0].as_ref().unwrap(), "2");
    // An undecodable message is an error in its place, and the stream goes on.
    assert_eq!(*code(&items[1]), Code::InvalidArgument);
    assert_eq!(*items[2].as_ref().unwrap(), "6");
}

#[test]
fn the_router_knows_the_kind_of_a_method() {
    let mut router = Router::new(Arc::new(()));
    double(&mut router);
    router.server_streaming(&METHOD, |_, _, _| async { Ok(Streaming::iter([])) });
    router.client_streaming(&METHOD, |_, _, _| async { Ok(0) });
    router.bidirectional(&METHOD, |_, _, numbers| async { Ok(numbers) });
    let kinds: Vec<_> = router
        .into_routes()
        .iter()
        .map(|route| route.settings.id.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            MethodKind::Unary,
            MethodKind::ServerStreaming,
            MethodKind::ClientStreaming,
            MethodKind::Bidirectional
        ]
    );
}

/// A handler that never waits is answered in one poll: it costs no task.
#[tokio::test]
async fn a_handler_that_does_not_wait_is_answered_at_once() {
    let reply = call(double, message("2"), None).now_or_never();
    assert_eq!(bytes(reply.unwrap()).unwrap(), "4");
}

/// Both are in the future of every call, several times: a larger one costs each call instructions and a slower allocation.
#[test]
fn bodies_and_answers_are_as_small_as_a_message() {
    let bound = size_of::<Bytes>() + size_of::<usize>();
    assert!(size_of::<Body>() <= bound, "{}", size_of::<Body>());
    assert!(size_of::<Answer>() <= bound, "{}", size_of::<Answer>());
}
