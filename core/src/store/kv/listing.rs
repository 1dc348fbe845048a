//! Streams of the entries that exist at their start, which end after them.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::descriptor::operation::Operation;
use crate::store::error::StoreError;
use crate::store::kv::entry::Entry;
use crate::store::kv::watch::{Watch, WatchEvent};
use crate::store::reader::delivery::ReaderEvent;

/// The keys of a bucket; made by [`KvStore::keys`](crate::store::kv::handle::KvStore::keys). An error is the end.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Keys {
    events: Option<BoxStream<'static, Result<ReaderEvent, StoreError>>>,
    prefix: String,
}

impl Keys {
    pub(crate) fn new(
        events: BoxStream<'static, Result<ReaderEvent, StoreError>>,
        prefix: String,
    ) -> Self {
        Self {
            events: Some(events),
            prefix,
        }
    }
}

impl Stream for Keys {
    type Item = Result<String, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(events) = &mut self.events else {
                return Poll::Ready(None);
            };
            match ready!(events.poll_next_unpin(cx)) {
                Some(Ok(ReaderEvent::Message(message))) if message.is_repeated => {}
                Some(Ok(ReaderEvent::Message(message))) => {
                    if message.operation() == Operation::Put {
                        let subject = message.subject.as_str();
                        let key = subject.strip_prefix(&self.prefix).unwrap_or(subject);
                        return Poll::Ready(Some(Ok(key.to_owned())));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(ReaderEvent::CaughtUp)) | None => self.events = None,
            }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The revisions of a key, or the objects of a bucket; made by [`KvStore::history`](crate::store::kv::handle::KvStore::history) and
/// `ObjectStore::list`. A value that is no `T` is an error in its
/// place, see [`StoreError::undecodable`]; every other error is the end.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Entries<T> {
    entries: Option<Watch<T>>,
}

impl<T> Entries<T> {
    pub(crate) fn new(entries: Watch<T>) -> Self {
        Self {
            entries: Some(entries),
        }
    }
}

impl<T> Stream for Entries<T> {
    type Item = Result<Entry<T>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(entries) = &mut self.entries else {
            return Poll::Ready(None);
        };
        match ready!(entries.poll_next_unpin(cx)) {
            Some(Ok(WatchEvent::Entry(entry))) => Poll::Ready(Some(Ok(entry))),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(WatchEvent::EndOfInitial)) | None => {
                self.entries = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<T> fmt::Debug for Entries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}
