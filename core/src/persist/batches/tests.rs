//! Batches that lose messages, against a real server. Services that write in batches are tested in `tests/`.

use async_nats::jetstream::{self, stream::Config};

use super::*;
use crate::store::bucket::jetstream::JetStream;
use crate::testing::NatsServer;
use crate::transport::mux::Multiplexer;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A bucket that takes batches, or has taken them when it was opened.
async fn bucket(
    server: &NatsServer,
    allow_batch_publish: bool,
) -> Result<(jetstream::stream::Stream, Batches), Box<dyn std::error::Error>> {
    let context = jetstream::new(server.connect().await?);
    let config = Config {
        name: "KV_b".to_owned(),
        subjects: vec!["$KV.b.>".to_owned()],
        max_messages_per_subject: 64,
        max_message_size: 64,
        allow_rollup: true,
        allow_batch_publish: true,
        ..Config::default()
    };
    let stream = context.create_stream(&config).await?;
    let opened = JetStream::new(context.clone(), Duration::from_secs(5), None);
    let batches = Batches::open(opened.open("b").await?).await?;
    let config = Config {
        allow_batch_publish,
        ..config
    };
    context.update_stream(config).await?;
    Ok((stream, batches))
}

fn moment() -> Moment {
    Moment {
        now: Instant::now(),
        connection: Some(1),
    }
}

fn puts(count: usize) -> Vec<Put> {
    let put = |n| Put {
        key: format!("key-{n}").into(),
        value: Bytes::from_static(b"value"),
        start: WriteStart::now(None, 1, None),
        deadline: Instant::now() + Duration::from_secs(30),
    };
    (0..count).map(put).collect()
}

impl Batches {
    /// Opens a batch without sending its messages.
    fn open_unsent(&mut self, count: usize) -> u64 {
        let now = Instant::now();
        let number = self.next_number;
        self.next_number += 1;
        self.open.push(Batch {
            number,
            keys: puts(count).into_iter().map(|put| put.key).collect(),
            facts: self.bucket.facts().known(),
            connection: self.gate.connection_epoch(),
            query_at: now,
            give_up_at: now + BATCH_TIMEOUT,
        });
        number
    }

    async fn send_one(&self, batch: u64, position: usize, step: Step) -> Result<(), PublishError> {
        let reply = wire::reply_subject(&self.inbox, batch, position, step);
        let message = Outgoing::to(format!("$KV.b.key-{}", position - 1))
            .with_reply(reply)
            .with_payload("value".into());
        self.gate.publish(Lane::Reply, message).await
    }
}

async fn messages(
    stream: &mut jetstream::stream::Stream,
) -> Result<u64, jetstream::stream::InfoError> {
    Ok(stream.info().await?.state.messages)
}

#[tokio::test]
async fn a_query_ends_an_incomplete_batch_and_counts_its_writes() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, true).await?;
    let batch = batches.open_unsent(5);
    batches.send_one(batch, 1, Step::Begin).await?;
    batches.send_one(batch, 2, Step::Add).await?;
    batches.send_one(batch, 3, Step::Add).await?;
    let ended = batches.next_ended().await;
    assert_eq!((ended.stored, ended.keys.len()), (Some(3), 5));
    assert_eq!(ended.last.map(|last| last.revision), Some(3));
    // Late messages are refused, and the reply is ignored.
    batches.send_one(batch, 4, Step::Add).await?;
    batches.send_one(batch, 5, Step::AddLast).await?;
    assert!(batches.send(&mut puts(2).into(), moment()).is_empty());
    let ended = batches.next_ended().await;
    assert_eq!(ended.stored, Some(2));
    assert_eq!(ended.last.map(|last| last.revision), Some(5));
    assert_eq!(messages(&mut stream).await?, 5);
    Ok(())
}

#[tokio::test]
async fn a_batch_with_a_gap_ends_there() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, true).await?;
    let batch = batches.open_unsent(4);
    batches.send_one(batch, 1, Step::Begin).await?;
    batches.send_one(batch, 2, Step::Add).await?;
    batches.send_one(batch, 4, Step::AddLast).await?;
    assert_eq!(batches.next_ended().await.stored, Some(2));
    assert_eq!(messages(&mut stream).await?, 2);
    Ok(())
}

