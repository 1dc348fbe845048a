//! Calls whose responses are stored, reads of a bucket, and objects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use natsmicro::{KvStore, Origin};
use natsmicro_bench::{Calling, Case, Sample, closed_loop};
use prost::Message as _;

use crate::api::{
    BY_HAND, BatchedClient, Item, OursClient, PENDING, PUT_AWAITED, PUT_SPAWNED, WINDOW_BEHIND,
};
use crate::by_hand::WINDOW;
use crate::calls::{OURS, echo, item, request};

pub(crate) const STORED: &str = "stored responses, 128 B, 256 in flight";
pub(crate) const NOT_STORED: &str = "natsmicro, without a store";
pub(crate) const AFTER: &str = "natsmicro, after_response";
const AFTER_HOT: &str = "natsmicro, after_response, one key";
pub(crate) const BEFORE: &str = "natsmicro, before_response";
const BEFORE_HOT: &str = "natsmicro, before_response, one key";
pub(crate) const AFTER_BATCHED: &str = "natsmicro, after_response, in batches";
pub(crate) const BEFORE_BATCHED: &str = "natsmicro, before_response, in batches";
pub(crate) const AWAITED: &str = "by hand: put awaited per request";
const IN_A_TASK: &str = "by hand: put awaited in a task";
/// The same with fewer calls at once, where it is the time of a call that counts.
const STORED_FEW: [(&str, usize); 2] = [
    ("stored responses, 128 B, 1 in flight", 1),
    ("stored responses, 128 B, 16 in flight", 16),
];

pub(crate) const READ: &str = "get from a bucket, 128 B, 64 in flight";
pub(crate) const READ_IN_TURN: &str = "get from a bucket, 128 B, in turn";
const THROUGH: &str = "natsmicro, through the store";
pub(crate) const CACHE: &str = "natsmicro, KvCache";
/// What is read in turn: the key of `item(0, 0, _)`.
const KEY: &str = "k.0-0";
pub(crate) const PUT_LARGE: &str = "put an object of 64 MiB";
pub(crate) const THEIRS: &str = "async-nats";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(STORED, NOT_STORED, |calling| echo(calling, 256, 128)),
        Case::new(STORED, AFTER, |calling| stored(calling, 256, false, false)),
        Case::new(STORED, AFTER_HOT, |calling| {
            stored(calling, 256, false, true)
        }),
        Case::new(STORED, BEFORE, |calling| stored(calling, 256, true, false)),
        Case::new(STORED, BEFORE_HOT, |calling| {
            stored(calling, 256, true, true)
        }),
        Case::new(STORED, AFTER_BATCHED, |calling| batched(calling, false)),
        Case::new(STORED, BEFORE_BATCHED, |calling| batched(calling, true)),
        Case::new(STORED, AWAITED, |calling| {
            request(calling, PUT_AWAITED, 256, 128)
        }),
        Case::new(STORED, IN_A_TASK, |calling| {
            request(calling, PUT_SPAWNED, 256, 128)
        }),
        Case::new(
            STORED,
            "by hand: reply, 512 publishes behind",
            |calling| async move {
                let nats = calling.nats.clone();
                let sample = request(calling, WINDOW_BEHIND, 256, 128).await;
                written(&nats, sample).await
            },
        ),
        Case::new(STORED, "512 acknowledged publishes, no calls", publishes),
        Case::new(READ, THEIRS, |calling| async move {
            let context = jetstream::new(calling.nats);
            let bucket = Arc::new(context.get_key_value(BY_HAND).await.unwrap());
            for number in 0..64 {
                let value = item(number, 0, 128).encode_to_vec();
                let key = format!("r.{number}");
                bucket.put(key, value.into()).await.unwrap();
            }
            closed_loop(64, calling.seconds, move |number, _| {
                let bucket = Arc::clone(&bucket);
                async move {
                    let value = bucket.get(format!("r.{number}")).await;
                    value.is_ok_and(|value| value.is_some_and(|value| Item::decode(value).is_ok()))
                }
            })
            .await
        }),
        Case::new(READ, OURS, |calling| async move {
            let ours = client(&calling.nats);
            for number in 0..64 {
                let value = item(number, 0, 128);
                let key = format!("r.{number}");
                ours.put_after_to_kv(key, &value).await.unwrap();
            }
            closed_loop(64, calling.seconds, move |number, _| {
                let ours = ours.clone();
                async move {
                    let value = ours.get_after_from_kv(format!("r.{number}")).await;
                    value.is_ok_and(|value| value.is_some())
                }
            })
            .await
        }),
    ];
    cases.extend(STORED_FEW.into_iter().flat_map(|(group, in_flight)| {
        [
            Case::new(group, IN_A_TASK, move |calling| {
                request(calling, PUT_SPAWNED, in_flight, 128)
            }),
            Case::new(group, BEFORE, move |calling| {
                stored(calling, in_flight, true, false)
            }),
            Case::new(group, AFTER, move |calling| {
                stored(calling, in_flight, false, false)
            }),
            Case::new(group, NOT_STORED, move |calling| {
                echo(calling, in_flight, 128)
            }),
        ]
    }));
    cases.extend(reads_in_turn());
    let sizes = [
        ("put an object of 1 MiB", "get an object of 1 MiB", 1 << 20),
        (PUT_LARGE, "get an object of 64 MiB", 64 << 20),
    ];
    for (put, get, size) in sizes {
        cases.push(Case::new(put, THEIRS, move |calling| {
            their_put(calling, size)
        }));
        cases.push(Case::new(put, OURS, move |calling| our_put(calling, size)));
        cases.push(Case::new(get, THEIRS, move |calling| {
            their_get(calling, size)
        }));
        cases.push(Case::new(get, OURS, move |calling| our_get(calling, size)));
    }
    // Groups stand together.
    cases.sort_by_key(|case| {
        let name = format!("{case:?}");
        (name.contains("object"), name.starts_with("get an object"))
    });
    cases
}

