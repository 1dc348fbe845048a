//! Streams between two of our own.

use std::time::Duration;

use futures::StreamExt;
use natsmicro::{Code, Context, Status, Streaming};

use natsmicro_tests::common::{Nats, code_of, soon};
use natsmicro_tests::streams::{Fixture, Number, Streams, StreamsClient, all, numbers, range};

#[tokio::test]
async fn a_service_streams() {
    let fixture = Fixture::start().await;
    let stream = soon(fixture.client.count(range(0, 3000)).into_future()).await;
    assert_eq!(all(stream.unwrap()).await, (0..3000).collect::<Vec<_>>());
    let empty = fixture.client.count(range(3, 3)).await.unwrap();
    assert!(all(empty).await.is_empty());
}

#[tokio::test]
async fn a_caller_streams() {
    let fixture = Fixture::start().await;
    let sum = soon(fixture.client.sum(numbers(0..3000)).into_future()).await;
    assert_eq!(sum.unwrap().n, 2999 * 3000 / 2);
    let sum = soon(fixture.client.sum(numbers(0..0)).into_future()).await;
    assert_eq!(sum.unwrap().n, 0);
}

#[tokio::test]
async fn both_stream() {
    let fixture = Fixture::start().await;
    let doubled = fixture.client.double(numbers(0..3000)).await.unwrap();
    let expected: Vec<_> = (0..3000).map(|n| 2 * n).collect();
    assert_eq!(all(doubled).await, expected);
}

#[tokio::test]
async fn a_conversation() {
    let fixture = Fixture::start().await;
    let (sender, lines) = Streaming::channel(1);
    let mut answers = soon(fixture.client.double(lines).into_future())
        .await
        .unwrap();
    for n in 0..100 {
        soon(sender.send(n.into())).await.unwrap();
        let answer = soon(answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.n, 2 * n);
    }
    drop(sender);
    assert_eq!(soon(answers.message()).await, Ok(None));
}

#[tokio::test]
async fn headers_travel_both_ways() {
    let fixture = Fixture::start().await;
    let call = fixture
        .client
        .count(range(0, 2))
        .with_header("X-Req", "one");
    let response = soon(call.response()).await.unwrap();
    assert_eq!(response.headers().get("X-Resp").unwrap().as_str(), "one");
    assert_eq!(all(response.into_inner()).await, [0, 1]);
    let call = fixture
        .client
        .sum(numbers(0..2))
        .with_header("X-Req", "two");
    let response = soon(call.response()).await.unwrap();
    assert_eq!(response.headers().get("X-Resp").unwrap().as_str(), "two");
}

#[tokio::test]
async fn a_header_of_the_protocol_is_refused() {
    let fixture = Fixture::start().await;
    let call = fixture
        .client
        .count(range(0, 2))
        .with_header("Reply-To", "orders");
    assert_eq!(code_of(soon(call.into_future()).await), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn an_error_before_the_stream() {
    let fixture = Fixture::start().await;
    let error = fixture.client.count(range(2, 1)).await.unwrap_err();
    assert_eq!(error.code(), &Code::NotFound);
    assert_eq!(error.message(), "no such number");
    assert_eq!(error.details(), "down");
}

#[tokio::test]
async fn an_error_in_the_stream() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.client.fail(range(0, 2)).await.unwrap();
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 0);
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 1);
    let error = soon(stream.message()).await.unwrap_err();
    assert_eq!(error.code(), &Code::from("OUT_OF_NUMBERS"));
    assert_eq!(error.message(), "no more");
    assert_eq!(error.details(), "details");
    assert!(soon(stream.next()).await.is_none());
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn an_error_of_the_caller() {
    let fixture = Fixture::start().await;
    let wrong = || {
        let end = Status::aborted("changed my mind").with_details("details");
        Streaming::new(futures::stream::iter([Ok(Number::from(1)), Err(end)]))
    };
    let error = soon(fixture.client.sum(wrong()).into_future())
        .await
        .unwrap_err();
    assert_eq!(
        error,
        Status::aborted("changed my mind").with_details("details")
    );
    let mut doubled = fixture.client.double(wrong()).await.unwrap();
    assert_eq!(soon(doubled.message()).await.unwrap().unwrap().n, 2);
    assert_eq!(code_of(soon(doubled.message()).await), "ABORTED");
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let fixture = Fixture::start().await;
    let result = soon(fixture.client.panics(range(0, 0)).into_future()).await;
    assert_eq!(code_of(result), "INTERNAL");
    let stream = fixture.client.panics(range(1, 0)).await.unwrap();
    let items: Vec<_> = soon(stream.collect()).await;
    let last = items.into_iter().last().unwrap();
    assert_eq!(code_of(last), "INTERNAL");
    let wrong = Streaming::iter((0..3).map(|_: u64| -> Number { panic!("in the caller") }));
    let result = soon(fixture.client.sum(wrong).into_future()).await;
    assert_eq!(code_of(result), "INTERNAL");
}

#[tokio::test]
async fn a_panic_of_what_is_left_behind_ends_nothing_else() {
    let fixture = Fixture::start().await;
    for _ in 0..2 {
        let stream = soon(fixture.client.bomb(range(0, 0)).into_future()).await;
        assert_eq!(code_of(stream), "INTERNAL");
    }
}

