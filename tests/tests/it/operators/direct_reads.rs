//! An operator switches direct reads of a bucket off and on while it is read.

use std::time::{Duration, Instant};

use futures::StreamExt;
use natsmicro::Status;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};
use tokio::time::timeout;

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "<key>", client_only)]
    #[object_store(bucket = "profiles", key = "<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

async fn allow_direct(nats: &Nats, stream: &str, is_allowed: bool) {
    let mut config = nats.stream_config(stream).await;
    config.allow_direct = is_allowed;
    nats.js.update_stream(config).await.unwrap();
}

#[tokio::test]
async fn reads_go_on() -> TestResult {
    let nats = Nats::start().await;
    let client = ProfilesClient::new(nats.client());
    let (entries, objects) = (client.save_kv(), client.save_object_store());
    entries.create_bucket().await?;
    objects.create_bucket().await?;
    let value = Save::new("a", "b").saved();
    let revision = entries.put("a", &value).await?;
    objects.put("a", &value).await?;
    let check = async || -> TestResult {
        assert_eq!(entries.get("a").await?, Some(value.clone()));
        let entry = entries.entry_at("a", revision).await?.unwrap();
        assert_eq!(entry.value.as_ref(), Some(&value));
        assert_eq!(entries.get("none").await?, None);
        assert_eq!(objects.get("a").await?, Some(value.clone()));
        Ok(())
    };
    check().await?;
    for _ in 0..2 {
        for stream in ["KV_profiles", "OBJ_profiles"] {
            allow_direct(&nats, stream, false).await;
        }
        check().await?;
        check().await?;
        for stream in ["KV_profiles", "OBJ_profiles"] {
            allow_direct(&nats, stream, true).await;
        }
        check().await?;
    }
    Ok(())
}

/// A revision is read first, so that the other way of reading does not notice the change for it.
#[tokio::test]
async fn reads_of_revisions_notice_it_too() -> TestResult {
    let nats = Nats::start().await;
    let entries = ProfilesClient::new(nats.client()).save_kv();
    entries.create_bucket().await?;
    let value = Save::new("a", "b").saved();
    let revision = entries.put("a", &value).await?;
    allow_direct(&nats, "KV_profiles", false).await;
    let entry = entries.entry_at("a", revision).await?.unwrap();
    assert_eq!(entry.value, Some(value));
    Ok(())
}

/// Once they are allowed again, replicas are read again: the requests to the leader end.
#[tokio::test]
async fn replicas_are_read_again() -> TestResult {
    let nats = Nats::start().await;
    let entries = ProfilesClient::new(nats.client()).save_kv();
    entries.create_bucket().await?;
    let value = Save::new("a", "b").saved();
    entries.put("a", &value).await?;
    allow_direct(&nats, "KV_profiles", false).await;
    assert_eq!(entries.get("a").await?, Some(value.clone()));
    allow_direct(&nats, "KV_profiles", true).await;
    // What is sent to the API is seen by others of the account.
    let mut direct = nats
        .nats
        .subscribe("$JS.API.DIRECT.GET.KV_profiles.>")
        .await?;
    nats.nats.flush().await?;
    let since = Instant::now();
    loop {
        assert_eq!(entries.get("a").await?, Some(value.clone()));
        let read = timeout(Duration::from_millis(100), direct.next());
        if read.await.is_ok() {
            return Ok(());
        }
        assert!(since.elapsed() < Duration::from_secs(20), "no direct read");
    }
}
