//! What a caller sends cannot fill the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use natsmicro_tests::common::{Nats, text};
use natsmicro_tests::raw::{RawPeer, message};
use natsmicro_tests::trust::{Impl, TrustServer};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts what an operator is warned of.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

const REQUESTS: usize = 50_000;
const WARNINGS: usize = 200;

/// Requests that go wrong in all ways that a caller can choose.
fn hostile(n: usize) -> Vec<u8> {
    let payload = text("a").bytes();
    match n % 10 {
        0 => message("trust.echo", "$JS.API.STREAM.DELETE.KV_b", &[], &payload),
        1 => message("trust.fail", "billing.charge", &[], &payload),
        2 => message("trust.echo", "_INBOX.a", &[], b"\x01"),
        3 => message("trust.feed", "_INBOX.a", &[], b"\x01"),
        4 => message("trust.feed", "$KV.b.k", &[], &payload),
        5 => message("trust.sum", "_INBOX.a", &[("Reply-To", "orders")], b""),
        6 => message("trust.chat", "", &[], b""),
        7 => message("$SRV.PING", "$JS.API.INFO", &[], b""),
        8 => message("trust.only_one", "_INBOX.a", &[], &payload),
        _ => message(
            "trust.echo",
            "_INBOX.a",
            &[("Natsmicro-Timeout-Ms", "never"), ("traceparent", "x")],
            &payload,
        ),
    }
}

/// The runtime has one thread, so that what the service logs goes to the subscriber of this test.
#[tokio::test]
async fn hostile_requests_are_not_logged_one_by_one() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let nats = Nats::start().await;
    let server = nats.server().add_service(TrustServer::new(Impl::default()));
    let server = server.start().await.unwrap();
    let mut peer = RawPeer::connect(nats.server.url());
    let sender = std::thread::spawn(move || {
        // At a pace that the service keeps up with, so that all are seen.
        for hundred in 0..REQUESTS / 100 {
            let requests: Vec<_> = (0..100).flat_map(|n| hostile(100 * hundred + n)).collect();
            peer.write(&requests);
            peer.round_trip();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    while !sender.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sender.join().unwrap();
    for endpoint in ["trust.echo", "trust.fail"] {
        nats.ask(endpoint, text("after all").bytes()).await;
    }
    // It is the requests of this test that were not logged, and not none.
    let endpoints = &server.stats()[0].endpoints;
    assert_eq!(endpoints[0].num_requests, 3 * REQUESTS as u64 / 10 + 1);
    let warned = warnings.0.load(Ordering::Relaxed);
    assert!(warned < WARNINGS, "{warned} warnings");
}
