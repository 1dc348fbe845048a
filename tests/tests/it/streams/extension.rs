//! The extension as it is written down, spoken by a peer that has only read that.

use bytes::Bytes;
use futures::StreamExt;
use prost::Message as _;

use natsmicro_tests::common::soon;
use natsmicro_tests::streams::{Fixture, Number, Plain, PlainCaller, data, headers, range};

fn number(n: u64) -> Bytes {
    Number::from(n).bytes()
}

fn control(pairs: &[(&str, &str)]) -> Plain {
    let pairs = pairs
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    (pairs.collect(), Bytes::new())
}

fn credit(messages: u64, bytes: u64) -> Plain {
    control(&[("Natsmicro-Credit", &format!("{messages} {bytes}"))])
}

/// A caller that offers the extension, and the inbox of the service.
struct Caller {
    plain: PlainCaller,
    peer: String,
}

impl Caller {
    async fn open(fixture: &Fixture, subject: &str, payload: Bytes, credit: &str) -> Self {
        let mut plain = PlainCaller::new(&fixture.nats.caller).await;
        let opening = headers(&[
            ("Reply-To", &plain.inbox),
            ("Natsmicro-Stream", "1"),
            ("Natsmicro-Credit", credit),
        ]);
        plain
            .nats
            .publish_with_reply_and_headers(
                subject.to_owned(),
                plain.inbox.clone(),
                opening,
                payload,
            )
            .await
            .unwrap();
        let (headers, payload) = plain.next().await;
        assert_eq!(payload, "");
        let names: Vec<_> = headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            ["Nats-Stream-Inbox", "Natsmicro-Credit", "Natsmicro-Stream"]
        );
        assert_eq!(headers[2].1, "1");
        let peer = headers[0].1.clone();
        Self { plain, peer }
    }

    /// The next message that is no heartbeat.
    async fn next(&mut self) -> Plain {
        loop {
            let message = self.plain.next().await;
            if message.0.iter().all(|(name, _)| name != "Natsmicro-Credit") {
                return message;
            }
        }
    }

    async fn send(&self, message: Plain) {
        self.plain.send(&self.peer, message).await;
    }
}

fn opening(from: u64, to: u64) -> Bytes {
    range(from, to).encode_to_vec().into()
}