#[tokio::test]
async fn a_producer_that_panics_is_no_end() {
    let fixture = Fixture::start().await;
    let (sender, numbers) = Streaming::channel(8);
    tokio::spawn(async move {
        sender.send(1.into()).await.unwrap();
        panic!("in the producer");
    });
    let sum = soon(fixture.client.sum(numbers).into_future()).await;
    assert_eq!(code_of(sum), "INTERNAL");
}

/// The prefixes of inboxes are a matter of each connection's permissions.
#[tokio::test]
async fn inboxes_with_other_prefixes() {
    let mut nats = Nats::start().await;
    for (of_service, of_caller) in [("_A", "_INBOX"), ("_INBOX", "_B"), ("_A.x", "_B.y")] {
        let options = async_nats::ConnectOptions::new().custom_inbox_prefix(of_service);
        nats.service = nats.server.connect_with(options).await.unwrap();
        let options = async_nats::ConnectOptions::new().custom_inbox_prefix(of_caller);
        nats.caller = nats.server.connect_with(options).await.unwrap();
        let fixture = Fixture::on(nats).await;
        let stream = soon(fixture.client.count(range(0, 3)).into_future()).await;
        assert_eq!(all(stream.unwrap()).await, [0, 1, 2]);
        let sum = soon(fixture.client.sum(numbers(0..3)).into_future()).await;
        assert_eq!(sum.unwrap().n, 3);
        let doubled = soon(fixture.client.double(numbers(0..3)).into_future()).await;
        assert_eq!(all(doubled.unwrap()).await, [0, 2, 4]);
        soon(fixture.server.stop()).await.unwrap();
        nats = fixture.nats;
    }
}

#[tokio::test]
async fn a_stream_within_a_call_lives_as_long_as_that() {
    let fixture = Fixture::start().await;
    let client = natsmicro::Client::new(fixture.nats.caller.clone())
        .with_timeout(Duration::from_millis(300));
    let client = StreamsClient::new(client);
    let long = Context::new().with_timeout(Duration::from_secs(3600));
    let mut feed = client.feed(range(1, 0)).with_context(&long).await.unwrap();
    soon(feed.message()).await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(700), feed.message()).await;
    assert!(more.is_err(), "{more:?}");
    let short = Context::new().with_timeout(Duration::from_millis(300));
    let mut feed = client.feed(range(1, 0)).with_context(&short).await.unwrap();
    soon(feed.message()).await.unwrap();
    assert_eq!(code_of(soon(feed.message()).await), "DEADLINE_EXCEEDED");
}

/// Nothing waits for a connection that takes no commands.
#[tokio::test]
async fn a_connection_that_takes_nothing() {
    let fixture = Fixture::start().await;
    let (sender, numbers) = Streaming::channel(1);
    let mut doubled = fixture.client.double(numbers).await.unwrap();
    fixture.nats.server.kill().unwrap();
    let full = async {
        loop {
            let sent = fixture.nats.caller.publish("x", "".into());
            if tokio::time::timeout(Duration::from_millis(200), sent)
                .await
                .is_err()
            {
                return;
            }
        }
    };
    soon(full).await;
    sender.send(1.into()).await.unwrap();
    let timeout = Duration::from_millis(300);
    let call = fixture.client.feed(range(1, 0)).with_timeout(timeout);
    assert_eq!(code_of(soon(call.into_future()).await), "DEADLINE_EXCEEDED");
    let call = fixture
        .client
        .sum(self::numbers(0..3))
        .with_timeout(timeout);
    assert_eq!(code_of(soon(call.into_future()).await), "DEADLINE_EXCEEDED");
    let ended = tokio::time::timeout(Duration::from_secs(30), doubled.message()).await;
    assert_eq!(code_of(ended.unwrap()), "UNAVAILABLE");
}

#[tokio::test]
async fn a_server_that_is_dropped_ends_its_streams() {
    let mut fixture = Fixture::start().await;
    let mut feed = fixture.client.feed(range(1, 0)).await.unwrap();
    soon(feed.message()).await.unwrap();
    drop(fixture.server);
    assert_eq!(code_of(soon(feed.message()).await), "UNAVAILABLE");
    soon(fixture.dropped.recv()).await;
}

#[tokio::test]
async fn nobody_serves() {
    let fixture = Fixture::start().await;
    let client = fixture.client.clone().with_subject_prefix("elsewhere");
    assert_eq!(
        code_of(soon(client.count(range(0, 1)).into_future()).await),
        "UNAVAILABLE"
    );
    assert_eq!(
        code_of(soon(client.sum(numbers(0..1)).into_future()).await),
        "UNAVAILABLE"
    );
    let result = soon(client.double(numbers(0..1)).into_future()).await;
    assert_eq!(code_of(result), "UNAVAILABLE");
}

