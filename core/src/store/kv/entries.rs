//! Reads of many entries of a Key-Value bucket: lists, histories, watches and caches.
//!
//! Apart from [`handle`](crate::store::kv::handle), because the types that these methods return use the handle themselves.

use crate::store::error::StoreError;
use crate::store::kv::cache::CacheBuilder;
use crate::store::kv::entry::Entry;
use crate::store::kv::handle::{KvStore, check_key};
use crate::store::kv::listing::{Entries, Keys};
use crate::store::kv::watch::{Skips, Watch, WatchBuilder};
use crate::store::reader::range::Start;

impl<T: 'static> KvStore<T> {
    /// The keys that have a value and match a [`Pattern`](crate::store::Pattern), in which `*` stands for one token and a final `>` for
    /// all that follow.
    ///
    /// They come as a stream, each once, in no order. A key that has a value all the time is among them, whatever is written meanwhile; one
    /// that is created or deleted meanwhile may be. Values are not read, and of each key a hash is held.
    ///
    /// ```no_run
    /// # use futures::TryStreamExt;
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// let mut keys: Vec<String> = profiles.keys("user.*").await?.try_collect().await?;
    /// keys.sort();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keys(&self, pattern: impl AsRef<str>) -> Result<Keys, StoreError> {
        let patterns = [pattern.as_ref().to_owned()];
        let (consumer, prefix) = self.consume(&patterns, Start::Newest, true, false).await?;
        Ok(Keys::new(consumer.into_stream(), prefix))
    }

    /// All revisions of a key that are kept, deletions included, oldest first.
    ///
    /// ```no_run
    /// # use futures::TryStreamExt;
    /// # use natsmicro::store::{Entry, StoreError};
    /// # use natsmicro::KvStore;
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// let revisions: Vec<Entry<String>> = profiles.history("user.ada").await?.try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn history(&self, key: impl AsRef<str>) -> Result<Entries<T>, StoreError> {
        let keys = [check_key(key.as_ref())?.to_owned()];
        let (consumer, prefix) = self.consume(&keys, Start::At(1), false, false).await?;
        let codec = self.handle.codec;
        let entries = consumer.into_stream();
        Ok(Entries::new(Watch::new(
            self.bucket(),
            entries,
            Skips::Nothing,
            move |message| Entry::of_delivered(&codec, &prefix, message),
        )))
    }

    /// Follows the keys that match a [`Pattern`](crate::store::Pattern), in which `*` stands for one token and a final `>` for all that
    /// follow.
    ///
    /// The stream yields the current values first, then [`EndOfInitial`](crate::store::kv::watch::WatchEvent::EndOfInitial) (also if there
    /// are none), then every change; [`WatchBuilder`] has other beginnings. It goes on through reconnects and restarts of the server,
    /// without gap and without repeat. A slow reader holds the server back. A value that is no `T` is an error in its place, see
    /// [`StoreError::undecodable`]; every other error is the end, as that the bucket was deleted.
    ///
    /// Changes that are not read can be lost only by the limits of the bucket: a key keeps `max_history` revisions. What an operator purges
    /// is announced to nobody. If an operator pauses the consumer of the watch, the changes come up to half a minute later. When the
    /// connection was interrupted, the last revisions that were read are compared with the bucket: if they are gone, since they were purged
    /// or an older snapshot of the bucket was put back, that is an error, and another watch begins with what is true. A
    /// [cache](Self::cached) does all that by itself.
    pub fn watch(&self, pattern: impl AsRef<str>) -> WatchBuilder<T> {
        WatchBuilder::new(self.clone(), pattern.as_ref())
    }

    /// Follows all keys, as [`watch(">")`](Self::watch).
    pub fn watch_all(&self) -> WatchBuilder<T> {
        self.watch(">")
    }

    /// Loads the bucket into a copy in memory that is kept up to date; see [`KvCache`](crate::store::KvCache).
    pub fn cached(&self) -> CacheBuilder<T>
    where
        T: Send + Sync,
    {
        CacheBuilder::new(self.clone())
    }
}
