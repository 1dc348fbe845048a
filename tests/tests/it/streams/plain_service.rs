//! Our client and services that speak the plain protocol only.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use natsmicro::{Client, Code, Status, Streaming};
use prost::Message as _;

use natsmicro_tests::common::{Nats, code_of, soon};
use natsmicro_tests::streams::{
    Number, Plain, StreamsClient, all, data, end, failed, headers, numbers, plain, range,
};

fn number(n: u64) -> Bytes {
    Number::from(n).bytes()
}

/// A service of one method that knows nothing of this crate.
struct Peer {
    nats: Nats,
    client: StreamsClient,
    requests: Subscriber,
}

impl Peer {
    async fn of(method: &str) -> Self {
        let nats = Nats::start().await;
        let requests = nats.peer(&format!("s.{method}")).await;
        let client = Client::new(nats.caller.clone()).with_timeout(Duration::from_secs(2));
        Self {
            client: StreamsClient::new(client),
            nats,
            requests,
        }
    }

    /// The next request, and the inbox it names.
    async fn request(&mut self) -> (Message, String) {
        let request = soon(self.requests.next()).await.unwrap();
        let headers = request.headers.as_ref().unwrap();
        let inbox = headers.get("Reply-To").unwrap().to_string();
        (request, inbox)
    }

    async fn send(&self, to: &str, (pairs, payload): Plain) {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
        self.send_with(to, headers(&pairs), payload).await;
    }

    async fn send_with(&self, to: &str, headers: HeaderMap, payload: Bytes) {
        self.nats
            .service
            .publish_with_headers(to.to_owned(), headers, payload)
            .await
            .unwrap();
    }

    /// Answers the handshake of a stream of requests; gives these.
    async fn shake_hands(&self, request: &Message) -> Subscriber {
        let inbox = self.nats.service.new_inbox();
        let messages = self.nats.service.subscribe(inbox.clone()).await.unwrap();
        let handshake = headers(&[("Nats-Stream-Inbox", &inbox)]);
        let reply = request.reply.clone().unwrap();
        self.send_with(&reply, handshake, Bytes::new()).await;
        messages
    }
}

async fn next(messages: &mut Subscriber) -> Plain {
    plain(&soon(messages.next()).await.unwrap())
}

#[tokio::test]
async fn responses_are_read() {
    let mut peer = Peer::of("count").await;
    let call = peer.client.count(range(1, 3)).with_header("X-Req", "1");
    let call = tokio::spawn(call.into_future());
    let (request, inbox) = peer.request().await;
    // What the extension adds is the offer.
    let (headers, payload) = plain(&request);
    let names: Vec<_> = headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        ["Natsmicro-Credit", "Natsmicro-Stream", "Reply-To", "X-Req"]
    );
    assert_eq!(payload, range(1, 3).encode_to_vec());
    assert_eq!(request.reply.as_deref(), Some(&*inbox));
    for seq in 1..=3 {
        peer.send(&inbox, data(seq, number(seq))).await;
    }
    peer.send(&inbox, end()).await;
    peer.send(&inbox, end()).await;
    assert_eq!(all(soon(call).await.unwrap().unwrap()).await, [1, 2, 3]);

    let call = tokio::spawn(peer.client.count(range(1, 3)).into_future());
    let (_, inbox) = peer.request().await;
    peer.send(&inbox, end()).await;
    assert!(all(soon(call).await.unwrap().unwrap()).await.is_empty());
}

