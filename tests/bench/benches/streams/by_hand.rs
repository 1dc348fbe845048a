//! The same messages, published and subscribed to.

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use natsmicro_bench::{Calling, Sample, timed};
use prost::Message as _;

use crate::{Item, Order};

const RESPONSES: &str = "hand.responses";
const REQUESTS: &str = "hand.requests";
const BOTH: &str = "hand.both";

type Failed = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn serve(nats: &Client) {
    let orders = nats.subscribe(RESPONSES).await.unwrap();
    tokio::spawn(stream_responses(orders, nats.clone()));
    let orders = nats.subscribe(REQUESTS).await.unwrap();
    tokio::spawn(count_requests(orders, nats.clone()));
    let orders = nats.subscribe(BOTH).await.unwrap();
    tokio::spawn(send_back(orders, nats.clone()));
    nats.flush().await.unwrap();
}

/// Publishes the messages that an order asks for, and an empty one.
async fn publish(nats: &Client, order: &Order, to: &str) -> Result<(), Failed> {
    for item in order.items() {
        nats.publish(to.to_owned(), item.encode_to_vec().into())
            .await?;
    }
    nats.publish(to.to_owned(), Bytes::new()).await?;
    Ok(())
}

/// How many messages came before the empty one.
async fn count(messages: &mut Subscriber) -> Result<u64, Failed> {
    let mut received = 0;
    while let Some(message) = messages.next().await {
        if message.payload.is_empty() {
            break;
        }
        Item::decode(message.payload)?;
        received += 1;
    }
    Ok(received)
}

async fn stream_responses(mut orders: Subscriber, nats: Client) {
    while let Some(message) = orders.next().await {
        let order = Order::decode(message.payload).unwrap();
        publish(&nats, &order, &order.inbox).await.unwrap();
    }
}

async fn count_requests(mut orders: Subscriber, nats: Client) {
    while let Some(message) = orders.next().await {
        let inbox = nats.new_inbox();
        let mut messages = nats.subscribe(inbox.clone()).await.unwrap();
        let reply = message.reply.clone().unwrap();
        nats.publish(reply, inbox.into()).await.unwrap();
        let count = count(&mut messages).await.unwrap().to_string();
        nats.publish(text(&message), count.into()).await.unwrap();
    }
}

async fn send_back(mut orders: Subscriber, nats: Client) {
    while let Some(message) = orders.next().await {
        let inbox = nats.new_inbox();
        let mut messages = nats.subscribe(inbox.clone()).await.unwrap();
        nats.publish(message.reply.clone().unwrap(), inbox.into())
            .await
            .unwrap();
        let to = text(&message);
        while let Some(message) = messages.next().await {
            if message.payload.is_empty() {
                nats.publish(to.clone(), message.payload).await.unwrap();
                break;
            }
            let item = Item::decode(message.payload).unwrap();
            nats.publish(to.clone(), item.encode_to_vec().into())
                .await
                .unwrap();
        }
    }
}

/// The payload of a message that opens a stream is where the answers go.
fn text(message: &async_nats::Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

/// Opens a stream of requests: where these go, and where the answers come.
async fn open(nats: &Client, subject: &'static str) -> Result<(String, Subscriber), Failed> {
    let inbox = nats.new_inbox();
    let answers = nats.subscribe(inbox.clone()).await?;
    let to = nats.request(subject, inbox.into()).await?;
    Ok((text(&to), answers))
}

pub(crate) async fn responses(calling: Calling, size: u64) -> Sample {
    let nats = calling.nats;
    timed(async {
        let inbox = nats.new_inbox();
        let mut messages = nats.subscribe(inbox.clone()).await?;
        let order = Order::of(calling.seconds, size, inbox);
        nats.publish(RESPONSES, order.encode_to_vec().into())
            .await?;
        count(&mut messages).await
    })
    .await
}

pub(crate) async fn requests(calling: Calling, size: u64) -> Sample {
    let nats = calling.nats;
    timed(async {
        let (to, mut answers) = open(&nats, REQUESTS).await?;
        let order = Order::of(calling.seconds, size, String::new());
        publish(&nats, &order, &to).await?;
        let received = answers.next().await.ok_or("no answer")?;
        Ok::<u64, Failed>(text(&received).parse()?)
    })
    .await
}

pub(crate) async fn both(calling: Calling, size: u64) -> Sample {
    let nats = calling.nats;
    timed(async {
        let (to, mut answers) = open(&nats, BOTH).await?;
        let order = Order::of(calling.seconds, size, String::new());
        let (sent, received) =
            futures::future::join(publish(&nats, &order, &to), count(&mut answers)).await;
        sent?;
        received
    })
    .await
}
