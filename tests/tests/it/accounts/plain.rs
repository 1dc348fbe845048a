//! Callers in another account that speak the plain protocol only.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use natsmicro_tests::accounts::nats;
use natsmicro_tests::common::{Nats, error_of, soon, synced};
use natsmicro_tests::streams::{Fixture, Number, PlainCaller, data, end, headers, range};
use natsmicro_tests::trust::{Impl, TrustServer};
use prost::Message as _;

/// Opens a stream of responses with a reply subject, the only way back from the account of the service.
async fn open(caller: &PlainCaller, subject: &str, payload: impl Into<Bytes>) {
    let headers = headers(&[("Reply-To", &caller.inbox)]);
    let (subject, reply) = (subject.to_owned(), caller.inbox.clone());
    let sent = caller
        .nats
        .publish_with_reply_and_headers(subject, reply, headers, payload.into());
    sent.await.unwrap();
}

#[tokio::test]
async fn responses_are_numbered_and_ended() {
    let fixture = Fixture::on(nats("stream").await).await;
    let mut caller = PlainCaller::new(&fixture.nats.caller).await;
    open(&caller, "s.count", range(7, 10).encode_to_vec()).await;
    for seq in 1..=3 {
        let number = Number::from(seq + 6).bytes();
        assert_eq!(caller.next().await, data(seq, number));
    }
    assert_eq!(caller.next().await, end());
    caller.no_more().await;
}

#[tokio::test]
async fn a_stream_of_requests_is_refused() {
    let fixture = Fixture::on(nats("stream").await).await;
    let nats = &fixture.nats.caller;
    for subject in ["s.sum", "s.double"] {
        let opening = headers(&[("Reply-To", &nats.new_inbox())]);
        let reply = nats.request_with_headers(subject, opening, Bytes::new());
        let reply = soon(reply).await.unwrap();
        let (code, message) = error_of(&reply).unwrap();
        assert_eq!(code, "FAILED_PRECONDITION");
        assert!(message.contains("another account"), "{message}");
    }
}

/// Nothing tells that such a caller is gone, so it does not get messages for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_at_full_pace_ends() {
    let nats: Nats = nats("stream").await;
    let service = Impl::default();
    let server = nats.server().add_service(TrustServer::new(service.clone()));
    let server = server.start().await.unwrap();
    let mut caller = PlainCaller::new(&nats.caller).await;
    open(&caller, "trust.torrent", Bytes::new()).await;
    let mut received = 0;
    let last = loop {
        let message = caller.next().await;
        if message.0.iter().any(|(name, _)| name == "Nats-Stream-End") {
            break message;
        }
        received += 1;
    };
    assert_eq!(received, 65_536);
    assert_eq!(last.0[1].1, "RESOURCE_EXHAUSTED");
    assert_eq!(service.live.load(Ordering::SeqCst), 0);
    soon(server.stop()).await.unwrap();
}

/// A slow stream holds its place until others need it.
#[tokio::test]
async fn a_caller_who_is_gone_makes_room_for_others() {
    let nats: Nats = nats("stream").await;
    let service = Impl::default();
    let server = nats.server().add_service(TrustServer::new(service.clone()));
    let server = server.with_drain_timeout(Duration::from_millis(100));
    let server = server.start().await.unwrap();

    let mut gone = PlainCaller::new(&nats.caller).await;
    open(&gone, "trust.only_one", Bytes::new()).await;
    gone.next().await;
    drop(gone);
    synced(&nats.caller).await;
    assert_eq!(service.live.load(Ordering::SeqCst), 1);

    let again = async {
        loop {
            let mut other = PlainCaller::new(&nats.caller).await;
            open(&other, "trust.only_one", Bytes::new()).await;
            let first = other.messages.next().await.unwrap();
            match error_of(&first) {
                None => return,
                Some((code, _)) => assert_eq!(code, "RESOURCE_EXHAUSTED"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(20), again).await;
    assert!(again.is_ok(), "no place after 20 seconds");
    // The second stream is cut.
    soon(server.stop()).await.unwrap_err();
}
