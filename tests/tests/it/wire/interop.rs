//! Clients in other languages read what we store, and we read what they store: nats-py, and the nats.js of Node.
//!
//! Each is fetched once, with pip or npm, into cargo's target directory. Where Python or Node is missing, a test says so on
//! the terminal and checks nothing; with `NATSMICRO_INTEROP=require` it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{kv, object_store};
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{Operation, StoreErrorKind, Watch, WatchEvent};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::programs::{fetched, has, run};

const NATS_PY: &str = "nats-py==2.16.0";
const NATS_JS: [&str; 3] = [
    "@nats-io/transport-node@3.4.0",
    "@nats-io/kv@3.4.0",
    "@nats-io/obj@3.4.0",
];

#[natsmicro::service]
pub trait Shared {
    #[kv_store(bucket = "shared", key = "<key>", client_only)]
    #[object_store(bucket = "shared", key = "<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/wire")
        .join(name)
}

/// A client in another language.
struct Peer {
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Peer {
    async fn start(program: &Path, script: &Path, nats: &Nats) -> Self {
        let mut child = tokio::process::Command::new(program)
            .arg(script)
            .arg(nats.server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut peer = Self {
            stdin: child.stdin.take().unwrap(),
            stdout,
            _child: child,
        };
        assert_eq!(peer.next().await, json!({ "ready": true }));
        peer
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(30), self.stdout.next_line());
        let line = line.await.expect("the peer answers").unwrap();
        serde_json::from_str(&line.expect("the peer lives")).unwrap()
    }

    async fn ask(&mut self, command: Value) -> Value {
        let line = format!("{command}\n");
        self.stdin.write_all(line.as_bytes()).await.unwrap();
        self.next().await
    }

    /// The next change that its watch tells of.
    async fn sees(&mut self, key: &str, value: &str, operation: &str) {
        let expected = json!({ "key": key, "value": value, "operation": operation });
        assert_eq!(self.next().await, expected);
    }
}

fn hex(value: &Saved) -> String {
    let bytes = value.encode_to_vec();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(n: u64) -> Saved {
    Save::number("Ada", n).saved()
}

async fn change(watch: &mut Watch<Saved>) -> (String, Option<Saved>, Operation) {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(15), watch.next());
        if let WatchEvent::Entry(entry) = next.await.unwrap().unwrap().unwrap() {
            return (entry.key, entry.value, entry.operation);
        }
    }
}

async fn buckets(nats: &Nats) {
    let kv = kv::Config {
        bucket: "shared".to_owned(),
        history: 5,
        ..kv::Config::default()
    };
    nats.js.create_key_value(kv).await.unwrap();
    let objects = object_store::Config {
        bucket: "shared".to_owned(),
        ..object_store::Config::default()
    };
    nats.js.create_object_store(objects).await.unwrap();
}

async fn they_read_what_we_store(store: &KvStore<Saved>, peer: &mut Peer) -> TestResult {
    let first = store.create("user.a", &value(1)).await?;
    let revision = store.update("user.a", &value(2), first).await?;
    store.put("user.b", &value(3)).await?;
    store.delete("user.b").await?;
    store.put("user.c", &value(4)).await?;
    store.purge("user.c").await?;
    let answer = peer.ask(json!({ "do": "get", "key": "user.a" })).await;
    assert_eq!(
        answer,
        json!({ "value": hex(&value(2)), "revision": revision })
    );
    for key in ["user.b", "user.c", "user.d"] {
        let answer = peer.ask(json!({ "do": "get", "key": key })).await;
        assert_eq!(answer, json!({ "value": null }), "{key}");
    }
    let answer = peer.ask(json!({ "do": "keys" })).await;
    assert_eq!(answer, json!({ "keys": ["user.a"] }));
    let answer = peer.ask(json!({ "do": "history", "key": "user.a" })).await;
    let history = json!([["put", hex(&value(1))], ["put", hex(&value(2))]]);
    assert_eq!(answer, json!({ "history": history }));
    let answer = peer.ask(json!({ "do": "history", "key": "user.c" })).await;
    assert_eq!(answer, json!({ "history": [["purge", ""]] }));
    Ok(())
}