/// The server may have stored and forgotten the batch, or never have received it.
#[tokio::test]
async fn a_batch_that_the_server_does_not_know_is_uncertain() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, true).await?;
    batches.open_unsent(3);
    assert_eq!(batches.next_ended().await.stored, None);
    let batch = batches.open_unsent(3);
    batches.send_one(batch, 2, Step::Add).await?;
    assert_eq!(batches.next_ended().await.stored, None);
    assert_eq!(messages(&mut stream).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_writes_before_a_refused_one_are_stored() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, true).await?;
    for refused in [0, 2, 4] {
        let mut puts = puts(5);
        puts[refused].value = Bytes::from(vec![0; 100]);
        assert!(batches.send(&mut puts.into(), moment()).is_empty());
        assert_eq!(batches.next_ended().await.stored, Some(refused));
    }
    assert_eq!(messages(&mut stream).await?, 6);
    Ok(())
}

#[tokio::test]
async fn a_bucket_without_batches_disables_them() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, false).await?;
    assert!(batches.accepts(&Bytes::new()));
    assert!(batches.send(&mut puts(3).into(), moment()).is_empty());
    assert_eq!(batches.next_ended().await.stored, Some(0));
    assert!(!batches.accepts(&Bytes::new()));
    assert_eq!(messages(&mut stream).await?, 0);
    Ok(())
}

/// Batches are disabled while one is interrupted: the refusal of a later message does not tell whether the earlier ones are stored.
#[tokio::test]
async fn a_refusal_leaves_the_outcome_of_earlier_writes_unknown() -> TestResult {
    let server = NatsServer::start().await?;
    let (_, mut batches) = bucket(&server, false).await?;
    let batch = batches.open_unsent(4);
    batches.send_one(batch, 3, Step::Add).await?;
    batches.send_one(batch, 4, Step::AddLast).await?;
    assert_eq!(batches.next_ended().await.stored, None);
    assert!(!batches.accepts(&Bytes::new()));
    Ok(())
}

/// As after a downgrade: without batches every message is a put, and the query must not be stored.
#[tokio::test]
async fn a_server_without_batches_stores_no_query() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, true).await?;
    batches.open_unsent(1);
    let query = batches.batch_query(&batches.open[0]);
    let refused = Multiplexer::new(batches.gate.clone())
        .request(query)
        .await?;
    assert!(refused.payload.starts_with(b"{\"error\""), "{refused:?}");
    assert_eq!(messages(&mut stream).await?, 0);
    Ok(())
}

#[tokio::test]
async fn large_values_make_small_batches() -> TestResult {
    let server = NatsServer::start().await?;
    let (_, mut batches) = bucket(&server, true).await?;
    assert!(!batches.accepts(&vec![0; MAX_BATCH_BYTES + 1].into()));
    let mut waiting: VecDeque<Put> = puts(5).into();
    for put in &mut waiting {
        put.value = vec![0; MAX_BATCH_BYTES / 2].into();
    }
    assert!(batches.send(&mut waiting, moment()).is_empty());
    assert_eq!((batches.open[0].keys.len(), waiting.len()), (2, 3));
    Ok(())
}

#[tokio::test]
async fn few_writes_wait_while_a_batch_is_open() -> TestResult {
    let server = NatsServer::start().await?;
    let (_, mut batches) = bucket(&server, true).await?;
    assert!(batches.can_send(1) && !batches.can_send(0));
    for _ in 0..MAX_OPEN_BATCHES {
        assert!(batches.can_send(MIN_CONCURRENT_BATCH));
        batches.open_unsent(1);
        assert!(!batches.can_send(MIN_CONCURRENT_BATCH - 1));
    }
    assert!(!batches.can_send(MIN_CONCURRENT_BATCH));
    Ok(())
}

#[tokio::test]
async fn late_writes_are_not_sent_in_a_batch() -> TestResult {
    let server = NatsServer::start().await?;
    let (mut stream, mut batches) = bucket(&server, true).await?;
    let mut waiting: VecDeque<Put> = puts(5).into();
    for late in [1, 4] {
        // Queued on another connection.
        waiting[late].start = WriteStart::now(None, 7, None);
    }
    let late = batches.send(&mut waiting, moment());
    assert_eq!(late, ["key-1", "key-4"].map(Arc::from));
    assert!(waiting.is_empty());
    let ended = batches.next_ended().await;
    assert_eq!(ended.keys, ["key-0", "key-2", "key-3"].map(Arc::from));
    assert_eq!(ended.stored, Some(3));
    assert_eq!(messages(&mut stream).await?, 3);
    Ok(())
}
