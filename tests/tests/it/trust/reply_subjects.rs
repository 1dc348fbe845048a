//! A caller who names a subject that is no inbox gets nothing published there: not with the rights of the service, not by any
//! kind of endpoint, not in any way in which a call can end.

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro_tests::common::{soon, synced, text};
use natsmicro_tests::trust::{Fixture, Spy, marked};

/// What a caller would like the service to publish to.
const SUBJECTS: [&str; 9] = [
    "$JS.API.STREAM.DELETE.KV_b",
    "$JS.API.STREAM.PURGE.KV_b",
    "$KV.b.k",
    "$SRV.PING",
    "billing.charge",
    "INBOX.a",
    "trust.echo",
    "trust.feed",
    "trust.sum",
];

/// The header of a stream's caller, where there is one: an inbox, a subject that is none, and one of NATS itself.
const REPLY_TO: [Option<&str>; 4] = [
    None,
    Some("_INBOX.x.y"),
    Some("billing.charge"),
    Some("$KV.b.k"),
];

/// No message of the service's types.
const UNDECODABLE: Bytes = Bytes::from_static(b"\x01");

/// The bucket that the service has the right to delete, with one entry.
async fn bucket(fixture: &Fixture) {
    let jetstream = jetstream::new(fixture.admin.clone());
    let config = jetstream::kv::Config {
        bucket: "b".to_owned(),
        ..Default::default()
    };
    let bucket = jetstream.create_key_value(config).await.unwrap();
    assert_eq!(bucket.put("k", "value".into()).await.unwrap(), 1);
}

async fn bucket_is_untouched(admin: async_nats::Client) {
    let jetstream = jetstream::new(admin);
    let bucket = jetstream.get_key_value("b").await.unwrap();
    let entry = bucket.entry("k").await.unwrap().unwrap();
    assert_eq!((entry.revision, &*entry.value), (1, &b"value"[..]));
    let stream = jetstream.get_stream("KV_b").await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 1);
}

/// Sends to each endpoint one message with each pair of reply subject and header.
async fn send_all(fixture: &Fixture, endpoints: &[&str], payload: &Bytes) {
    for endpoint in endpoints {
        for reply in SUBJECTS {
            for reply_to in REPLY_TO {
                let header = reply_to.map(|inbox| ("Reply-To", inbox));
                fixture
                    .send(endpoint, reply, header.as_slice(), payload.clone())
                    .await;
            }
        }
        // The header alone, and beside an inbox.
        for reply_to in SUBJECTS {
            for reply in ["", "_INBOX.x.y"] {
                fixture
                    .send(endpoint, reply, &[("Reply-To", reply_to)], payload.clone())
                    .await;
            }
        }
    }
}

async fn nothing_but_inboxes(endpoints: &[&str], payload: Bytes) {
    let fixture = Fixture::start().await;
    bucket(&fixture).await;
    let spy = Spy::start(&fixture).await;
    send_all(&fixture, endpoints, &payload).await;
    synced(&fixture.nats.caller).await;
    settled(&fixture).await;
    let (_nats, admin) = spy.saw_inboxes_only(fixture).await;
    bucket_is_untouched(admin).await;
}