#[tokio::test]
async fn errors_of_the_service_are_read() {
    let mut peer = Peer::of("count").await;
    // In the stream.
    let call = tokio::spawn(peer.client.count(range(1, 3)).into_future());
    let (_, inbox) = peer.request().await;
    peer.send(&inbox, data(1, number(1))).await;
    peer.send(&inbox, failed("OUT_OF_NUMBERS", "no more", "details"))
        .await;
    let mut stream = soon(call).await.unwrap().unwrap();
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 1);
    let error = soon(stream.message()).await.unwrap_err();
    let expected = Status::new("OUT_OF_NUMBERS", "no more").with_details("details");
    assert_eq!(error, expected);
    assert!(soon(stream.next()).await.is_none());

    // In place of it: as an end, in the other headers, and as an error of a service without streams.
    for (first, code) in [
        (
            headers(&[
                ("Nats-Stream-End", "true"),
                ("Nats-Service-Error", "[NOT_FOUND] CountUp: mid stream"),
                ("Nats-Service-Error-Code", "INTERNAL"),
            ]),
            "INTERNAL",
        ),
        (
            headers(&[
                ("Nats-Stream-End", "true"),
                ("Status", "NOT_FOUND"),
                ("Description", "none"),
            ]),
            "NOT_FOUND",
        ),
        (
            headers(&[
                ("Nats-Service-Error-Code", "400"),
                ("Nats-Service-Error", "bad"),
            ]),
            "400",
        ),
    ] {
        let call = tokio::spawn(peer.client.count(range(1, 3)).into_future());
        let (_, inbox) = peer.request().await;
        peer.send_with(&inbox, first, Bytes::new()).await;
        assert_eq!(code_of(soon(call).await.unwrap()), code);
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_responses_is_told() {
    let mut peer = Peer::of("count").await;
    let wrong = [
        (data(3, number(1)), Code::DataLoss),
        (data(1, number(1)), Code::DataLoss),
        ((vec![], number(1)), Code::Internal),
    ];
    for (second, code) in wrong {
        let call = tokio::spawn(peer.client.count(range(1, 3)).into_future());
        let (_, inbox) = peer.request().await;
        peer.send(&inbox, data(1, number(1))).await;
        peer.send(&inbox, second).await;
        let mut stream = soon(call).await.unwrap().unwrap();
        soon(stream.message()).await.unwrap();
        assert_eq!(soon(stream.message()).await.unwrap_err().code(), &code);
        assert!(soon(stream.next()).await.is_none());
    }
}

#[tokio::test]
async fn an_undecodable_message_is_an_error_in_its_place() {
    let mut peer = Peer::of("count").await;
    let call = tokio::spawn(peer.client.count(range(1, 3)).into_future());
    let (_, inbox) = peer.request().await;
    peer.send(&inbox, data(1, number(1))).await;
    peer.send(&inbox, data(2, "\u{1}")).await;
    peer.send(&inbox, data(3, number(3))).await;
    peer.send(&inbox, end()).await;
    let mut stream = soon(call).await.unwrap().unwrap();
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 1);
    let error = soon(stream.message()).await.unwrap_err();
    assert!(
        error
            .message()
            .starts_with("failed to decode message 2 of the stream: "),
        "{error}"
    );
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 3);
    assert_eq!(soon(stream.message()).await, Ok(None));
}

#[tokio::test]
async fn requests_are_numbered_and_ended() {
    let mut peer = Peer::of("sum").await;
    for response in [
        HeaderMap::new(),
        // Some peers end the response, too.
        headers(&[("Nats-Stream-End", "true")]),
    ] {
        let call = tokio::spawn(peer.client.sum(numbers(5..8)).into_future());
        let (request, inbox) = peer.request().await;
        assert_eq!(request.payload, "");
        let mut messages = peer.shake_hands(&request).await;
        for seq in 1..=3 {
            assert_eq!(next(&mut messages).await, data(seq, number(seq + 4)));
        }
        assert_eq!(next(&mut messages).await, end());
        peer.send_with(&inbox, response, number(18)).await;
        assert_eq!(soon(call).await.unwrap().unwrap().n, 18);
        assert!(messages.next().now_or_never().is_none());
    }
}

#[tokio::test]
async fn an_early_answer_ends_the_requests() {
    let mut peer = Peer::of("sum").await;
    let (sender, numbers) = Streaming::channel(1);
    let call = tokio::spawn(peer.client.sum(numbers).into_future());
    let (request, inbox) = peer.request().await;
    let mut messages = peer.shake_hands(&request).await;
    soon(sender.send(1.into())).await.unwrap();
    assert_eq!(next(&mut messages).await, data(1, number(1)));
    let error = headers(&[
        ("Nats-Service-Error-Code", "NOT_FOUND"),
        ("Nats-Service-Error", "no"),
    ]);
    peer.send_with(&inbox, error, "details".into()).await;
    let error = soon(call).await.unwrap().unwrap_err();
    assert_eq!(error, Status::not_found("no").with_details("details"));
    soon(sender.closed()).await;
}

#[tokio::test]
async fn messages_go_both_ways() {
    let mut peer = Peer::of("double").await;
    let call = tokio::spawn(peer.client.double(numbers(1..4)).into_future());
    let (request, inbox) = peer.request().await;
    let mut messages = peer.shake_hands(&request).await;
    let mut stream = soon(call).await.unwrap().unwrap();
    for seq in 1..=3 {
        assert_eq!(next(&mut messages).await, data(seq, number(seq)));
        peer.send(&inbox, data(seq, number(2 * seq))).await;
        assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 2 * seq);
    }
    assert_eq!(next(&mut messages).await, end());
    peer.send(&inbox, end()).await;
    assert_eq!(soon(stream.message()).await, Ok(None));
}

#[tokio::test]
async fn a_peer_gets_no_heartbeats() {
    let mut peer = Peer::of("double").await;
    let (sender, numbers) = Streaming::<Number>::channel(1);
    let call = tokio::spawn(peer.client.double(numbers).into_future());
    let (request, _) = peer.request().await;
    let mut messages = peer.shake_hands(&request).await;
    let stream = soon(call).await.unwrap().unwrap();
    // Longer than the interval of heartbeats, and what it takes to call the other side dead.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(messages.next().now_or_never().is_none());
    // The one way to tell it that nobody waits.
    drop(stream);
    let end = failed("CANCELLED", "the call was dropped", "");
    assert_eq!(next(&mut messages).await, end);
    soon(sender.closed()).await;
}

