//! Callers in the plain protocol who go without a word, and what they leave behind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro_tests::common::{error_of, soon, synced, text};
use natsmicro_tests::raw::{RawPeer, message};
use natsmicro_tests::streams::{PlainCaller, end, headers};
use natsmicro_tests::trust::Fixture;

/// How a caller says where it receives.
#[derive(Clone, Copy, Debug)]
enum Inbox {
    Header,
    ReplySubject,
}

/// A caller on a connection of its own, with an endless stream that it has received something of.
async fn receiver(
    fixture: &Fixture,
    endpoint: &str,
    named: Inbox,
) -> (async_nats::Client, Subscriber) {
    let caller = fixture.caller().await;
    let inbox = caller.new_inbox();
    let mut messages = caller.subscribe(inbox.clone()).await.unwrap();
    synced(&caller).await;
    match named {
        Inbox::Header => {
            let headers = [("Reply-To", &*inbox)];
            fixture.send(endpoint, "", &headers, Bytes::new()).await;
        }
        Inbox::ReplySubject => fixture.send(endpoint, &inbox, &[], Bytes::new()).await,
    }
    for _ in 0..3 {
        let message = soon(messages.next()).await.unwrap();
        assert!(error_of(&message).is_none(), "{message:?}");
    }
    assert_eq!(fixture.service.live.load(Ordering::SeqCst), 1);
    (caller, messages)
}

async fn ends_without_its_caller(endpoint: &str) {
    let fixture = Fixture::start().await;
    for named in [Inbox::Header, Inbox::ReplySubject] {
        let (caller, mut messages) = receiver(&fixture, endpoint, named).await;
        messages.unsubscribe().await.unwrap();
        synced(&caller).await;
        fixture
            .no_live_stream(&format!("{endpoint}, {named:?}, unsubscribed"))
            .await;

        let (caller, messages) = receiver(&fixture, endpoint, named).await;
        // Nobody holds the connection any more: it is closed.
        drop((caller, messages));
        fixture
            .no_live_stream(&format!("{endpoint}, {named:?}, disconnected"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_stream_ends() {
    ends_without_its_caller("trust.tick").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_at_full_pace_ends() {
    ends_without_its_caller("trust.torrent").await;
}

/// Somebody listens there, but has not asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_for_somebody_else_is_none() {
    let fixture = Fixture::start().await;
    let _billing = fixture.admin.subscribe("billing.>").await.unwrap();
    synced(&fixture.admin).await;
    for reply in ["billing.charge", "trust.echo"] {
        for endpoint in ["trust.tick", "trust.torrent"] {
            fixture.send(endpoint, reply, &[], Bytes::new()).await;
        }
    }
    // When these have begun, the ones before have been taken too.
    let mut own = Vec::new();
    for endpoint in ["trust.tick", "trust.torrent"] {
        let inbox = fixture.nats.caller.new_inbox();
        let mut messages = fixture.nats.caller.subscribe(inbox.clone()).await.unwrap();
        let headers = [("Reply-To", &*inbox)];
        fixture.send(endpoint, "", &headers, Bytes::new()).await;
        soon(messages.next()).await.unwrap();
        own.push(messages);
    }
    drop(own);
    fixture.no_live_stream("for somebody else").await;
}

/// Streams that were opened and not ended hold no place for longer than it takes to see that their caller has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openings_of_a_caller_who_has_gone_hold_no_places() {
    const OPENINGS: usize = 2_000;
    for named in [Inbox::Header, Inbox::ReplySubject] {
        let fixture = Fixture::start().await;
        let mut peer = RawPeer::connect_as(fixture.nats.server.url(), "caller");
        peer.subscribe("_INBOX.gone.*");
        peer.discard_input();
        let mut openings = Vec::new();
        for n in 0..OPENINGS {
            let (inbox, reply) = (format!("_INBOX.gone.{n}"), format!("_INBOX.gone.r{n}"));
            openings.extend(match named {
                Inbox::Header => message("trust.sum", &reply, &[("Reply-To", &inbox)], b""),
                Inbox::ReplySubject => message("trust.sum", &inbox, &[], b""),
            });
        }
        peer.write(&openings);
        // They are taken: the endpoint has no place left, and says so.
        let nats = &fixture.nats.caller;
        let full = async {
            while open(nats).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(full).await;
        drop(peer);

        let place = async {
            loop {
                match open(nats).await {
                    Ok(place) => return place,
                    Err(code) => assert_eq!(code, "RESOURCE_EXHAUSTED"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let place = tokio::time::timeout(Duration::from_secs(15), place).await;
        let (mut caller, inbox) =
            place.unwrap_or_else(|_| panic!("{named:?}: no place within 15 seconds"));
        caller.send(&inbox, end()).await;
        assert_eq!(caller.next().await, (vec![], text("0").bytes()));
    }
}

/// A caller with a stream of requests, and the inbox of the service; or the code of the refusal.
async fn open(nats: &async_nats::Client) -> Result<(PlainCaller, String), String> {
    let caller = PlainCaller::new(nats).await;
    let opening = headers(&[("Reply-To", &caller.inbox)]);
    let reply = nats.request_with_headers("trust.sum", opening, Bytes::new());
    let reply = soon(reply).await.unwrap();
    if let Some((code, _)) = error_of(&reply) {
        return Err(code.to_owned());
    }
    let inbox = reply
        .headers
        .unwrap()
        .get("Nats-Stream-Inbox")
        .unwrap()
        .to_string();
    Ok((caller, inbox))
}

/// The same for streams of responses that nobody has received anything of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_caller_who_never_listened_end() {
    let fixture = Fixture::start().await;
    for n in 0..200 {
        let inbox = format!("_INBOX.nobody.{n}");
        let headers = [("Reply-To", &*inbox)];
        fixture
            .send("trust.tick", "", &headers, text("").bytes())
            .await;
    }
    synced(&fixture.nats.caller).await;
    let begun = async {
        while fixture.service.live.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(begun).await;
    fixture.no_live_stream("never listened").await;
}

/// A caller that never listens for its response makes the service send it a few times, and not as often as it goes.
#[tokio::test]
async fn a_response_to_nobody_is_sent_a_few_times() {
    let fixture = Fixture::start().await;
    let caller = &fixture.nats.caller;
    let opening = headers(&[("Reply-To", "_INBOX.nobody")]);
    let reply = caller.request_with_headers("trust.sum", opening, Bytes::new());
    let reply = soon(reply).await.unwrap();
    let inbox = natsmicro_tests::streams::plain(&reply).0[0].1.clone();
    let sent = || {
        let statistics = fixture.nats.service.statistics();
        statistics.out_messages.load(Ordering::Relaxed)
    };
    let before = sent();
    let end = headers(&[("Nats-Stream-End", "true")]);
    let ended = caller.publish_with_headers(inbox, end, Bytes::new());
    ended.await.unwrap();
    let counted = async {
        while fixture.server.stats()[0]
            .endpoints
            .iter()
            .all(|it| it.name != "sum" || it.num_requests == 0)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(counted).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // With each, a message to itself tells that there was time for the report of the NATS server.
    let messages = sent() - before;
    assert!(
        (2..=14).contains(&messages),
        "{messages} messages were sent"
    );
}
