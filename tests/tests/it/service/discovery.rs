//! ADR-32: what a service says of itself, on all subjects, and how instances share requests.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::RequestErrorKind;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{RunningServer, StartErrorKind, Status};
use natsmicro_tests::common::{Nats, TestResult, Text, discover, error_of, soon, text};
use serde_json::{Value, json};

/// Does
/// things.
#[natsmicro::service(version = "2.1.0", subject_prefix = "d", metadata(team = "t", "k-2" = "v"))]
trait Thing {
    async fn zebra(&self, request: Text) -> Result<Text, Status>;
    #[endpoint(metadata(op = "read"), queue_group = "own")]
    async fn apple(&self) -> Result<(), Status>;
    #[endpoint(queue_group = false)]
    async fn mango(&self) -> Result<(), Status>;
}

#[derive(Default)]
struct Counting {
    zebra: AtomicUsize,
    mango: AtomicUsize,
}

impl Thing for Counting {
    async fn zebra(&self, request: Text) -> Result<Text, Status> {
        self.zebra.fetch_add(1, Ordering::SeqCst);
        Ok(request)
    }

    async fn apple(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn mango(&self) -> Result<(), Status> {
        self.mango.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn start(nats: &Nats) -> (RunningServer, Arc<Counting>) {
    let service = Arc::new(Counting::default());
    let server = nats
        .server()
        .add_service(ThingServer::from_arc(Arc::clone(&service)));
    (server.start().await.unwrap(), service)
}

/// A reply has these members and no others.
fn members(value: &Value) -> HashSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn all_subjects_answer_as_in_the_schema() -> TestResult {
    let nats = Nats::start().await;
    let (server, _) = start(&nats).await;
    let id = server.info()[0].id.clone();
    assert_eq!(id.len(), 22);
    for level in [String::new(), ".Thing".into(), format!(".Thing.{id}")] {
        let ping = nats.ask(&format!("$SRV.PING{level}"), "").await;
        assert_eq!(ping.headers, None);
        let common = json!({
            "name": "Thing", "id": id, "version": "2.1.0", "metadata": {"team": "t", "k-2": "v"},
            "type": "io.nats.micro.v1.ping_response",
        });
        assert_eq!(serde_json::from_slice::<Value>(&ping.payload)?, common);

        let mut expected = common.clone();
        expected["type"] = json!("io.nats.micro.v1.info_response");
        expected["description"] = json!("Does things.");
        expected["endpoints"] = json!([
            {"name": "zebra", "subject": "d.zebra", "queue_group": "q", "metadata": {}},
            {"name": "apple", "subject": "d.apple", "queue_group": "own", "metadata": {"op": "read"}},
            {"name": "mango", "subject": "d.mango", "queue_group": "", "metadata": {}},
        ]);
        let info = nats.ask(&format!("$SRV.INFO{level}"), "").await;
        assert_eq!(serde_json::from_slice::<Value>(&info.payload)?, expected);

        let stats = nats.ask(&format!("$SRV.STATS{level}"), "").await;
        let stats: Value = serde_json::from_slice(&stats.payload)?;
        assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
        for member in ["name", "id", "version", "metadata"] {
            assert_eq!(stats[member], common[member]);
        }
        let started = stats["started"].as_str().unwrap();
        assert!(
            started.starts_with("20") && started.ends_with('Z'),
            "{started}"
        );
        let names: Vec<_> = stats["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["zebra", "apple", "mango"]);
        let endpoint = [
            "name",
            "subject",
            "queue_group",
            "num_requests",
            "num_errors",
            "last_error",
            "processing_time",
            "average_processing_time",
        ];
        assert_eq!(members(&stats["endpoints"][0]), endpoint.into());
    }
    Ok(())
}

#[tokio::test]
async fn others_are_not_answered() -> TestResult {
    let nats = Nats::start().await;
    let (server, _) = start(&nats).await;
    for subject in [
        "$SRV.PING.Other",
        "$SRV.PING.thing",
        "$SRV.PING.Thing.x",
        "$SRV.SCHEMA",
    ] {
        let answer = nats.caller.request(subject, Bytes::new()).await;
        let kind = answer.unwrap_err().kind();
        assert_eq!(kind, RequestErrorKind::NoResponders, "{subject}");
    }
    // Without a reply subject nobody can be answered.
    nats.caller.publish("$SRV.PING", Bytes::new()).await?;
    assert_eq!(nats.ask("$SRV.PING", "").await.headers, None);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn instances_share_the_requests_of_a_queue_group() -> TestResult {
    const CALLS: usize = 400;
    let nats = Nats::start().await;
    let (one, of_one) = start(&nats).await;
    let (two, of_two) = start(&nats).await;

    let pings = discover(&nats.caller, "$SRV.PING", 2).await;
    assert_ne!(pings[0]["id"], pings[1]["id"]);
    let id = pings[0]["id"].as_str().unwrap();
    let answer = nats.ask(&format!("$SRV.INFO.Thing.{id}"), "").await;
    assert!(serde_json::from_slice::<Value>(&answer.payload)?["id"] == id);

    let client = ThingClient::new(nats.caller.clone());
    for _ in 0..CALLS {
        client.zebra(text("x")).await?;
    }
    let handled = [&of_one, &of_two].map(|service| service.zebra.load(Ordering::SeqCst));
    assert_eq!(handled[0] + handled[1], CALLS);
    assert!(handled[0] > 0 && handled[1] > 0, "{handled:?}");

    // Without a group each of them gets all.
    let inbox = nats.caller.new_inbox();
    let mut answers = nats.caller.subscribe(inbox.clone()).await?;
    for _ in 0..10 {
        let inbox = inbox.clone();
        nats.caller
            .publish_with_reply("d.mango", inbox, Bytes::new())
            .await?;
    }
    for _ in 0..20 {
        soon(answers.next()).await.unwrap();
    }
    for service in [of_one, of_two] {
        assert_eq!(service.mango.load(Ordering::SeqCst), 10);
    }
    one.stop().await?;
    assert_eq!(discover(&nats.caller, "$SRV.PING", 1).await.len(), 1);
    client.zebra(text("x")).await?;
    two.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_is_gone() -> TestResult {
    let nats = Nats::start().await;
    let (server, _) = start(&nats).await;
    nats.ask("d.apple", "").await;
    drop(server);
    for subject in ["d.apple", "d.mango"] {
        // It takes a moment. Until then callers are answered or refused, and none waits.
        let gone = async { while nats.caller.request(subject, Bytes::new()).await.is_ok() {} };
        soon(gone).await;
    }
    for subject in ["$SRV.PING", "$SRV.INFO.Thing", "$SRV.STATS"] {
        let kind = loop {
            let request = async_nats::Request::new().timeout(Some(Duration::from_millis(100)));
            match nats.caller.send_request(subject, request).await {
                Err(error) if error.kind() != RequestErrorKind::TimedOut => break error.kind(),
                _ => {}
            }
        };
        assert_eq!(kind, RequestErrorKind::NoResponders);
    }
    Ok(())
}

#[tokio::test]
async fn a_started_service_is_reachable_from_everywhere() -> TestResult {
    let nats = Nats::start().await;
    let client = ThingClient::new(nats.caller.clone());
    for i in 0..200 {
        let (server, _) = start(&nats).await;
        client
            .apple()
            .await
            .map_err(|error| format!("{i}: {error}"))?;
        nats.ask("$SRV.PING.Thing", "").await;
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() -> TestResult {
    let nats = Nats::start().await;
    let thing = || ThingServer::new(Counting::default());
    let mut wrong: HashMap<&str, _> = HashMap::new();
    for name in ["", "a b", "a.b", "ä", "a*", "a>"] {
        wrong.insert(name, thing().with_name(name));
    }
    for version in ["1", "1.2", "v1.2.3", "1.2.3.4", "latest", "01.0.0"] {
        wrong.insert(version, thing().with_version(version));
    }
    for prefix in [
        ".a", "a.", "a..b", "*.c", "a.>.b", "a b.c", "$JS", "_INBOX.x", "_users", "ä.b", "a\r\nb",
    ] {
        wrong.insert(prefix, thing().with_subject_prefix(prefix));
    }
    let long = "a".repeat(5_000);
    wrong.insert("long", thing().with_subject_prefix(long.as_str()));
    wrong.insert("zero", thing().with_timeout(Duration::ZERO));
    for (what, service) in wrong {
        let error = nats
            .server()
            .add_service(service)
            .start()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &StartErrorKind::InvalidSettings, "{what}");
        assert!(error.to_string().len() > what.len(), "{error}");
    }
    // Nothing was left behind, and the connection is fine.
    let (server, _) = start(&nats).await;
    assert_eq!(discover(&nats.caller, "$SRV.PING", 1).await.len(), 1);
    server.stop().await?;
    Ok(())
}

#[natsmicro::service(subject_prefix = "d")]
trait Other {
    async fn apple(&self) -> Result<(), Status>;
}

impl Other for Counting {
    async fn apple(&self) -> Result<(), Status> {
        Err(Status::aborted("other"))
    }
}

#[tokio::test]
async fn two_services_cannot_have_one_subject() -> TestResult {
    let nats = Nats::start().await;
    let both = |other| {
        nats.server()
            .add_service(ThingServer::new(Counting::default()))
            .add_service(other)
    };
    let error = both(OtherServer::new(Counting::default()))
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::DuplicateSubject);
    for word in ["`Thing`", "`Other`", "`d.apple`"] {
        assert!(error.to_string().contains(word), "{error}");
    }

    let server = both(OtherServer::new(Counting::default()).with_subject_prefix("o"))
        .start()
        .await?;
    assert_eq!(error_of(&nats.ask("d.apple", "").await), None);
    let reply = nats.ask("o.apple", "").await;
    assert_eq!(error_of(&reply), Some(("ABORTED", "other")));
    assert_eq!(discover(&nats.caller, "$SRV.PING", 2).await.len(), 2);
    server.stop().await?;
    Ok(())
}
