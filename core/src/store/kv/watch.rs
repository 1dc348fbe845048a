//! Streams of current values and changes, and the builder of them.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::descriptor::operation::Operation;
use crate::store::error::StoreError;
use crate::store::kv::entry::Entry;
use crate::store::kv::handle::KvStore;
use crate::store::reader::delivery::{BucketMessage, ReaderEvent};
use crate::store::reader::range::Start;

/// What a [`Watch`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent<T> {
    /// A key was written, deleted or purged; before [`EndOfInitial`](Self::EndOfInitial) an entry that existed when the watch started.
    Entry(Entry<T>),
    /// Each key that had a value when the watch started, and has one still, has been yielded. What is written meanwhile may be among
    /// the entries before this, and follows otherwise.
    EndOfInitial,
}

/// The changes of a bucket as they happen; made by [`KvStore::watch`](crate::store::kv::handle::KvStore::watch).
///
/// ```no_run
/// # use futures::StreamExt;
/// # use natsmicro::store::{StoreError, WatchEvent};
/// # use natsmicro::KvStore;
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// let mut changes = profiles.watch("user.>").await?;
/// while let Some(event) = changes.next().await {
///     match event? {
///         WatchEvent::Entry(entry) => println!("{} is now {:?}", entry.key, entry.value),
///         WatchEvent::EndOfInitial => println!("all current values are read"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Watch<T> {
    bucket: String,
    events: BoxStream<'static, Result<ReaderEvent, StoreError>>,
    skips: Skips,
    read: Box<dyn Fn(BucketMessage) -> Result<Entry<T>, StoreError> + Send + Sync>,
}

impl<T> Watch<T> {
    pub(crate) fn new(
        bucket: &str,
        events: BoxStream<'static, Result<ReaderEvent, StoreError>>,
        skips: Skips,
        read: impl Fn(BucketMessage) -> Result<Entry<T>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            bucket: bucket.to_owned(),
            events,
            skips,
            read: Box::new(read),
        }
    }
}

impl<T> Stream for Watch<T> {
    type Item = Result<WatchEvent<T>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let event = match ready!(self.events.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => Err(error),
                Some(Ok(ReaderEvent::CaughtUp)) => {
                    self.skips = Skips::Nothing;
                    Ok(WatchEvent::EndOfInitial)
                }
                Some(Ok(ReaderEvent::Message(message))) => {
                    let is_repeated = message.is_repeated;
                    if is_repeated && self.skips == Skips::DeletionsAndRepetitions {
                        continue;
                    }
                    let skips_deletion = !is_repeated && self.skips != Skips::Nothing;
                    match (self.read)(message) {
                        Ok(entry) if skips_deletion && entry.operation != Operation::Put => {
                            continue;
                        }
                        read => read.map(WatchEvent::Entry),
                    }
                }
            };
            return Poll::Ready(Some(event));
        }
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// What is left out of the initial part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skips {
    Nothing,
    /// Markers of keys that were deleted before. One that follows a value in the initial part is a change.
    Deletions,
    /// Also what follows the first entry of a key.
    DeletionsAndRepetitions,
}

/// What a watch yields before the changes.
#[derive(Clone, Copy, Debug)]
enum Initial {
    Values,
    ValuesAndDeletions,
    From(u64),
    Nothing,
}

/// The builder of a [`Watch`], which starts when it is awaited. Of the methods that select the entries before the changes, the last one
/// counts.
///
/// ```no_run
/// # use natsmicro::store::{StoreError, Watch};
/// # use natsmicro::KvStore;
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// // All revisions of two kinds of keys, and then every change.
/// let mut watch: Watch<String> = profiles.watch("user.*").with_additional_pattern("team.*").with_history().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a watch starts when it is awaited"]
pub struct WatchBuilder<T> {
    store: KvStore<T>,
    patterns: Vec<String>,
    initial: Initial,
}

impl<T: 'static> WatchBuilder<T> {
    pub(crate) fn new(store: KvStore<T>, pattern: &str) -> Self {
        Self {
            store,
            patterns: vec![pattern.to_owned()],
            initial: Initial::Values,
        }
    }

    /// Follows the keys that match this pattern too. The server refuses patterns of which some keys match several.
    pub fn with_additional_pattern(mut self, pattern: impl AsRef<str>) -> Self {
        self.patterns.push(pattern.as_ref().to_owned());
        self
    }

    /// Also starts with the deleted keys whose markers the bucket still has.
    pub fn with_deletes(mut self) -> Self {
        self.initial = Initial::ValuesAndDeletions;
        self
    }

    /// Starts with all revisions that are kept, deletions included.
    pub fn with_history(self) -> Self {
        self.with_history_from(1)
    }

    /// Starts with all revisions from this one on that are kept, deletions included: continues where another watch ended.
    pub fn with_history_from(mut self, revision: u64) -> Self {
        self.initial = Initial::From(revision);
        self
    }

    /// Starts with the changes: [`EndOfInitial`](WatchEvent::EndOfInitial) is the first event.
    pub fn with_updates_only(mut self) -> Self {
        self.initial = Initial::Nothing;
        self
    }

    async fn start(self) -> Result<Watch<T>, StoreError> {
        let start = match self.initial {
            Initial::Values | Initial::ValuesAndDeletions => Start::Newest,
            Initial::From(revision) => Start::At(revision),
            Initial::Nothing => Start::Next,
        };
        let store = self.store;
        let (consumer, prefix) = store.consume(&self.patterns, start, false, true).await?;
        let skips = match self.initial {
            Initial::Values => Skips::Deletions,
            Initial::ValuesAndDeletions | Initial::From(_) | Initial::Nothing => Skips::Nothing,
        };
        let codec = store.codec();
        Ok(Watch::new(
            store.bucket(),
            consumer.into_stream(),
            skips,
            move |message| Entry::of_delivered(&codec, &prefix, message),
        ))
    }
}

impl<T: 'static> IntoFuture for WatchBuilder<T> {
    type Output = Result<Watch<T>, StoreError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.start().boxed()
    }
}

impl<T> fmt::Debug for WatchBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchBuilder")
            .field("store", &self.store)
            .field("patterns", &self.patterns)
            .field("initial", &self.initial)
            .finish()
    }
}
