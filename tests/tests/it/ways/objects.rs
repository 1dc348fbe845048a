//! Object Stores.

use futures::{StreamExt, TryStreamExt};
use natsmicro::store::WatchEvent;
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Save, Saved, TestResult};
use tokio::io::AsyncReadExt;

use crate::ways::Way;

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

/// How many messages the bucket has where it is, chunks and metadata together.
async fn messages(way: &Way) -> u64 {
    let mut stream = way.home.get_stream("OBJ_pictures").await.unwrap();
    stream.info().await.unwrap().state.messages
}

pub async fn are_read_and_written(way: &Way) -> TestResult {
    let store = way.pictures().paint_object_store();
    store.create_bucket().await?;
    let home = way.home.get_object_store("pictures").await?;

    store.put("small", &value(1)).await?;
    assert_eq!(store.get("small").await?, Some(value(1)));
    assert_eq!(store.get("none").await?, None);
    store.put("small", &value(2)).await?;
    assert_eq!(store.get("small").await?, Some(value(2)));
    assert_eq!(messages(way).await, 2, "the replaced chunk is removed");

    // Larger than what is read at once.
    let bytes: Vec<u8> = (0..6_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    store.put_from("large", &bytes[..]).await?;
    let mut read = Vec::new();
    let mut reader = store.reader("large").await?.unwrap();
    reader.read_to_end(&mut read).await?;
    assert!(read == bytes);
    read.clear();
    home.get("large").await?.read_to_end(&mut read).await?;
    assert!(read == bytes, "as another client reads it at home");

    store.delete("large").await?;
    assert!(store.reader("large").await?.is_none());
    assert_eq!(messages(way).await, 3, "the chunks are removed");
    store.delete_bucket().await?;
    assert!(way.home.get_object_store("pictures").await.is_err());
    Ok(())
}

pub async fn are_listed_and_watched(way: &Way) -> TestResult {
    let store = way.pictures().paint_object_store();
    store.create_bucket().await?;
    store.put("a", &value(1)).await?;
    let mut watch = store.watch().await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a"));
    assert!(matches!(next(&mut watch).await?, WatchEvent::EndOfInitial));
    store.put("b", &value(2)).await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "b"));
    let home = way.home.get_object_store("pictures").await?;
    home.put("c", &mut &b"c"[..]).await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "c"));
    let listed: Vec<_> = store.list().await?.try_collect().await?;
    let mut names: Vec<_> = listed.iter().map(|info| &*info.key).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
    store.delete("a").await?;
    let mut listed = home.list().await?;
    let mut names = Vec::new();
    while let Some(info) = listed.next().await {
        names.push(info?.name);
    }
    names.sort_unstable();
    assert_eq!(names, ["b", "c"]);
    Ok(())
}