fn reads_in_turn() -> Vec<Case> {
    vec![
        Case::new(READ_IN_TURN, THEIRS, |calling| async move {
            let bucket = theirs_with_a_value(&calling.nats).await;
            closed_loop(1, calling.seconds, move |_, _| {
                let bucket = bucket.clone();
                async move {
                    let value = bucket.get(KEY).await;
                    value.is_ok_and(|value| value.is_some_and(|value| Item::decode(value).is_ok()))
                }
            })
            .await
        }),
        Case::new(READ_IN_TURN, OURS, |calling| async move {
            let (_, ours) = ours_with_a_value(&calling.nats).await;
            closed_loop(1, calling.seconds, move |_, _| {
                let ours = ours.clone();
                async move { ours.get(KEY).await.is_ok_and(|value| value.is_some()) }
            })
            .await
        }),
        Case::new(READ_IN_TURN, THROUGH, |calling| async move {
            let (client, _) = ours_with_a_value(&calling.nats).await;
            closed_loop(1, calling.seconds, move |_, _| {
                let call = client.after_cached(item(0, 0, 128));
                async move {
                    call.await
                        .is_ok_and(|found| found.origin != Origin::Service)
                }
            })
            .await
        }),
        Case::new(READ_IN_TURN, CACHE, |calling| async move {
            let (_, ours) = ours_with_a_value(&calling.nats).await;
            let cache = ours.cached().await.unwrap();
            let mut samples = closed_loop(1, calling.seconds, move |_, _| {
                let cache = cache.clone();
                async move { (0..MANY).all(|_| cache.get(KEY).is_ok_and(|value| value.is_some())) }
            })
            .await;
            samples.operations *= MANY;
            samples.all *= MANY;
            samples
        }),
    ]
}

async fn theirs_with_a_value(nats: &Client) -> jetstream::kv::Store {
    let context = jetstream::new(nats.clone());
    let bucket = context.get_key_value(BY_HAND).await.unwrap();
    let value = item(0, 0, 128).encode_to_vec();
    bucket.put(KEY, value.into()).await.unwrap();
    bucket
}

async fn ours_with_a_value(nats: &Client) -> (OursClient, KvStore<Item>) {
    let client = client(nats);
    let store = client.after_kv();
    store.put(KEY, &item(0, 0, 128)).await.unwrap();
    (client, store)
}

fn client(nats: &Client) -> OursClient {
    let context = jetstream::new(nats.clone());
    // Objects take longer than calls on a machine that is busy.
    OursClient::new(
        natsmicro::Client::new(nats.clone())
            .with_timeout(Duration::from_secs(60))
            .with_jetstream(context),
    )
}

async fn stored(calling: Calling, in_flight: usize, before: bool, one_key: bool) -> Sample {
    let nats = calling.nats;
    let ours = OursClient::new(nats.clone());
    let sample = closed_loop(in_flight, calling.seconds, move |number, turn| {
        let ours = ours.clone();
        async move {
            let item = if one_key {
                item(0, 0, 128)
            } else {
                item(number, turn, 128)
            };
            if before {
                ours.before(item).await.is_ok()
            } else {
                ours.after(item).await.is_ok()
            }
        }
    })
    .await;
    written(&nats, sample).await
}

