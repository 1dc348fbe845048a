//! What a watch yields, in time.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use natsmicro::store::{Entry, StoreError, Watch, WatchEvent};

pub async fn next<T>(watch: &mut Watch<T>) -> Result<WatchEvent<T>, StoreError> {
    let next = tokio::time::timeout(Duration::from_secs(20), watch.next());
    next.await
        .expect("the watch yields")
        .expect("the watch goes on")
}

pub async fn entry<T: Debug>(watch: &mut Watch<T>) -> Entry<T> {
    match next(watch).await.unwrap() {
        WatchEvent::Entry(entry) => entry,
        other => panic!("{other:?} in place of an entry"),
    }
}
