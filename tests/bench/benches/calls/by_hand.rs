//! The services that somebody would write without this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::service::ServiceExt;
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::api::{
    BY_HAND, COMPUTING, COMPUTING_IN_PLACE, IN_PLACE, Item, MODULE, PUT_AWAITED, PUT_SPAWNED,
    SENT_BACK, SPAWNED, WAITING, WINDOW_BEHIND, compute,
};

/// How many publishes wait for their acknowledgement at once.
pub(crate) const WINDOW: usize = 512;

pub(crate) async fn serve(nats: &Client, context: &jetstream::Context, behind: &Arc<AtomicUsize>) {
    let config = jetstream::kv::Config {
        bucket: BY_HAND.to_owned(),
        history: 1,
        ..Default::default()
    };
    let bucket = context.create_key_value(config).await.unwrap();
    tokio::spawn(spawned(subscribe(nats, SPAWNED).await, nats.clone()));
    tokio::spawn(in_place(subscribe(nats, IN_PLACE).await, nats.clone()));
    let echo = nats.queue_subscribe(format!("{SENT_BACK}.echo"), "q".to_owned());
    tokio::spawn(sent_back(echo.await.unwrap(), nats.clone()));
    tokio::spawn(waiting(subscribe(nats, WAITING).await, nats.clone()));
    let requests = subscribe(nats, COMPUTING).await;
    tokio::spawn(computing(requests, nats.clone()));
    let requests = subscribe(nats, COMPUTING_IN_PLACE).await;
    tokio::spawn(computing_in_place(requests, nats.clone()));
    module(nats).await;
    let put_awaited = subscribe(nats, PUT_AWAITED).await;
    tokio::spawn(awaited(put_awaited, nats.clone(), bucket.clone()));
    let put_spawned = subscribe(nats, PUT_SPAWNED).await;
    tokio::spawn(put_by_task(put_spawned, nats.clone(), bucket));
    let (writes, queue) = mpsc::unbounded_channel();
    tokio::spawn(write_window(queue, context.clone(), Arc::clone(behind)));
    let window_behind = subscribe(nats, WINDOW_BEHIND).await;
    tokio::spawn(reply_then_queue(
        window_behind,
        nats.clone(),
        writes,
        Arc::clone(behind),
    ));
}

async fn subscribe(nats: &Client, subject: &'static str) -> Subscriber {
    nats.queue_subscribe(subject, "q".to_owned()).await.unwrap()
}

fn handle(payload: Bytes) -> (Item, Bytes) {
    let item = Item::decode(payload).unwrap();
    let reply = item.encode_to_vec().into();
    (item, reply)
}

async fn reply(nats: &Client, message: Message) -> (Item, Bytes) {
    let (item, reply) = handle(message.payload);
    nats.publish(message.reply.unwrap(), reply.clone())
        .await
        .unwrap();
    (item, reply)
}

async fn spawned(mut requests: Subscriber, nats: Client) {
    while let Some(message) = requests.next().await {
        let nats = nats.clone();
        tokio::spawn(async move { reply(&nats, message).await });
    }
}

async fn in_place(mut requests: Subscriber, nats: Client) {
    while let Some(message) = requests.next().await {
        reply(&nats, message).await;
    }
}

async fn sent_back(mut requests: Subscriber, nats: Client) {
    while let Some(message) = requests.next().await {
        let sent = nats.publish(message.reply.unwrap(), message.payload);
        sent.await.unwrap();
    }
}

async fn waiting(mut requests: Subscriber, nats: Client) {
    while let Some(message) = requests.next().await {
        let nats = nats.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            reply(&nats, message).await
        });
    }
}

async fn computing(mut requests: Subscriber, nats: Client) {
    while let Some(message) = requests.next().await {
        let nats = nats.clone();
        tokio::spawn(async move {
            compute();
            reply(&nats, message).await
        });
    }
}

async fn computing_in_place(mut requests: Subscriber, nats: Client) {
    while let Some(message) = requests.next().await {
        compute();
        reply(&nats, message).await;
    }
}

async fn module(nats: &Client) {
    let service = nats
        .service_builder()
        .start("by_hand", "1.0.0")
        .await
        .unwrap();
    let mut requests = service.endpoint(MODULE).await.unwrap();
    tokio::spawn(async move {
        // The endpoint ends with its service.
        let _service = service;
        while let Some(request) = requests.next().await {
            let (_, reply) = handle(request.message.payload.clone());
            request.respond(Ok(reply)).await.unwrap();
        }
    });
}

async fn put(bucket: &jetstream::kv::Store, nats: &Client, message: Message) {
    let (item, reply) = handle(message.payload);
    let key = format!("k.{}", item.id);
    bucket.put(key, reply.clone()).await.unwrap();
    nats.publish(message.reply.unwrap(), reply).await.unwrap();
}

async fn awaited(mut requests: Subscriber, nats: Client, bucket: jetstream::kv::Store) {
    while let Some(message) = requests.next().await {
        put(&bucket, &nats, message).await;
    }
}

async fn put_by_task(mut requests: Subscriber, nats: Client, bucket: jetstream::kv::Store) {
    while let Some(message) = requests.next().await {
        let (nats, bucket) = (nats.clone(), bucket.clone());
        tokio::spawn(async move { put(&bucket, &nats, message).await });
    }
}

async fn reply_then_queue(
    mut requests: Subscriber,
    nats: Client,
    writes: mpsc::UnboundedSender<(String, Bytes)>,
    behind: Arc<AtomicUsize>,
) {
    while let Some(message) = requests.next().await {
        let (item, reply) = reply(&nats, message).await;
        behind.fetch_add(1, Ordering::AcqRel);
        let subject = format!("$KV.{BY_HAND}.k.{}", item.id);
        writes.send((subject, reply)).unwrap();
    }
}

/// Publishes what is queued, with a window of acknowledgements.
async fn write_window(
    mut queue: mpsc::UnboundedReceiver<(String, Bytes)>,
    context: jetstream::Context,
    behind: Arc<AtomicUsize>,
) {
    let mut window = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(ack) = window.next(), if !window.is_empty() => {
                let _: jetstream::publish::PublishAck = Result::unwrap(ack);
                behind.fetch_sub(1, Ordering::AcqRel);
            }
            Some((subject, value)) = queue.recv(), if window.len() < WINDOW => {
                let ack = context.publish(subject, value).await;
                window.push(ack.unwrap().into_future());
            }
            else => return,
        }
    }
}
