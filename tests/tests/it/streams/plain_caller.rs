//! Our service and callers that speak the plain protocol only.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use prost::Message as _;

use natsmicro_tests::common::{error_of, soon};
use natsmicro_tests::streams::{
    Fixture, Number, PlainCaller, data, end, failed, headers, plain, range,
};

fn number(n: u64) -> Bytes {
    Number::from(n).bytes()
}

/// The bytes of the message that opens a stream of responses.
fn opening(from: u64, to: u64) -> Bytes {
    range(from, to).encode_to_vec().into()
}

#[tokio::test]
async fn responses_are_numbered_and_ended() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    caller.open("s.count", opening(7, 10)).await;
    for seq in 1..=3 {
        assert_eq!(caller.next().await, data(seq, number(seq + 6)));
    }
    assert_eq!(caller.next().await, end());
    caller.no_more().await;
}

#[tokio::test]
async fn an_error_ends_the_responses() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    caller.open("s.fail", opening(1, 2)).await;
    assert_eq!(caller.next().await, data(1, number(1)));
    let error = failed("OUT_OF_NUMBERS", "no more", "details");
    assert_eq!(caller.next().await, error);

    caller.open("s.count", opening(2, 1)).await;
    let error = failed("NOT_FOUND", "no such number", "down");
    assert_eq!(caller.next().await, error);

    caller.open("s.count", "\u{1}").await;
    let (headers, _) = caller.next().await;
    assert_eq!(headers[1].1, "INVALID_ARGUMENT");
    assert!(
        headers[0].1.starts_with("failed to decode request: "),
        "{headers:?}"
    );
    caller.no_more().await;
}

#[tokio::test]
async fn the_reply_subject_is_the_inbox_if_no_header_names_one() {
    let fixture = Fixture::start().await;
    let nats = &fixture.nats.caller;
    let mut caller = PlainCaller::new(nats).await;
    nats.publish_with_reply("s.count", caller.inbox.clone(), opening(1, 2))
        .await
        .unwrap();
    assert_eq!(caller.next().await, data(1, number(1)));
    assert_eq!(caller.next().await, end());
}

#[tokio::test]
async fn requests_are_answered_with_a_bare_message() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let inbox = caller.handshake("s.sum").await;
    for seq in 1..=3 {
        caller.send(&inbox, data(seq, number(10))).await;
    }
    caller.send(&inbox, end()).await;
    assert_eq!(caller.next().await, (vec![], number(30)));
    caller.no_more().await;
}

#[tokio::test]
async fn messages_go_both_ways() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let inbox = caller.handshake("s.double").await;
    for seq in 1..=3 {
        caller.send(&inbox, data(seq, number(seq))).await;
        assert_eq!(caller.next().await, data(seq, number(2 * seq)));
    }
    caller.send(&inbox, end()).await;
    assert_eq!(caller.next().await, end());
    caller.no_more().await;
}

/// Peers subscribe to the inbox of the response when they have sent all they had.
#[tokio::test]
async fn a_response_waits_for_the_end_of_the_requests() {
    let fixture = Fixture::start().await;
    let nats = &fixture.nats.caller;
    let mut early = PlainCaller::new(nats).await;
    let inbox = early.handshake("s.first").await;
    early.send(&inbox, data(1, number(7))).await;
    // Larger than what is held of a stream that nobody reads.
    for seq in 2..=100 {
        early.send(&inbox, data(seq, number(seq))).await;
    }
    early.no_more().await;
    early.send(&inbox, end()).await;
    assert_eq!(early.next().await, (vec![], number(7)));
}

/// One that is late even then, with a response and with an error.
#[tokio::test]
async fn a_response_waits_for_a_listener() {
    let fixture = Fixture::start().await;
    let nats = &fixture.nats.caller;
    let mut caller = PlainCaller::new(nats).await;
    for last in [data(1, number(1)), data(1, "\u{1}")] {
        let late = nats.new_inbox();
        let opening = headers(&[("Reply-To", &late)]);
        let reply = nats.request_with_headers("s.sum", opening, Bytes::new());
        let reply = soon(reply).await.unwrap();
        let inbox = plain(&reply).0[0].1.clone();
        caller.send(&inbox, last.clone()).await;
        caller.send(&inbox, end()).await;
        caller.no_more().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut messages = nats.subscribe(late).await.unwrap();
        let response = soon(messages.next()).await.unwrap();
        let error = error_of(&response).map(|(code, _)| code);
        let expected = (last.1.len() == 1).then_some("INVALID_ARGUMENT");
        assert_eq!(error, expected);
    }
}