#[tokio::test]
async fn a_dropped_stream_ends_the_work_of_the_service() {
    let mut fixture = Fixture::start().await;
    let mut stream = fixture.client.feed(range(1, 0)).await.unwrap();
    soon(stream.message()).await.unwrap();
    drop(stream);
    let dropped = tokio::time::timeout(Duration::from_secs(1), fixture.dropped.recv());
    assert!(dropped.await.is_ok());

    // While the call is being opened, too.
    let (sender, numbers) = Streaming::channel(1);
    let call = tokio::spawn(fixture.client.sink(numbers).into_future());
    soon(sender.send(1.into())).await.unwrap();
    soon(sender.send(2.into())).await.unwrap();
    call.abort();
    let dropped = tokio::time::timeout(Duration::from_secs(1), fixture.dropped.recv());
    assert!(dropped.await.is_ok());
    soon(sender.closed()).await;
}

#[tokio::test]
async fn a_service_that_reads_no_more_stops_the_caller() {
    let fixture = Fixture::start().await;
    let (sender, numbers) = Streaming::channel(1);
    let call = tokio::spawn(fixture.client.first(numbers).into_future());
    soon(sender.send(7.into())).await.unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap().n, 7);
    soon(sender.closed()).await;
    let error = sender.send(8.into()).await.unwrap_err();
    assert_eq!(error.into_inner().n, 8);
}

#[tokio::test]
async fn deadlines_end_streams() {
    let mut fixture = Fixture::start().await;
    // That of the method.
    let mut stream = fixture.client.short(range(0, 0)).await.unwrap();
    soon(stream.message()).await.unwrap();
    assert_eq!(code_of(soon(stream.message()).await), "DEADLINE_EXCEEDED");
    soon(fixture.dropped.recv()).await;
    // That of the caller.
    let call = fixture.client.feed(range(1, 0));
    let mut stream = call.with_timeout(Duration::from_millis(300)).await.unwrap();
    soon(stream.message()).await.unwrap();
    assert_eq!(code_of(soon(stream.message()).await), "DEADLINE_EXCEEDED");
    soon(fixture.dropped.recv()).await;
    // That of the service is for calls with one answer.
    let mut stream = fixture.client.feed(range(1, 0)).await.unwrap();
    soon(stream.message()).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(3), stream.message()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn too_many_streams_are_refused() {
    let mut fixture = Fixture::start().await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(fixture.client.two(range(0, 0)).await.unwrap());
    }
    let result = soon(fixture.client.two(range(0, 0)).into_future()).await;
    assert_eq!(code_of(result), "RESOURCE_EXHAUSTED");
    open.pop();
    soon(fixture.dropped.recv()).await;
    let again = async { while fixture.client.two(range(0, 0)).await.is_err() {} };
    soon(again).await;
}

#[tokio::test]
async fn stop_ends_streams() {
    let mut fixture = Fixture::start().await;
    let mut feed = fixture.client.feed(range(1, 0)).await.unwrap();
    soon(feed.message()).await.unwrap();
    let (sender, numbers) = Streaming::channel(1);
    let sink = tokio::spawn(fixture.client.sink(numbers).into_future());
    soon(sender.send(1.into())).await.unwrap();
    soon(sender.send(2.into())).await.unwrap();
    let error = soon(fixture.server.stop()).await.unwrap_err();
    assert!(error.to_string().contains("feed"), "{error}");
    assert_eq!(code_of(soon(feed.message()).await), "UNAVAILABLE");
    assert!(soon(feed.next()).await.is_none());
    assert_eq!(code_of(soon(sink).await.unwrap()), "UNAVAILABLE");
    soon(sender.closed()).await;
    soon(fixture.dropped.recv()).await;
    soon(fixture.dropped.recv()).await;
}

#[tokio::test]
async fn streams_that_end_in_time_stop_well() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.client.count(range(0, 5000)).await.unwrap();
    soon(stream.message()).await.unwrap();
    let rest = tokio::spawn(all(stream));
    soon(fixture.server.stop()).await.unwrap();
    assert_eq!(rest.await.unwrap().len(), 4999);
}

#[tokio::test]
async fn a_message_that_is_too_large() {
    let fixture = Fixture::start().await;
    let huge = || {
        let padding = vec![0; 2 << 20].into();
        Streaming::iter([Number::from(1), Number { n: 2, padding }, 3.into()])
    };
    let error = soon(fixture.client.sum(huge()).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.code(), &Code::ResourceExhausted, "{error}");
    assert!(error.message().contains("message 2"), "{error}");
}

#[tokio::test]
async fn generic_code_takes_the_client() {
    async fn total(streams: &impl Streams) -> u64 {
        let cx = Context::new();
        streams.sum(&cx, numbers(0..10)).await.unwrap().n
    }
    let fixture = Fixture::start().await;
    assert_eq!(soon(total(&fixture.client)).await, 45);
}

#[tokio::test]
async fn streams_are_counted() {
    let fixture = Fixture::start().await;
    all(fixture.client.count(range(0, 3)).await.unwrap()).await;
    fixture.client.count(range(2, 1)).await.unwrap_err();
    let stats = &fixture.server.stats()[0].endpoints[0];
    assert_eq!((stats.num_requests, stats.num_errors), (2, 1));
    assert_eq!(stats.last_error, "NOT_FOUND:no such number");
}