#[tokio::test]
async fn requests_are_sent_to_a_subject_only() {
    let mut peer = Peer::of("sum").await;
    let mut everything = peer.nats.service.subscribe(">").await.unwrap();
    for target in ["_INBOX.>", "a.*", "a b", "", "$JS.API.INFO"] {
        let call = tokio::spawn(peer.client.sum(numbers(5..8)).into_future());
        let (request, _) = peer.request().await;
        let handshake = headers(&[("Nats-Stream-Inbox", target)]);
        let reply = request.reply.clone().unwrap();
        peer.send_with(&reply, handshake, Bytes::new()).await;
        assert_eq!(code_of(soon(call).await.unwrap()), "INTERNAL");
    }
    let done = Subject::from("done");
    peer.nats.service.publish(done, Bytes::new()).await.unwrap();
    while let Some(message) = soon(everything.next()).await {
        match message.subject.as_str() {
            "done" => break,
            "s.sum" => {}
            subject => assert!(subject.starts_with("_INBOX."), "{message:?}"),
        }
    }
}

/// The service goes on with nobody, unless it learns from the NATS server that nobody listens.
#[tokio::test]
async fn a_call_that_is_dropped_before_its_first_message() {
    let mut peer = Peer::of("count").await;
    let call = tokio::spawn(peer.client.count(range(1, 3)).into_future());
    let (_, inbox) = peer.request().await;
    call.abort();
    soon(call).await.unwrap_err();
    peer.send(&inbox, data(1, number(1))).await;
    let left = async {
        loop {
            let answer = peer.nats.service.request(inbox.clone(), Bytes::new());
            let answer = tokio::time::timeout(Duration::from_millis(100), answer).await;
            if let Ok(Err(_)) = answer {
                return;
            }
        }
    };
    soon(left).await;
}

/// The acceptance of a plain service has no headers of its handler; the first message, or the end, has.
#[tokio::test]
async fn response_headers_of_a_conversation() {
    let mut peer = Peer::of("double").await;
    let (sender, numbers) = Streaming::channel(1);
    let call = tokio::spawn(peer.client.double(numbers).response());
    let (request, inbox) = peer.request().await;
    let mut messages = peer.shake_hands(&request).await;
    // The requests are sent before the handler has answered.
    soon(sender.send(1.into())).await.unwrap();
    assert_eq!(next(&mut messages).await, data(1, number(1)));
    let (mut pairs, payload) = data(1, number(2));
    pairs.push(("X-Resp".into(), "first".into()));
    peer.send(&inbox, (pairs, payload)).await;
    let (mut stream, headers) = soon(call).await.unwrap().unwrap().into_parts();
    assert_eq!(headers.get("X-Resp").unwrap().as_str(), "first");
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 2);

    let call = tokio::spawn(peer.client.double(self::numbers(0..0)).response());
    let (request, inbox) = peer.request().await;
    let _messages = peer.shake_hands(&request).await;
    let (mut pairs, payload) = end();
    pairs.push(("X-Resp".into(), "end".into()));
    peer.send(&inbox, (pairs, payload)).await;
    let (stream, headers) = soon(call).await.unwrap().unwrap().into_parts();
    assert_eq!(headers.get("X-Resp").unwrap().as_str(), "end");
    assert!(all(stream).await.is_empty());
}

/// It has accepted the request, and the handler never returns its stream.
#[tokio::test]
async fn a_conversation_without_a_response() {
    let mut peer = Peer::of("double").await;
    let call = tokio::spawn(peer.client.double(numbers(0..1)).response());
    let (request, _) = peer.request().await;
    let _messages = peer.shake_hands(&request).await;
    assert_eq!(code_of(soon(call).await.unwrap()), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_service_that_receives_no_more() {
    let mut peer = Peer::of("double").await;
    let (sender, numbers) = Streaming::channel(1);
    let call = tokio::spawn(peer.client.double(numbers).into_future());
    let (request, _) = peer.request().await;
    drop(peer.shake_hands(&request).await);
    let mut stream = soon(call).await.unwrap().unwrap();
    tokio::spawn(async move {
        for n in 0.. {
            if sender.send(n.into()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(code_of(soon(stream.message()).await), "UNAVAILABLE");
}

#[tokio::test]
async fn a_service_that_does_not_answer() {
    let mut peer = Peer::of("*").await;
    let client = &peer.client;
    let calls = [
        tokio::spawn(client.count(range(0, 1)).into_future().map(code_of)),
        tokio::spawn(client.sum(numbers(0..1)).into_future().map(code_of)),
        tokio::spawn(client.double(numbers(0..1)).into_future().map(code_of)),
    ];
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), "DEADLINE_EXCEEDED");
    }
    for _ in 0..3 {
        peer.request().await;
    }
    // One that takes the requests and gives no response.
    let call = tokio::spawn(peer.client.sum(numbers(0..1)).into_future());
    let (request, _) = peer.request().await;
    let _messages = peer.shake_hands(&request).await;
    assert_eq!(code_of(soon(call).await.unwrap()), "DEADLINE_EXCEEDED");
}
