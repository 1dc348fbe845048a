//! A stream that has the name of a bucket and is none is neither used nor changed.

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RetentionPolicy, Source, SubjectTransform,
};
use natsmicro::store::{BucketPolicy, StoreErrorKind};
use natsmicro::{StartErrorKind, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Orders {
    #[kv_store(bucket = "orders", key = "<key>")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "<key>")]
    async fn report(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Removals {
    #[kv_delete(bucket = "orders", key = "<key>")]
    async fn remove(&self, request: Save) -> Result<(), Status>;
}

struct Echo;

impl Orders for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Reports for Echo {
    async fn report(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Removals for Echo {
    async fn remove(&self, _: Save) -> Result<(), Status> {
        Ok(())
    }
}

const POLICIES: [BucketPolicy; 3] = [
    BucketPolicy::Create,
    BucketPolicy::Update,
    BucketPolicy::Never,
];

/// A Key-Value bucket but for one thing.
fn odd_buckets() -> Vec<(&'static str, Config)> {
    let bucket = Config {
        name: "KV_orders".to_owned(),
        subjects: vec!["$KV.orders.>".to_owned()],
        max_messages_per_subject: 1,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    };
    let with_subjects = |subjects: &[&str]| Config {
        subjects: subjects.iter().map(|&it| it.to_owned()).collect(),
        ..bucket.clone()
    };
    vec![
        (
            "its subjects are `orders.>` and not `$KV.orders.>`",
            with_subjects(&["orders.>"]),
        ),
        (
            "its subjects are `hub.$KV.orders.>` and not `$KV.orders.>`",
            with_subjects(&["hub.$KV.orders.>"]),
        ),
        (
            "its subjects are `$KV.orders.>` and `orders.>` and not `$KV.orders.>`",
            with_subjects(&["$KV.orders.>", "orders.>"]),
        ),
        (
            "it acknowledges nothing",
            Config {
                no_ack: true,
                ..bucket.clone()
            },
        ),
        (
            "it is a work queue",
            Config {
                retention: RetentionPolicy::WorkQueue,
                ..bucket.clone()
            },
        ),
        (
            "it keeps messages while there is interest",
            Config {
                retention: RetentionPolicy::Interest,
                ..bucket.clone()
            },
        ),
        (
            "it allows no rollups",
            Config {
                allow_rollup: false,
                ..bucket.clone()
            },
        ),
        (
            "it keeps any number of messages per subject",
            Config {
                max_messages_per_subject: -1,
                ..bucket.clone()
            },
        ),
        (
            "it replaces no message of a subject",
            Config {
                discard: DiscardPolicy::New,
                discard_new_per_subject: true,
                ..bucket.clone()
            },
        ),
        (
            "it stores messages under other subjects",
            Config {
                subject_transform: Some(SubjectTransform {
                    source: "$KV.orders.>".to_owned(),
                    destination: "stored.>".to_owned(),
                }),
                ..bucket.clone()
            },
        ),
        (
            "it is a mirror of `events` whose messages are no entries",
            Config {
                subjects: Vec::new(),
                mirror: Some(Source {
                    name: "events".to_owned(),
                    ..Source::default()
                }),
                ..bucket
            },
        ),
    ]
}

#[tokio::test]
async fn a_service_does_not_start() -> TestResult {
    let nats = Nats::start().await;
    for (fault, config) in odd_buckets() {
        nats.js.create_stream(config).await?;
        let before = nats.stream_config("KV_orders").await;
        for policy in POLICIES {
            let server = nats.service().await.with_bucket_policy(policy);
            let started = server.add_service(OrdersServer::new(Echo)).start().await;
            let error = started.expect_err(fault);
            assert_eq!(error.kind(), &StartErrorKind::BucketMismatch, "{fault}");
            let text = error.to_string();
            let expected = format!("stream `KV_orders` is no Key-Value bucket: {fault}");
            assert!(text.contains(&expected), "{policy:?}: {text}");
            assert_eq!(nats.stream_config("KV_orders").await, before, "{fault}");
        }
        let server = nats.service().await.add_service(RemovalsServer::new(Echo));
        let error = server.start().await.expect_err(fault);
        assert!(error.to_string().contains(fault), "{error}");
        nats.js.delete_stream("KV_orders").await?;
    }
    Ok(())
}

/// A foreign stream keeps its messages.
#[tokio::test]
async fn nothing_is_deleted_from_a_foreign_stream() -> TestResult {
    let nats = Nats::start().await;
    nats.js
        .create_stream(Config {
            name: "KV_orders".to_owned(),
            subjects: vec!["orders.>".to_owned()],
            ..Config::default()
        })
        .await?;
    for _ in 0..20 {
        nats.js.publish("orders.new", "1".into()).await?.await?;
    }
    for policy in POLICIES {
        let server = nats.service().await.with_bucket_policy(policy);
        let started = server.add_service(OrdersServer::new(Echo)).start().await;
        started.unwrap_err();
    }
    let store = OrdersClient::new(nats.client()).save_kv();
    let deleted = store.delete_bucket().await.unwrap_err();
    assert_eq!(deleted.kind(), &StoreErrorKind::NotABucket);
    let stream = nats.js.get_stream("KV_orders").await?;
    assert_eq!(stream.cached_info().state.messages, 20);
    Ok(())
}

#[tokio::test]
async fn a_handle_refuses_it() -> TestResult {
    let nats = Nats::start().await;
    let value = Save::new("a", "b").saved();
    for (fault, config) in odd_buckets() {
        nats.js.create_stream(config).await?;
        let store = OrdersClient::new(nats.client()).save_kv();
        let errors = [
            store.get("a").await.expect_err(fault),
            store.put("a", &value).await.expect_err(fault),
            store.watch_all().await.expect_err(fault),
            store.keys(">").await.expect_err(fault),
            store.cached().await.expect_err(fault),
            store.status().await.expect_err(fault),
            store.create_bucket().await.expect_err(fault),
        ];
        for error in errors {
            assert_eq!(error.kind(), &StoreErrorKind::NotABucket, "{fault}");
            assert!(error.to_string().contains(fault), "{error}");
        }
        nats.js.delete_stream("KV_orders").await?;
    }
    Ok(())
}

#[tokio::test]
async fn object_stores_too() -> TestResult {
    let nats = Nats::start().await;
    let store = Config {
        name: "OBJ_reports".to_owned(),
        subjects: vec!["$O.reports.C.>".to_owned(), "$O.reports.M.>".to_owned()],
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    };
    let odd = [
        (
            "its subjects are `reports.>` and not `$O.reports.C.>` and `$O.reports.M.>`",
            Config {
                subjects: vec!["reports.>".to_owned()],
                ..store.clone()
            },
        ),
        (
            "it allows no rollups",
            Config {
                allow_rollup: false,
                ..store.clone()
            },
        ),
        (
            "it is a mirror of `OBJ_others`, and objects are found under the name of their own bucket alone",
            Config {
                subjects: Vec::new(),
                mirror: Some(Source {
                    name: "OBJ_others".to_owned(),
                    ..Source::default()
                }),
                ..store.clone()
            },
        ),
    ];
    for (fault, config) in odd {
        nats.js.create_stream(config).await?;
        let before = nats.stream_config("OBJ_reports").await;
        for policy in POLICIES {
            let server = nats.service().await.with_bucket_policy(policy);
            let started = server.add_service(ReportsServer::new(Echo)).start().await;
            let error = started.expect_err(fault);
            assert_eq!(error.kind(), &StartErrorKind::BucketMismatch, "{fault}");
            let expected = format!("stream `OBJ_reports` is no Object Store: {fault}");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        assert_eq!(nats.stream_config("OBJ_reports").await, before, "{fault}");
        let reports = ReportsClient::new(nats.client()).report_object_store();
        for error in [
            reports.get("a").await.expect_err(fault),
            reports.list().await.expect_err(fault),
            reports.delete_bucket().await.expect_err(fault),
        ] {
            assert_eq!(error.kind(), &StoreErrorKind::NotABucket, "{fault}");
        }
        nats.js.delete_stream("OBJ_reports").await?;
    }
    // The order of the subjects does not count.
    let mut reversed = store;
    reversed.subjects.reverse();
    nats.js.create_stream(reversed).await?;
    let server = nats.service().await.add_service(ReportsServer::new(Echo));
    server.start().await?.stop().await?;
    Ok(())
}

/// A handle that is in use notices that the bucket was replaced by something else.
#[tokio::test]
async fn a_bucket_that_becomes_none() -> TestResult {
    let nats = Nats::start().await;
    let store = OrdersClient::new(nats.client()).save_kv();
    store.create_bucket().await?;
    let value = Save::new("a", "b").saved();
    store.put("a", &value).await?;
    assert_eq!(store.get("a").await?, Some(value.clone()));
    store.delete_bucket().await?;
    let (fault, foreign) = odd_buckets().swap_remove(0);
    nats.js.create_stream(foreign).await?;
    let error = store.put("a", &value).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::NotABucket);
    assert!(error.to_string().contains(fault), "{error}");
    Ok(())
}