async fn we_read_what_they_store(store: &KvStore<Saved>, peer: &mut Peer) -> TestResult {
    let mut watch = store.watch("peer.*").await?;
    let put = |key: &str, n| json!({ "do": "put", "key": key, "value": hex(&value(n)) });
    let answer = peer.ask(put("peer.a", 1)).await;
    let revision = answer["revision"].as_u64().unwrap();
    let entry = store.entry("peer.a").await?.unwrap();
    assert_eq!((entry.value, entry.revision), (Some(value(1)), revision));
    // Each sees the other's revisions when it compares.
    let mut update = put("peer.a", 2);
    update["do"] = "update".into();
    update["revision"] = revision.into();
    assert!(peer.ask(update.clone()).await["revision"].is_u64());
    assert_eq!(peer.ask(update).await, json!({ "revision": null }));
    let error = store
        .update("peer.a", &value(9), revision)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::WrongRevision);
    let mut create = put("peer.a", 3);
    create["do"] = "create".into();
    assert_eq!(peer.ask(create.clone()).await, json!({ "revision": null }));
    peer.ask(json!({ "do": "delete", "key": "peer.a" })).await;
    assert_eq!(store.get("peer.a").await?, None);
    assert!(peer.ask(create).await["revision"].is_u64());
    assert_eq!(store.get("peer.a").await?, Some(value(3)));
    let history: Vec<_> = store.history("peer.a").await?.try_collect().await?;
    assert_eq!(history.len(), 4);
    peer.ask(json!({ "do": "purge", "key": "peer.a" })).await;
    let error = store.create("peer.a", &value(4)).await;
    assert!(error.is_ok(), "over their marker");
    for (value, operation) in [
        (Some(value(1)), Operation::Put),
        (Some(value(2)), Operation::Put),
        (None, Operation::Delete),
        (Some(value(3)), Operation::Put),
        (None, Operation::Purge),
        (Some(value(4)), Operation::Put),
    ] {
        let expected = ("peer.a".to_owned(), value, operation);
        assert_eq!(change(&mut watch).await, expected);
    }
    Ok(())
}

async fn objects(client: &SharedClient, peer: &mut Peer) -> TestResult {
    let store = client.save_object_store();
    // Of other characters than ASCII, nats.js makes other subjects than the rest.
    let (name, unit) = ("with space / & *.>", 1_000);
    let data: Vec<u8> = (0..unit).map(|n| (n % 251) as u8).collect();
    let data = data.repeat(400);
    store.put_from(name, &data[..]).await?;
    let text: String = data[..unit]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let get = json!({ "do": "get_object", "key": name, "unit": unit });
    let found = json!({ "size": data.len(), "unit": text, "whole": true, "name": name });
    assert_eq!(peer.ask(get.clone()).await, found);
    store.put("message", &value(1)).await?;
    let listed = peer.ask(json!({ "do": "objects" })).await;
    assert_eq!(listed, json!({ "objects": ["message", name] }));

    let put = json!({ "do": "put_object", "key": "theirs", "value": text, "times": 400 });
    assert_eq!(peer.ask(put).await, json!({ "size": data.len() }));
    let mut reader = store.reader("theirs").await?.unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await?;
    assert!(read == data);
    let put = json!({ "do": "put_object", "key": "message", "value": hex(&value(2)), "times": 1 });
    peer.ask(put).await;
    assert_eq!(store.get("message").await?, Some(value(2)));
    peer.ask(json!({ "do": "delete_object", "key": "theirs" }))
        .await;
    assert!(store.info("theirs").await?.is_none());
    let left: Vec<_> = store.list().await?.try_collect().await?;
    assert_eq!(left.len(), 2);
    store.delete(name).await?;
    assert_eq!(peer.ask(get).await, json!({ "size": null }));
    Ok(())
}

async fn they_watch_what_we_change(store: &KvStore<Saved>, peer: &mut Peer) -> TestResult {
    let begun = peer.ask(json!({ "do": "watch", "key": "live.*" })).await;
    assert_eq!(begun, json!({ "initial": false }));
    // One after the other: what a purge removes before it is delivered, no watch sees.
    store.put("live.a", &value(1)).await?;
    peer.sees("live.a", &hex(&value(1)), "put").await;
    store.delete("live.a").await?;
    peer.sees("live.a", "", "delete").await;
    store.put("live.b", &value(2)).await?;
    peer.sees("live.b", &hex(&value(2)), "put").await;
    store.purge("live.b").await?;
    peer.sees("live.b", "", "purge").await;
    Ok(())
}

async fn exchange(program: &Path, script: &Path) -> TestResult {
    let nats = Nats::start().await;
    buckets(&nats).await;
    let mut peer = Peer::start(program, script, &nats).await;
    let client = SharedClient::new(nats.client());
    let store = client.save_kv();
    they_read_what_we_store(&store, &mut peer).await?;
    we_read_what_they_store(&store, &mut peer).await?;
    objects(&client, &mut peer).await?;
    they_watch_what_we_change(&store, &mut peer).await
}

#[tokio::test]
async fn nats_py() -> TestResult {
    if !has("python3") {
        return Ok(());
    }
    let place = fetched(
        &format!("interop-{}", NATS_PY.replace("==", "-")),
        |place| {
            run(Command::new("python3")
                .args(["-m", "venv", "venv"])
                .current_dir(place));
            run(Command::new(python(place)).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                NATS_PY,
            ]));
        },
    );
    exchange(&python(&place), &source("peer.py")).await
}

fn python(place: &Path) -> PathBuf {
    let programs = if cfg!(windows) { "Scripts" } else { "bin" };
    place.join("venv").join(programs).join("python")
}

#[tokio::test]
async fn nats_js() -> TestResult {
    if !has("node") || !has("npm") {
        return Ok(());
    }
    let place = fetched("interop-nats-js-3.4.0", |place| {
        fs::write(place.join("package.json"), "{}").unwrap();
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(NATS_JS)
            .current_dir(place));
    });
    // Node looks for packages beside the script.
    let script = place.join("peer.mjs");
    fs::copy(source("peer.mjs"), &script)?;
    exchange(Path::new("node"), &script).await
}