/// What is wrong with the requests is told when the caller listens, and not before.
#[tokio::test]
async fn an_error_waits_for_the_end_of_the_requests() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let inbox = caller.handshake("s.sum").await;
    caller.send(&inbox, data(1, number(1))).await;
    caller.send(&inbox, data(5, number(1))).await;
    caller.no_more().await;
    caller.send(&inbox, data(6, number(1))).await;
    caller.no_more().await;
    caller.send(&inbox, end()).await;
    let (headers, _) = caller.next().await;
    assert_eq!(headers[1].1, "DATA_LOSS");
}

#[tokio::test]
async fn a_stream_is_over_with_its_response() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    for _ in 0..20 {
        let inbox = caller.handshake("s.alone").await;
        caller.send(&inbox, end()).await;
        assert_eq!(caller.next().await, (vec![], Bytes::new()));
    }
}

/// A handshake and nothing more holds a place for no longer than the method may take.
#[tokio::test]
async fn a_silent_caller_is_given_up_at_the_deadline() {
    let fixture = Fixture::start().await;
    let caller = PlainCaller::new(&fixture.nats.caller).await;
    caller.handshake("s.alone").await;
    let again = async {
        loop {
            let mut other = PlainCaller::new(&fixture.nats.caller).await;
            let opening = headers(&[("Reply-To", &other.inbox)]);
            let reply = other
                .nats
                .request_with_headers("s.alone", opening, Bytes::new());
            let reply = reply.await.unwrap();
            if error_of(&reply).is_none() {
                let inbox = plain(&reply).0[0].1.clone();
                other.send(&inbox, end()).await;
                assert_eq!(other.next().await, (vec![], Bytes::new()));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(again).await;
}

#[tokio::test]
async fn errors_of_the_caller_are_read() {
    let fixture = Fixture::start().await;
    for error in [
        headers(&[
            ("Nats-Stream-End", "true"),
            ("Nats-Service-Error-Code", "ABORTED"),
            ("Nats-Service-Error", "enough"),
        ]),
        headers(&[
            ("Nats-Stream-End", "true"),
            ("Status", "ABORTED"),
            ("Description", "enough"),
        ]),
    ] {
        let mut caller = PlainCaller::new(&fixture.nats.caller).await;
        let inbox = caller.handshake("s.sum").await;
        caller.send(&inbox, data(1, number(1))).await;
        caller
            .nats
            .publish_with_headers(inbox, error, "details".into())
            .await
            .unwrap();
        let (headers, details) = caller.next().await;
        assert_eq!(headers[0].1, "enough");
        assert_eq!(headers[1].1, "ABORTED");
        assert_eq!(headers.len(), 2);
        assert_eq!(details, "details");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_requests_is_told() {
    let fixture = Fixture::start().await;
    let wrong = [
        (vec![data(1, number(1)), data(3, number(1))], "DATA_LOSS"),
        (vec![data(1, number(1)), data(1, number(1))], "DATA_LOSS"),
        (vec![data(2, number(1))], "DATA_LOSS"),
        (
            vec![data(1, number(1)), data(2, "\u{1}"), end()],
            "INVALID_ARGUMENT",
        ),
        (
            vec![(vec![("Nats-Stream-Seq".into(), "x".into())], Bytes::new())],
            "INTERNAL",
        ),
    ];
    for (messages, code) in wrong {
        let mut caller = PlainCaller::new(&fixture.nats.caller).await;
        let inbox = caller.handshake("s.sum").await;
        for message in messages {
            caller.send(&inbox, message).await;
        }
        caller.send(&inbox, end()).await;
        let (headers, _) = caller.next().await;
        assert_eq!(headers[1].1, code, "{headers:?}");
    }
}

#[tokio::test]
async fn nothing_counts_after_the_end() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let inbox = caller.handshake("s.double").await;
    caller.send(&inbox, data(1, number(1))).await;
    caller.send(&inbox, end()).await;
    caller.send(&inbox, end()).await;
    caller.send(&inbox, data(2, number(2))).await;
    caller.send(&inbox, data(9, "\u{1}")).await;
    assert_eq!(caller.next().await, data(1, number(2)));
    assert_eq!(caller.next().await, end());
    caller.no_more().await;
}

#[tokio::test]
async fn a_silent_caller_holds_up_nobody() {
    let fixture = Fixture::start().await;
    let silent = PlainCaller::new(&fixture.nats.caller).await;
    for _ in 0..100 {
        silent.handshake("s.sum").await;
        silent.handshake("s.double").await;
    }
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let inbox = caller.handshake("s.sum").await;
    caller.send(&inbox, end()).await;
    assert_eq!(caller.next().await, (vec![], Bytes::new()));
}

#[tokio::test]
async fn a_stream_is_sent_to_inboxes_only() {
    let fixture = Fixture::start().await;
    let nats = &fixture.nats.caller;
    let mut victim = nats.subscribe(">").await.unwrap();
    for subject in ["s.count", "s.sum", "s.double"] {
        for target in [
            "orders",
            "_INBOX.>",
            "_INBOX.*",
            "_INBOX",
            "_INBOX..x",
            "$JS.API.INFO",
            "s.ping",
        ] {
            let opening = headers(&[("Reply-To", target)]);
            nats.publish_with_headers(subject, opening.clone(), Bytes::new())
                .await
                .unwrap();
            let reply = nats.request_with_headers(subject, opening, Bytes::new());
            let reply = soon(reply).await.unwrap();
            let (code, message) = error_of(&reply).unwrap();
            assert_eq!(code, "INVALID_ARGUMENT");
            assert!(message.contains("`Reply-To`"), "{message}");
        }
    }
    nats.publish("done", Bytes::new()).await.unwrap();
    while let Some(message) = soon(victim.next()).await {
        match message.subject.as_str() {
            "done" => break,
            "s.count" | "s.sum" | "s.double" => {}
            subject => assert!(subject.starts_with("_INBOX."), "{message:?}"),
        }
    }
}

#[tokio::test]
async fn a_feed_that_nobody_receives_ends() {
    let mut fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    caller.open("s.tick", opening(0, 0)).await;
    assert_eq!(caller.next().await, data(1, number(0)));
    drop(caller);
    soon(fixture.dropped.recv()).await;
}

#[tokio::test]
async fn a_refused_stream_is_told_wherever_the_caller_waits() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    for _ in 0..2 {
        caller.open("s.two", opening(0, 0)).await;
        assert_eq!(caller.next().await, data(1, number(0)));
    }
    caller.open("s.two", opening(0, 0)).await;
    let (headers, _) = caller.next().await;
    assert_eq!(headers[1].1, "RESOURCE_EXHAUSTED");
    assert_eq!(headers[2].0, "Nats-Stream-End");
    soon(fixture.server.stop()).await.unwrap_err();
    for _ in 0..2 {
        let (headers, _) = caller.next().await;
        assert_eq!(headers[1].1, "UNAVAILABLE");
        assert_eq!(headers[2].0, "Nats-Stream-End");
    }
}

/// A caller without flow control, and a handler that does not read.
#[tokio::test]
async fn a_flood_is_refused_and_not_cut_in_silence() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let inbox = caller.handshake("s.narrow").await;
    let padding = Bytes::from(vec![0; 64 * 1024]);
    let flood = Number { n: 1, padding }.bytes();
    // More than is held, at a pace at which nats-server and async-nats drop nothing.
    for seq in 1..=1100 {
        caller.send(&inbox, data(seq, flood.clone())).await;
        if seq % 50 == 0 {
            caller.no_more().await;
        }
    }
    fixture.go.notify_one();
    let mut received = 0;
    let last = loop {
        let message = caller.next().await;
        if message.0.iter().any(|(name, _)| name == "Nats-Stream-End") {
            break message;
        }
        received += 1;
    };
    assert_eq!(
        last.0[1].1, "RESOURCE_EXHAUSTED",
        "after {received}: {:?}",
        last.0
    );
    assert!(received >= 1000, "{received}");
}

#[tokio::test]
async fn an_idle_peer_gets_no_message_of_ours() {
    let fixture = Fixture::start().await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    let _inbox = caller.handshake("s.double").await;
    caller.open("s.feed", opening(1, 0)).await;
    assert_eq!(caller.next().await, data(1, number(0)));
    // Longer than the interval of heartbeats.
    let more = tokio::time::timeout(Duration::from_secs(3), caller.messages.next()).await;
    assert!(more.is_err(), "{more:?}");
}
