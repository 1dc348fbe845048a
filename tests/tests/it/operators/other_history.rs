//! An older snapshot of the store is put back while readers are away, and others write past the last revision that these have read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream;
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Nats, TestResult, eventually};
use prost::Message as _;

use super::{ProfilesClient, cached, store, value};

/// Where the nats-server has its store.
fn store_dir(nats: &Nats) -> PathBuf {
    let pid = nats.server.pid().unwrap();
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let mut arguments = command.split('\0');
    arguments.find(|it| *it == "--store_dir").unwrap();
    arguments.next().unwrap().into()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What others write after the snapshot was put back.
async fn check(written: &[&str]) -> TestResult {
    let nats = Nats::start().await;
    store(&nats).await.put("kept", &value(1)).await?;
    let dir = store_dir(&nats);
    let snapshot = dir.with_extension("snapshot");
    nats.server.kill()?;
    copy(&dir, &snapshot)?;
    nats.server.restart().await?;

    // The connection of the readers comes back later than that of the writers.
    let options =
        async_nats::ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_secs(3));
    let readers = nats.server.connect_with(options).await?;
    let client = natsmicro::Client::new(readers.clone()).with_jetstream(jetstream::new(readers));
    let store = ProfilesClient::new(client).save_kv();
    let lost = store.put("lost", &value(2)).await?;
    let cache = store.cached().await?;
    let mut watch = store.watch_all().await?;
    while !matches!(next(&mut watch).await?, WatchEvent::EndOfInitial) {}
    assert_eq!(cached(&cache, "lost"), Some(2));

    nats.server.kill()?;
    std::fs::remove_dir_all(&dir)?;
    std::fs::rename(&snapshot, &dir)?;
    nats.server.restart().await?;
    let writers = jetstream::new(nats.server.connect().await?);
    for key in written {
        let subject = format!("$KV.profiles.{key}");
        let payload = value(7).encode_to_vec().into();
        let ack = writers.publish(subject, payload).await?.await?;
        assert_eq!(ack.stream, "KV_profiles");
    }
    assert!(written.len() as u64 >= lost, "they have written past it");
    eventually("the lost entry is gone", || async {
        matches!(cache.get("lost"), Ok(None)).then_some(())
    })
    .await;
    assert_eq!(cached(&cache, "kept"), Some(1));
    assert_eq!(cached(&cache, written[0]), Some(7));
    let error = loop {
        if let Err(error) = next(&mut watch).await {
            break error;
        }
    };
    assert_eq!(error.kind(), &StoreErrorKind::Nats);
    assert!(error.to_string().contains("has lost revisions"), "{error}");
    Ok(())
}

#[tokio::test]
async fn another_message_has_the_revision() -> TestResult {
    check(&["a", "b", "c", "d"]).await
}

/// Nothing is left at the revision, since its key was written again and again.
#[tokio::test]
async fn no_message_has_the_revision() -> TestResult {
    check(&["a", "a", "a", "a", "a"]).await
}
