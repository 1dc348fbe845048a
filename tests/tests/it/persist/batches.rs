//! Plain puts go in batches, where the server and the bucket take them.

use async_nats::jetstream::{self, kv};
use futures::StreamExt;
use futures::future::join_all;
use natsmicro::store::BucketPolicy;
use natsmicro::{RunningServer, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service(timeout = "30s")]
pub trait Batched {
    #[kv_store(bucket = "after", key = "<key>", max_value_size = 64)]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "before", key = "<key>", persist = "before_response")]
    async fn before(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Batched for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn start(nats: &Nats, policy: BucketPolicy) -> (RunningServer, BatchedClient) {
    let server = nats.service().await.with_batches(true);
    let server = server.with_bucket_policy(policy);
    let server = server.add_service(BatchedServer::new(Echo));
    (
        server.start().await.unwrap(),
        BatchedClient::new(nats.client()),
    )
}

/// Listens to the acknowledgements of batches.
struct Acknowledgements(async_nats::Subscriber);

impl Acknowledgements {
    async fn of(nats: &Nats) -> Self {
        let listener = nats.server.connect().await.unwrap();
        let replies = listener.subscribe("_INBOX.>").await.unwrap();
        let jetstream = jetstream::new(listener);
        jetstream.query_account().await.unwrap();
        Self(replies)
    }

    /// How many writes each batch had, up to so many in all.
    async fn up_to(&mut self, writes: u64) -> Vec<u64> {
        let mut counts = Vec::new();
        while counts.iter().sum::<u64>() < writes {
            let message = self.0.next().await.unwrap();
            let reply: Option<serde_json::Value> = serde_json::from_slice(&message.payload).ok();
            counts.extend(reply.and_then(|reply| reply.get("count")?.as_u64()));
        }
        counts
    }
}

#[tokio::test]
async fn concurrent_writes_share_them() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, BucketPolicy::Create).await;
    let mut acknowledgements = Acknowledgements::of(&nats).await;
    let calls = (0..200).map(|n| {
        client
            .before(Save::number(format!("key-{n}"), n))
            .into_future()
    });
    for answer in join_all(calls).await {
        answer?;
    }
    let counts = acknowledgements.up_to(200).await;
    assert_eq!(counts.iter().sum::<u64>(), 200);
    assert!(counts.len() < 100, "{counts:?}");
    for n in 0..200 {
        let stored = client.get_before_from_kv(format!("key-{n}")).await?;
        assert_eq!(stored.unwrap().n, n);
    }
    // Nothing but the value is stored.
    let stream = nats.js.get_stream("KV_before").await?;
    let message = stream
        .get_last_raw_message_by_subject("$KV.before.key-7")
        .await?;
    assert!(message.headers.is_empty(), "{:?}", message.headers);
    assert_eq!(stream.cached_info().state.messages, 200);
    server.stop().await?;
    Ok(())
}

/// Those ahead of it are stored, and those behind it too.
#[tokio::test]
async fn one_value_is_refused_and_the_others_are_stored() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, BucketPolicy::Create).await;
    let calls = (0..100).map(|n| {
        let text = if n == 40 {
            "x".repeat(100)
        } else {
            String::new()
        };
        client
            .after(Save::new(format!("key-{n}"), text))
            .into_future()
    });
    for answer in join_all(calls).await {
        answer?;
    }
    eventually("all are settled", || async {
        (persistence(&server, "after").persist_pending == 0).then_some(())
    })
    .await;
    let stats = persistence(&server, "after");
    assert_eq!((stats.persisted, stats.persist_failed), (99, 1));
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_writes()[0].key, "key-40");
    assert_eq!(nats.subjects("KV_after", ">").await.len(), 99);
    Ok(())
}

async fn two_rounds(client: &BatchedClient, begin: u64) -> TestResult {
    for round in 0..2 {
        let first = begin + round * 50;
        let calls = (first..first + 50).map(|n| {
            client
                .before(Save::number(format!("key-{n}"), n))
                .into_future()
        });
        for answer in join_all(calls).await {
            answer?;
        }
    }
    Ok(())
}

/// As another client does that updates the bucket with settings of its own.
#[tokio::test]
async fn a_bucket_that_takes_none_any_more() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, BucketPolicy::Create).await;
    two_rounds(&client, 0).await?;
    let mut config = nats.stream_config("KV_before").await;
    assert!(config.allow_batch_publish);
    config.allow_batch_publish = false;
    nats.js.update_stream(config).await?;
    two_rounds(&client, 100).await?;
    assert_eq!(nats.subjects("KV_before", ">").await.len(), 200);
    assert_eq!(persistence(&server, "before").persisted, 200);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_bucket_of_somebody_else() -> TestResult {
    let nats = Nats::start().await;
    for bucket in ["after", "before"] {
        let config = kv::Config {
            bucket: bucket.to_owned(),
            history: 1,
            max_value_size: 64,
            ..Default::default()
        };
        nats.js.create_key_value(config).await?;
    }
    // As it is, without batches.
    let (server, client) = start(&nats, BucketPolicy::Create).await;
    two_rounds(&client, 0).await?;
    assert!(!nats.stream_config("KV_before").await.allow_batch_publish);
    server.stop().await?;
    // Brought up to what the service makes itself.
    let (server, client) = start(&nats, BucketPolicy::Update).await;
    assert!(nats.stream_config("KV_before").await.allow_batch_publish);
    let mut acknowledgements = Acknowledgements::of(&nats).await;
    two_rounds(&client, 100).await?;
    acknowledgements.up_to(100).await;
    assert_eq!(nats.subjects("KV_before", ">").await.len(), 200);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn none_unless_they_are_switched_on() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await;
    let server = server.add_service(BatchedServer::new(Echo)).start().await?;
    assert!(!nats.stream_config("KV_before").await.allow_batch_publish);
    two_rounds(&BatchedClient::new(nats.client()), 0).await?;
    assert_eq!(nats.subjects("KV_before", ">").await.len(), 100);
    server.stop().await?;
    Ok(())
}

/// A mirror cannot take them, and is no reason not to start.
#[tokio::test]
async fn a_mirror_is_left_as_it_is() -> TestResult {
    let nats = Nats::start().await;
    for (bucket, mirror) in [("origin", None), ("before", Some("origin"))] {
        let config = kv::Config {
            bucket: bucket.to_owned(),
            history: 1,
            mirror: mirror.map(|name| jetstream::stream::Source {
                name: name.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        nats.js.create_key_value(config).await?;
    }
    let mirror = nats.stream_config("KV_before").await;
    let (server, _) = start(&nats, BucketPolicy::Update).await;
    assert_eq!(nats.stream_config("KV_before").await, mirror);
    server.stop().await?;
    Ok(())
}
