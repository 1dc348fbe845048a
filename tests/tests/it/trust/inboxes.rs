//! An inbox cannot be guessed from others: who knows it can send into the stream, and read it.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::StreamExt;
use natsmicro::Streaming;
use natsmicro_tests::common::{soon, synced, text};
use natsmicro_tests::trust::{Fixture, TrustClient};

/// How many streams of each kind are opened.
const STREAMS: usize = 4;
/// 128 bits in letters and digits, of which there are 62.
const DIGITS: usize = 22;
/// Two of so few random inboxes begin with more than this in common about once in 5,000 runs.
const IN_COMMON: usize = 4;

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Checks the last tokens of inboxes that one process has made.
fn are_unguessable(whose: &str, inboxes: &BTreeSet<String>) {
    let tokens: Vec<_> = inboxes
        .iter()
        .map(|inbox| inbox.rsplit('.').next().unwrap())
        .collect();
    for (n, token) in tokens.iter().enumerate() {
        assert!(
            token.len() >= DIGITS && token.bytes().all(|digit| digit.is_ascii_alphanumeric()),
            "{whose}: `{token}` does not hold 128 random bits"
        );
        for other in &tokens[..n] {
            assert!(
                common_prefix(token, other) <= IN_COMMON,
                "{whose}: `{other}` tells of `{token}`"
            );
        }
    }
}

/// `n` inboxes of the service and as many of callers, from the headers of what is published.
async fn named(all: &mut async_nats::Subscriber, n: usize) -> [BTreeSet<String>; 2] {
    let mut inboxes = [BTreeSet::new(), BTreeSet::new()];
    let seen = async {
        while inboxes.iter().any(|inboxes| inboxes.len() < n) {
            let message = all.next().await.unwrap();
            for (name, inboxes) in ["Nats-Stream-Inbox", "Reply-To"].iter().zip(&mut inboxes) {
                let header = message.headers.as_ref().and_then(|all| all.get(*name));
                inboxes.extend(header.map(ToString::to_string));
            }
        }
    };
    soon(seen).await;
    inboxes
}

#[tokio::test]
async fn of_streams_with_the_extension() {
    let fixture = Fixture::start().await;
    let mut all = fixture.admin.subscribe(">").await.unwrap();
    synced(&fixture.admin).await;
    let client = TrustClient::new(fixture.nats.caller.clone());
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(client.tick(text("")).await.unwrap());
        let (sender, messages) = Streaming::channel(1);
        open.push(client.chat(messages).await.unwrap());
        sender.send(text("")).await.unwrap();
    }
    let [of_service, of_caller] = named(&mut all, 2 * STREAMS).await;
    are_unguessable("the service", &of_service);
    are_unguessable("the caller", &of_caller);
}

#[tokio::test]
async fn of_plain_streams() {
    let fixture = Fixture::start().await;
    let mut all = fixture.admin.subscribe(">").await.unwrap();
    synced(&fixture.admin).await;
    for n in 0..2 * STREAMS {
        let headers = [("Reply-To", &*format!("_INBOX.plain.{n}"))];
        let endpoint = ["trust.sum", "trust.chat"][n % 2];
        fixture.send(endpoint, "", &headers, Bytes::new()).await;
    }
    let [of_service, _] = named(&mut all, 2 * STREAMS).await;
    are_unguessable("the service", &of_service);
}
