//! Services that store: in Key-Value buckets, with and without conditions, and in Object Stores.

use std::time::{Duration, Instant};

use natsmicro::__private::permissions::{
    KV_COMPARE, KV_WRITE, Names, OBJECT_WRITE, Right, SERVICE,
};
use natsmicro::store::BucketPolicy;
use natsmicro::{Client, Code, Status};
use natsmicro_tests::common::{TestResult, Text, text};

use super::trial::{self, Outcome, Run, Trial, both};

#[natsmicro::service(subject_prefix = "box.v1")]
pub(super) trait Boxes {
    #[kv_store(bucket = "box", key = "later.<text>")]
    async fn later(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "box", key = "first.<text>", persist = "before_response")]
    async fn first(&self, request: Text) -> Result<Text, Status>;
    #[kv_delete(bucket = "box", key = "later.<text>")]
    async fn forget(&self, request: Text) -> Result<Text, Status>;
    #[kv_delete(bucket = "box", key = "later.<text>", purge)]
    async fn purge(&self, request: Text) -> Result<Text, Status>;
}

#[natsmicro::service(subject_prefix = "box.v1")]
trait Checked {
    #[kv_store(
        bucket = "box",
        key = "once.<text>",
        write = "create",
        persist = "before_response"
    )]
    async fn once(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "box", key = "newer.<text>", write = "update")]
    async fn newer(&self, request: Text) -> Result<Text, Status>;
}

#[natsmicro::service(subject_prefix = "box.v1")]
pub(super) trait Reports {
    /// Makes a response of as many bytes as the text says.
    #[object_store(bucket = "reports", key = "report.<text>")]
    async fn report(&self, request: Text) -> Result<Text, Status>;
}

pub(super) struct Impl;

