use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;

use super::*;
use crate::status::Code;
use crate::testing::NatsServer;
use crate::transport::round_trip::round_trip;

const SOON: Duration = Duration::from_secs(20);

async fn gate_with_capacity(server: &NatsServer, capacity: usize) -> Gate {
    let options = async_nats::ConnectOptions::new().client_capacity(capacity);
    let nats = options.connect(server.url()).await.unwrap();
    Gate::new(nats, ReplySubjects::default(), None)
}

fn message(subject: &str, number: usize) -> Outgoing {
    Outgoing::to(subject).with_payload(Bytes::from(number.to_string()))
}

#[tokio::test]
async fn what_nobody_polls_stops_nothing() {
    const COUNT: usize = 10_000;
    let server = NatsServer::start().await.unwrap();
    let gate = gate_with_capacity(&server, 2).await;
    let mut received = gate.subscribe("test".to_owned()).await.unwrap();
    // Far more than the connection has room for, and none of it is polled.
    let unpolled: Vec<_> = (0..COUNT)
        .map(|number| gate.publish(Lane::Reply, message("test", number)))
        .collect();
    for number in 0..COUNT {
        let arrived = timeout(SOON, received.next()).await.unwrap().unwrap();
        assert_eq!(arrived.payload, number.to_string());
    }
    // The last result is there as well, and the gate works as at first.
    for publishing in unpolled {
        timeout(SOON, publishing).await.unwrap().unwrap();
    }
    timeout(SOON, round_trip(&gate, SOON))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_dropped_message_is_withdrawn_and_the_others_are_sent() {
    let server = NatsServer::start().await.unwrap();
    let gate = gate_with_capacity(&server, 1).await;
    let mut received = gate.subscribe("test".to_owned()).await.unwrap();
    let publishing: Vec<_> = (0..100)
        .map(|number| gate.publish(Lane::Reply, message("test", number)))
        .collect();
    let waiting = publishing.iter().filter(|it| it.result().is_none()).count();
    assert!(waiting > 50, "{waiting} of 100 wait");
    drop(publishing);
    let last = gate.publish(Lane::Reply, message("test", 100));
    timeout(SOON, last).await.unwrap().unwrap();
    let mut arrived = Vec::new();
    while arrived.last().is_none_or(|last| last != "100") {
        let message = timeout(SOON, received.next()).await.unwrap().unwrap();
        arrived.push(message.payload);
    }
    assert_eq!(arrived.len(), 100 - waiting + 1);
}

#[tokio::test]
async fn discovery_overtakes_what_waits() {
    let server = NatsServer::start().await.unwrap();
    let gate = gate_with_capacity(&server, 1).await;
    let mut received = gate.subscribe("test.*".to_owned()).await.unwrap();
    let mut publishing = Vec::new();
    for number in 0..1_000 {
        publishing.push(gate.publish(Lane::Reply, message("test.reply", number)));
    }
    let discovery = gate.publish(Lane::Discovery, message("test.discovery", 0));
    assert_eq!(discovery.result(), None);
    let mut before = 0;
    loop {
        let message = timeout(SOON, received.next()).await.unwrap().unwrap();
        if message.subject.as_str() == "test.discovery" {
            break;
        }
        before += 1;
    }
    assert!(before < 100, "{before} replies were sent before");
    drop(publishing);
}

#[tokio::test]
async fn what_the_server_would_refuse_is_refused_here() {
    let server = NatsServer::start().await.unwrap();
    let gate = gate_with_capacity(&server, 16).await;
    let long = "a".repeat(4_085);
    for (message, error) in [
        // The NATS server closes the connection upon such a line.
        (
            Outgoing::to("abc").with_reply(Subject::from(long.clone())),
            PublishError::InvalidSubject,
        ),
        (Outgoing::to(long), PublishError::InvalidSubject),
        (Outgoing::to("a b"), PublishError::InvalidSubject),
        (
            Outgoing::to("abc").with_payload(Bytes::from(vec![0; gate.max_payload() + 1])),
            PublishError::TooLarge,
        ),
    ] {
        assert_eq!(gate.publish(Lane::Reply, message).await, Err(error));
    }
    round_trip(&gate, SOON).await.unwrap();
    assert_eq!(gate.connection_epoch(), 1);
}

#[tokio::test]
async fn refusals_that_wait_are_bounded_and_replies_are_not() {
    const COUNT: usize = 20_000;
    let server = NatsServer::start().await.unwrap();
    let gate = gate_with_capacity(&server, 1).await;
    let refused = |lane| {
        let publishing: Vec<_> = (0..COUNT)
            .map(|number| gate.publish(lane, message("test", number)))
            .collect();
        let is_refused = |it: &&Publishing| it.result() == Some(Err(PublishError::Refused));
        publishing.iter().filter(is_refused).count()
    };
    assert_eq!(refused(Lane::Reply), 0);
    let bound = Lane::Refusal.max_waiting();
    assert!((COUNT - bound - 1..=COUNT - bound).contains(&refused(Lane::Refusal)));
}

#[tokio::test]
async fn an_error_always_fits() {
    let server = NatsServer::start().await.unwrap();
    let gate = gate_with_capacity(&server, 16).await;
    let mut received = gate.subscribe("test".to_owned()).await.unwrap();
    let status = Status::new(Code::Aborted, "long ".repeat(1_000_000))
        .with_details(Bytes::from(vec![0; gate.max_payload()]));
    let sent = gate.publish_status(
        Lane::Reply,
        Outgoing::to("test"),
        &HeaderMap::new(),
        &status,
    );
    sent.await.unwrap();
    let arrived = timeout(SOON, received.next()).await.unwrap().unwrap();
    let status = headers::read_status(&arrived).unwrap();
    assert_eq!(status.code(), &Code::Aborted);
    assert_eq!(status.message(), "long ".repeat(52)[..256].trim());
}

#[test]
fn a_runtime_that_ends_takes_its_backlog_along() {
    let connection = tokio::runtime::Runtime::new().unwrap();
    let (_server, nats) = connection.block_on(async {
        let server = NatsServer::start().await.unwrap();
        let options = async_nats::ConnectOptions::new().client_capacity(1);
        let nats = options.connect(server.url()).await.unwrap();
        (server, nats)
    });
    let other = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut publishing = Vec::new();
    let gate = other.block_on(async {
        let gate = Gate::new(nats, ReplySubjects::default(), None);
        for number in 0..1_000 {
            publishing.push(gate.publish(Lane::Reply, message("test", number)));
        }
        gate
    });
    let waiting = publishing.pop().unwrap();
    assert_eq!(waiting.result(), None);
    drop(other);
    // What has to wait from now on fails at once, and nothing hangs.
    publishing.extend((0..1_000).map(|number| gate.publish(Lane::Reply, message("test", number))));
    connection.block_on(async {
        let unsent = timeout(SOON, waiting).await.unwrap();
        assert_eq!(unsent, Err(PublishError::Closed));
        for publishing in publishing {
            let _known = timeout(SOON, publishing).await.unwrap();
        }
        let sent = async {
            while gate.publish(Lane::Reply, message("test", 0)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, sent).await.unwrap();
    });
}
