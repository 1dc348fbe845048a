//! A reply subject so long that a protocol line with it is too long for the NATS server, which would close the connection.

use std::sync::atomic::Ordering;

use natsmicro::Status;
use natsmicro_tests::common::{Nats, Text, error_of, synced, text};
use natsmicro_tests::raw::{RawPeer, message};

/// Its subjects have three bytes: the shorter the subject, the longer a reply subject fits beside it.
#[natsmicro::service(subject_prefix = "a")]
trait Short {
    /// Fails if the text is empty.
    async fn b(&self, request: Text) -> Result<Text, Status>;
    async fn c(&self, request: Text) -> Result<natsmicro::Streaming<Text>, Status>;
}

struct Service;

impl Short for Service {
    async fn b(&self, request: Text) -> Result<Text, Status> {
        if request.text.is_empty() {
            return Err(Status::not_found("an error with a text of some length"));
        }
        Ok(request)
    }

    async fn c(&self, request: Text) -> Result<natsmicro::Streaming<Text>, Status> {
        Ok(natsmicro::Streaming::iter([request]))
    }
}

/// An inbox of `length` bytes.
fn inbox(length: usize) -> String {
    let prefix = "_INBOX.";
    format!("{prefix}{}", "x".repeat(length - prefix.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_no_connection() {
    let nats = Nats::start().await;
    let server = nats.server().add_service(ShortServer::new(Service));
    let _server = server.start().await.unwrap();
    // Who receives at inboxes that long.
    let mut all = RawPeer::connect(nats.server.url());
    all.subscribe("_INBOX.>");
    all.discard_input();
    let requests = [
        ("a.b", text("").bytes()),
        ("a.b", text("an answer").bytes()),
        ("a.b", "\u{1}".into()),
        ("a.c", text("a stream").bytes()),
        ("a.c", "\u{1}".into()),
        ("$SRV.PING", "".into()),
        ("$SRV.INFO", "".into()),
    ];
    for length in [4_000, 4_080, 4_085, 4_087, 4_088, 4_089, 4_090] {
        for (subject, payload) in &requests {
            let request = message(subject, &inbox(length), &[], payload);
            // The server counts what follows `PUB `.
            let line = request.iter().position(|byte| *byte == b'\r').unwrap();
            if line - "PUB ".len() > 4_096 {
                continue;
            }
            let mut peer = RawPeer::connect(nats.server.url());
            peer.write(&request);
            peer.round_trip();
            let next = nats.ask("a.b", text("next").bytes()).await;
            assert_eq!(error_of(&next), None);
            assert_eq!(next.payload, text("next").bytes());
            synced(&nats.service).await;
            let connects = nats.service.statistics().connects.load(Ordering::Relaxed);
            assert_eq!(
                connects,
                1,
                "after a reply subject of {length} bytes for `{subject}`:\n{}",
                nats.server.log()
            );
        }
    }
}