impl Boxes for Impl {
    async fn later(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn first(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn forget(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn purge(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

impl Checked for Impl {
    async fn once(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn newer(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

impl Reports for Impl {
    async fn report(&self, request: Text) -> Result<Text, Status> {
        let bytes = request.text.parse();
        Ok(text("x".repeat(bytes.unwrap_or(1))))
    }
}

pub(super) const BOXES: Names<'static> = Names {
    service: "Boxes",
    prefix: "box.v1",
    endpoints: &["later", "first", "forget", "purge"],
    bucket: "box",
    inbox: "",
    peer_inbox: "_INBOX",
    api: "$JS.API",
};

pub(super) const REPORTS: Names<'static> = Names {
    service: "Reports",
    endpoints: &["report"],
    bucket: "reports",
    ..BOXES
};

/// Makes the buckets, as whoever may.
pub(super) async fn make_buckets(trial: &Trial) {
    let nats = trial.admin().await;
    let server = natsmicro::Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(BoxesServer::new(Impl))
        .add_service(ReportsServer::new(Impl));
    server.start().await.unwrap().stop().await.unwrap();
}

async fn serves<S, D>(
    run: &Run,
    service: natsmicro::ServiceServer<S, D>,
    call: impl AsyncFn(Client) -> Outcome,
) -> Outcome
where
    S: Send + Sync + 'static,
    D: natsmicro::Dispatch<S>,
{
    let server = run.server().with_bucket_policy(BucketPolicy::Never);
    let running = server.add_service(service).start().await;
    let running = running.map_err(trial::text)?;
    let called = call(run.other_client()).await;
    let handle = running.handle();
    let stopped = running.stop().await.map_err(trial::text);
    both(both(called, run.losses(&handle)), stopped)
}

async fn store(client: Client) -> Outcome {
    let client = BoxesClient::new(client);
    // At once: in batches.
    let later = (0..50).map(|number| client.later(text(format!("k{number}"))).into_future());
    for stored in futures::future::join_all(later).await {
        stored.map_err(trial::text)?;
    }
    client.first(text("k")).await.map_err(trial::text)?;
    client.forget(text("k1")).await.map_err(trial::text)?;
    client.purge(text("k2")).await.map_err(trial::text)?;
    Ok(())
}

#[tokio::test]
async fn a_service_with_a_key_value_bucket() {
    let trial = Trial::of(&[SERVICE, KV_WRITE], BOXES).await;
    make_buckets(&trial).await;
    let serve = async |run: &Run| serves(run, BoxesServer::new(Impl), store).await;
    trial.run(serve).await;
    trial.run_untold("$KV.<bucket>.>", serve).await;
    trial
        .run_untold("<api>.STREAM.INFO.KV_<bucket>", serve)
        .await;
}

#[tokio::test]
async fn a_service_that_writes_with_conditions() {
    let names = Names {
        service: "Checked",
        endpoints: &["once", "newer"],
        ..BOXES
    };
    let trial = Trial::of(&[SERVICE, KV_COMPARE], names).await;
    make_buckets(&trial).await;
    trial
        .run(async |run| {
            serves(run, CheckedServer::new(Impl), async |client| {
                let client = CheckedClient::new(client);
                let _ = client.once(text("k")).await;
                match client.once(text("k")).await {
                    Err(status) if *status.code() == Code::AlreadyExists => {}
                    again => return Err(format!("{again:?}")),
                }
                client.newer(text("k")).await.map_err(trial::text)?;
                Ok(())
            })
            .await
        })
        .await;
}

#[tokio::test]
async fn a_service_with_an_object_store() {
    let trial = Trial::of(&[SERVICE, OBJECT_WRITE], REPORTS).await;
    make_buckets(&trial).await;
    let serve = async |run: &Run| {
        serves(run, ReportsServer::new(Impl), async |client| {
            let client = ReportsClient::new(client);
            for bytes in ["10", "2000000", "10"] {
                let report = client.report(text(bytes)).await.map_err(trial::text)?;
                assert_eq!(report.text.len().to_string(), bytes);
            }
            Ok(())
        })
        .await
    };
    trial.run(serve).await;
    trial.run_untold("$O.<bucket>.M.>", serve).await;
}

/// A text in a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Grouped {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(string, tag = "2")]
    pub text: String,
}

#[natsmicro::service(subject_prefix = "box.v1")]
trait Groups {
    #[kv_store(bucket = "box", key = "<group>.<text>")]
    async fn keep(&self, request: Grouped) -> Result<Text, Status>;
    #[kv_store(bucket = "box", key = "<group>.<text>", persist = "before_response")]
    async fn keep_first(&self, request: Grouped) -> Result<Text, Status>;
}

impl Groups for Impl {
    async fn keep(&self, request: Grouped) -> Result<Text, Status> {
        Ok(text(request.text))
    }
    async fn keep_first(&self, request: Grouped) -> Result<Text, Status> {
        Ok(text(request.text))
    }
}

fn grouped(group: &str, text: impl ToString) -> Grouped {
    Grouped {
        group: group.to_owned(),
        text: text.to_string(),
    }
}

/// A key that may not be written is given up at once, and holds up no other one, at whichever place of a batch it is.
#[tokio::test]
async fn a_refused_key_stops_no_other() -> TestResult {
    const CALLS: usize = 100;
    let names = Names {
        service: "Groups",
        endpoints: &["keep", "keep_first"],
        ..BOXES
    };
    let all = [SERVICE, KV_WRITE];
    let all = all.iter().flat_map(|feature| feature.rights).copied();
    let rights = all.map(|right| match right.subject {
        "$KV.<bucket>.>" => Right {
            subject: "$KV.<bucket>.mine.>",
            ..right
        },
        _ => right,
    });
    let trial = Trial::with(rights, names).await;
    make_buckets(&trial).await;
    let run = trial.told("all").await;
    let server = run.server().with_bucket_policy(BucketPolicy::Never);
    let running = server.add_service(GroupsServer::new(Impl)).start().await?;
    let client = GroupsClient::new(run.other_client());
    let begin = Instant::now();
    let mut theirs = 0;
    for refused in [
        vec![0],
        vec![CALLS - 1],
        vec![1, 50, 51],
        (0..CALLS).collect(),
    ] {
        let group = |number| {
            if refused.contains(&number) {
                "theirs"
            } else {
                "mine"
            }
        };
        let calls = (0..CALLS).map(|number| {
            let request = grouped(group(number), format!("{theirs}-{number}"));
            client.keep(request).into_future()
        });
        for stored in futures::future::join_all(calls).await {
            stored?;
        }
        theirs += refused.len();
    }
    client.keep_first(grouped("mine", "x")).await?;
    let status = client.keep_first(grouped("theirs", "x")).await.unwrap_err();
    assert_eq!(*status.code(), Code::Unavailable, "{status}");
    let handle = running.handle();
    let error = running.stop().await.unwrap_err();
    let elapsed = begin.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(error.lost_write_count(), theirs + 1, "{error}");
    for lost in error.lost_writes() {
        assert_eq!(lost.bucket, "box");
        assert!(lost.key.starts_with("theirs."), "{lost}");
        let named = format!("publish to `$KV.box.{}`", lost.key);
        assert!(lost.cause.contains(&named), "{lost}");
    }
    let endpoints = &handle.stats()[0].endpoints;
    let persisted = endpoints.iter().filter_map(|it| it.persistence);
    let persisted: u64 = persisted.map(|it| it.persisted).sum();
    assert_eq!(persisted, (4 * CALLS - theirs + 1) as u64);
    Ok(())
}