/// Stored in batches, 256 in flight.
async fn batched(calling: Calling, before: bool) -> Sample {
    let nats = calling.nats;
    let client = BatchedClient::new(nats.clone());
    let sample = closed_loop(256, calling.seconds, move |number, turn| {
        let client = client.clone();
        async move {
            let item = item(number, turn, 128);
            let stored = if before {
                client.before(item)
            } else {
                client.after(item)
            };
            stored.await.is_ok()
        }
    })
    .await;
    written(&nats, sample).await
}

/// Adds the time until all writes are acknowledged: a queue that fills up is no speed.
async fn written(nats: &Client, mut sample: Sample) -> Sample {
    let begin = Instant::now();
    loop {
        let answer = nats.request(PENDING, "".into()).await.unwrap();
        if &answer.payload[..] == b"0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sample.seconds += begin.elapsed().as_secs_f64();
    sample
}

/// What JetStream takes: a value per key, and no calls.
async fn publishes(calling: Calling) -> Sample {
    let context = jetstream::new(calling.nats);
    let mut samples = closed_loop(1, calling.seconds, move |_, turn| {
        let context = context.clone();
        async move { publish_many(&context, turn).await }
    })
    .await;
    samples.operations *= MANY;
    samples.all *= MANY;
    samples
}

/// How many publishes are one operation of the loop.
const MANY: u64 = 5_000;

async fn publish_many(context: &jetstream::Context, turn: u64) -> bool {
    let mut window = FuturesUnordered::new();
    let mut is_done = true;
    for n in 0..MANY {
        let item = item(usize::try_from(n % 256).unwrap(), n / 256 + turn, 128);
        let subject = format!("$KV.{BY_HAND}.k.{}", item.id);
        let ack = context.publish(subject, item.encode_to_vec().into()).await;
        window.push(ack.unwrap().into_future());
        if window.len() >= WINDOW {
            is_done &= window.next().await.is_some_and(|ack| ack.is_ok());
        }
    }
    while let Some(ack) = window.next().await {
        is_done &= ack.is_ok();
    }
    is_done
}

async fn their_objects(nats: Client) -> jetstream::object_store::ObjectStore {
    let context = jetstream::new(nats);
    let config = jetstream::object_store::Config {
        bucket: "objects".to_owned(),
        ..Default::default()
    };
    context.create_object_store(config).await.unwrap()
}

async fn their_put(calling: Calling, size: usize) -> Sample {
    let objects = their_objects(calling.nats).await;
    let item = Item::of("theirs".to_owned(), size);
    closed_loop(1, calling.seconds, move |_, _| {
        let (objects, item) = (objects.clone(), item.clone());
        async move {
            let mut bytes = std::io::Cursor::new(item.encode_to_vec());
            objects.put("theirs", &mut bytes).await.is_ok()
        }
    })
    .await
}

async fn our_put(calling: Calling, size: usize) -> Sample {
    their_objects(calling.nats.clone()).await;
    let ours = client(&calling.nats);
    let item = Item::of("ours".to_owned(), size);
    closed_loop(1, calling.seconds, move |_, _| {
        let (ours, item) = (ours.clone(), item.clone());
        async move { ours.put_object_to_object_store("ours", &item).await.is_ok() }
    })
    .await
}

async fn their_get(calling: Calling, size: usize) -> Sample {
    let objects = their_objects(calling.nats).await;
    let name = format!("read-{size}");
    if objects.info(&name).await.is_err() {
        let item = Item::of(name.clone(), size).encode_to_vec();
        let mut bytes = std::io::Cursor::new(item);
        objects.put(name.as_str(), &mut bytes).await.unwrap();
    }
    closed_loop(1, calling.seconds, move |_, _| {
        let (objects, name) = (objects.clone(), name.clone());
        async move {
            let mut object = objects.get(&name).await.unwrap();
            let mut bytes = Vec::with_capacity(object.info().size);
            tokio::io::AsyncReadExt::read_to_end(&mut object, &mut bytes)
                .await
                .is_ok()
                && Item::decode(bytes::Bytes::from(bytes)).is_ok()
        }
    })
    .await
}

/// Reads what [`their_get`] has put, which takes its turn before.
async fn our_get(calling: Calling, size: usize) -> Sample {
    let ours = client(&calling.nats);
    let name = format!("read-{size}");
    closed_loop(1, calling.seconds, move |_, _| {
        let (ours, name) = (ours.clone(), name.clone());
        async move {
            let object = ours.get_object_from_object_store(&name).await;
            object.is_ok_and(|object| object.is_some())
        }
    })
    .await
}