fn batch(seq: u64, numbers: &[u64]) -> Plain {
    let mut payload = Vec::new();
    for n in numbers {
        let message = number(*n);
        payload.push(u8::try_from(message.len()).unwrap());
        payload.extend_from_slice(&message);
    }
    let headers = [
        ("Nats-Stream-Seq", seq.to_string()),
        ("Natsmicro-Batch", numbers.len().to_string()),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    (headers.into(), payload.into())
}

fn end(count: u64) -> Plain {
    control(&[
        ("Nats-Stream-End", "true"),
        ("Natsmicro-Count", &count.to_string()),
    ])
}

#[tokio::test]
async fn messages_are_sent_as_far_as_they_are_granted() {
    let fixture = Fixture::start().await;
    let mut caller = Caller::open(&fixture, "s.count", opening(10, 17), "2 1000").await;
    assert_eq!(caller.next().await, batch(1, &[10, 11]));
    caller.plain.no_more().await;
    caller.send(credit(3, 1000)).await;
    assert_eq!(caller.next().await, data(3, number(12)));
    // An older grant takes nothing back, one of bytes alone gives nothing.
    caller.send(credit(1, 2000)).await;
    caller.plain.no_more().await;
    caller.send(credit(100, 1000)).await;
    assert_eq!(caller.next().await, batch(4, &[13, 14, 15, 16]));
    assert_eq!(caller.next().await, end(7));
    caller.plain.no_more().await;
}

#[tokio::test]
async fn bytes_are_granted_too() {
    let fixture = Fixture::start().await;
    // Each number is a message of two bytes. The third goes beyond the five.
    let mut caller = Caller::open(&fixture, "s.count", opening(10, 17), "100 5").await;
    assert_eq!(caller.next().await, batch(1, &[10, 11, 12]));
    caller.plain.no_more().await;
    caller.send(credit(100, 7)).await;
    assert_eq!(caller.next().await, data(4, number(13)));
    caller.plain.no_more().await;
}

#[tokio::test]
async fn a_stream_that_is_open_and_has_no_message() {
    let fixture = Fixture::start().await;
    let mut caller = Caller::open(&fixture, "s.feed", opening(0, 0), "10 10").await;
    assert_eq!(
        caller.next().await,
        control(&[("Natsmicro-Opened", "true")])
    );
}

/// Its headers are not held back until the caller grants something.
#[tokio::test]
async fn a_stream_that_is_open_and_has_no_credit() {
    let fixture = Fixture::start().await;
    let mut caller = Caller::open(&fixture, "s.count", opening(10, 12), "0 0").await;
    assert_eq!(
        caller.next().await,
        control(&[("Natsmicro-Opened", "true")])
    );
    caller.send(credit(10, 1000)).await;
    assert_eq!(caller.next().await, batch(1, &[10, 11]));
    assert_eq!(caller.next().await, end(2));
}

#[tokio::test]
async fn requests_come_in_batches_and_are_answered_at_once() {
    let fixture = Fixture::start().await;
    let mut caller = Caller::open(&fixture, "s.sum", Bytes::new(), "0 0").await;
    caller.send(batch(1, &[1, 2, 3])).await;
    caller.send(data(4, number(4))).await;
    caller.send(batch(5, &[5])).await;
    caller.send(end(5)).await;
    assert_eq!(caller.next().await, (vec![], number(15)));

    let mut caller = Caller::open(&fixture, "s.first", Bytes::new(), "0 0").await;
    caller.send(data(1, number(7))).await;
    assert_eq!(caller.next().await, (vec![], number(7)));
    caller.plain.no_more().await;
}

#[tokio::test]
async fn reading_grants_more() {
    let fixture = Fixture::start().await;
    let mut caller = Caller::open(&fixture, "s.narrow", Bytes::new(), "100 1000").await;
    let numbers: Vec<_> = (1..=16).collect();
    caller.send(batch(1, &numbers)).await;
    // Nothing is read yet: a heartbeat says the same as the opening.
    let first = caller.plain.next().await;
    let heartbeat = control(&[("Natsmicro-Count", "0"), ("Natsmicro-Credit", "16 1048576")]);
    assert_eq!(first, heartbeat);
    fixture.go.notify_one();
    let granted = async {
        loop {
            let (headers, _) = caller.plain.next().await;
            let granted = headers.iter().find(|(name, _)| name == "Natsmicro-Credit");
            if granted.is_some_and(|(_, value)| value.starts_with("32 ")) {
                return;
            }
        }
    };
    soon(granted).await;
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let fixture = Fixture::start().await;
    let many: Vec<_> = (0..40).collect();
    let wrong = [
        ("s.sum", vec![end(1)], "DATA_LOSS"),
        (
            "s.sum",
            vec![batch(1, &[1, 2]), data(4, number(1))],
            "DATA_LOSS",
        ),
        (
            "s.sum",
            vec![batch(1, &[1, 2]), batch(2, &[2, 3])],
            "DATA_LOSS",
        ),
        ("s.narrow", vec![batch(1, &many)], "RESOURCE_EXHAUSTED"),
        (
            "s.sum",
            vec![(
                vec![
                    ("Nats-Stream-Seq".into(), "1".into()),
                    ("Natsmicro-Batch".into(), u64::MAX.to_string()),
                ],
                Bytes::from_static(b"\x02xy"),
            )],
            "INTERNAL",
        ),
    ];
    for (subject, messages, code) in wrong {
        let mut caller = Caller::open(&fixture, subject, Bytes::new(), "100 1000").await;
        for message in messages {
            caller.send(message).await;
        }
        fixture.go.notify_one();
        let error = loop {
            let (headers, _) = caller.next().await;
            let code = headers
                .iter()
                .find(|(name, _)| name == "Nats-Service-Error-Code");
            if let Some((_, code)) = code {
                break code.clone();
            }
        };
        assert_eq!(error, code, "{subject}");
    }
}

/// What a connection has lost, nobody would miss without the next message.
#[tokio::test]
async fn a_heartbeat_tells_what_is_lost() {
    let fixture = Fixture::start().await;
    let lost = [
        vec![("Natsmicro-Credit", "0 0"), ("Natsmicro-Count", "2")],
        vec![
            ("Natsmicro-Credit", "0 0"),
            ("Natsmicro-Count", "1"),
            ("Natsmicro-Ended", "true"),
        ],
    ];
    for heartbeat in lost {
        let mut caller = Caller::open(&fixture, "s.sum", Bytes::new(), "0 0").await;
        caller.send(data(1, number(1))).await;
        caller
            .send(control(&[
                ("Natsmicro-Credit", "0 0"),
                ("Natsmicro-Count", "1"),
            ]))
            .await;
        caller.send(control(&heartbeat)).await;
        assert_eq!(
            caller.next().await,
            control(&[("Natsmicro-Cancel", "true")])
        );
        let (headers, _) = caller.next().await;
        assert_eq!(headers[1].1, "DATA_LOSS", "{headers:?}");
    }
}

#[tokio::test]
async fn a_caller_that_cancels() {
    let mut fixture = Fixture::start().await;
    let caller = Caller::open(&fixture, "s.feed", opening(1, 0), "10 100").await;
    soon(fixture.opened.recv()).await;
    caller.send(control(&[("Natsmicro-Cancel", "true")])).await;
    soon(fixture.dropped.recv()).await;
}

#[tokio::test]
async fn heartbeats_keep_a_stream_alive() {
    let mut fixture = Fixture::start().await;
    let mut caller = Caller::open(&fixture, "s.feed", opening(1, 0), "10 100").await;
    soon(fixture.opened.recv()).await;
    for _ in 0..4 {
        // The service sends its own, and wants to know if they arrive.
        let heartbeat = async {
            loop {
                let message = caller.plain.messages.next().await.unwrap();
                let headers = message.headers.unwrap_or_default();
                if headers.get("Natsmicro-Credit").is_some() {
                    return (message.reply, headers);
                }
            }
        };
        let (reply, headers) = soon(heartbeat).await;
        assert_eq!(reply.as_deref(), Some(&*caller.peer));
        assert_eq!(headers.get("Natsmicro-Credit").unwrap().as_str(), "0 0");
        caller.send(credit(10, 100)).await;
    }
    assert!(fixture.dropped.try_recv().is_err());
    // And silence ends it, though somebody still listens.
    soon(fixture.dropped.recv()).await;
}