/// Each endpoint has taken what was sent to it before, and what it answers at once is answered.
async fn settled(fixture: &Fixture) {
    for _ in 0..5 {
        let payload = text("settled").bytes();
        fixture
            .nats
            .ask_with("trust.echo", marked(&[]), payload)
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn of_a_response() {
    nothing_but_inboxes(&["trust.echo"], text("a").bytes()).await;
}

#[tokio::test]
async fn of_an_error() {
    nothing_but_inboxes(&["trust.fail"], text("a").bytes()).await;
}

#[tokio::test]
async fn of_a_request_that_cannot_be_decoded() {
    let endpoints = ["trust.echo", "trust.feed", "trust.tick"];
    nothing_but_inboxes(&endpoints, UNDECODABLE).await;
}

#[tokio::test]
async fn of_a_stream_of_responses() {
    nothing_but_inboxes(&["trust.feed", "trust.tick"], text("a").bytes()).await;
}

#[tokio::test]
async fn of_a_stream_that_does_not_come_to_be() {
    nothing_but_inboxes(&["trust.no_feed"], text("a").bytes()).await;
}

#[tokio::test]
async fn of_a_stream_of_requests() {
    nothing_but_inboxes(&["trust.sum"], Bytes::new()).await;
}

#[tokio::test]
async fn of_streams_in_both_directions() {
    nothing_but_inboxes(&["trust.chat"], Bytes::new()).await;
}

/// Offers of the extension are answered with a handshake whatever is streamed.
#[tokio::test]
async fn of_a_stream_with_the_extension() {
    let fixture = Fixture::start().await;
    bucket(&fixture).await;
    let spy = Spy::start(&fixture).await;
    for endpoint in ["trust.feed", "trust.sum", "trust.chat"] {
        for subject in SUBJECTS {
            for (reply, reply_to) in [(subject, "_INBOX.x.y"), ("_INBOX.x.y", subject)] {
                let headers = [
                    ("Reply-To", reply_to),
                    ("Natsmicro-Stream", "1"),
                    ("Natsmicro-Credit", "100 100000"),
                ];
                fixture.send(endpoint, reply, &headers, Bytes::new()).await;
            }
        }
    }
    synced(&fixture.nats.caller).await;
    settled(&fixture).await;
    let (_nats, admin) = spy.saw_inboxes_only(fixture).await;
    bucket_is_untouched(admin).await;
}

#[tokio::test]
async fn of_a_refusal() {
    let fixture = Fixture::start().await;
    bucket(&fixture).await;
    let spy = Spy::start(&fixture).await;
    fixture.overload().await;
    // The only stream that there may be, to somebody who listens.
    let inbox = fixture.nats.caller.new_inbox();
    let mut ticks = fixture.nats.caller.subscribe(inbox.clone()).await.unwrap();
    let only_one = "trust.only_one";
    fixture
        .send(only_one, "", &[("Reply-To", &inbox)], Bytes::new())
        .await;
    soon(ticks.next()).await.unwrap();
    send_all(&fixture, &["trust.gated", only_one], &text("a").bytes()).await;
    synced(&fixture.nats.caller).await;
    settled(&fixture).await;
    let (_nats, admin) = spy.saw_inboxes_only(fixture).await;
    bucket_is_untouched(admin).await;
}

#[tokio::test]
async fn of_a_discovery_request() {
    let fixture = Fixture::start().await;
    bucket(&fixture).await;
    let spy = Spy::start(&fixture).await;
    let id = fixture.server.info()[0].id.clone();
    for verb in ["PING", "INFO", "STATS"] {
        for below in ["", ".Trust", &format!(".Trust.{id}")] {
            for reply in SUBJECTS {
                let subject = format!("$SRV.{verb}{below}");
                fixture.send(&subject, reply, &[], Bytes::new()).await;
            }
        }
    }
    synced(&fixture.nats.caller).await;
    settled(&fixture).await;
    let (_nats, admin) = spy.saw_inboxes_only(fixture).await;
    bucket_is_untouched(admin).await;
}

/// The other side of it: inboxes need not begin with `_INBOX`.
#[tokio::test]
async fn an_inbox_of_any_prefix_is_answered() {
    let fixture = Fixture::start().await;
    let spy = Spy::start(&fixture).await;
    for inbox in ["_INBOX.a", "_INBOX_alice.a", "_MINE.team.a"] {
        let mut answers = fixture.admin.subscribe(inbox).await.unwrap();
        synced(&fixture.admin).await;
        let request = text("a").bytes();
        fixture
            .send("trust.echo", inbox, &[], request.clone())
            .await;
        assert_eq!(soon(answers.next()).await.unwrap().payload, request);
        for (reply, header) in [(inbox, None), ("", Some(("Reply-To", inbox)))] {
            fixture
                .send("trust.feed", reply, header.as_slice(), Bytes::new())
                .await;
            for n in ["1", "2", "3"] {
                assert_eq!(
                    soon(answers.next()).await.unwrap().payload,
                    text(n).bytes(),
                    "{inbox}"
                );
            }
            assert_eq!(soon(answers.next()).await.unwrap().payload, "");
        }
    }
    spy.saw_inboxes_only(fixture).await;
}
