//! The events of a cache as a stream of each subscriber.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::store::kv::cache::event::CacheEvent;

/// The events of a [`KvCache`](crate::store::KvCache); made by [`KvCache::subscribe`](crate::store::KvCache::subscribe).
///
/// The stream ends when the last clone of the cache is dropped.
///
/// ```no_run
/// # use futures::StreamExt;
/// # use natsmicro::store::{CacheEvent, KvCache};
/// # async fn example(profiles: KvCache<String>) {
/// let mut events = profiles.subscribe();
/// while let Some(event) = events.next().await {
///     match event {
///         CacheEvent::Changed(entry) => println!("{} is now {:?}", entry.key, entry.value),
///         CacheEvent::Missed(count) => println!("{count} events were dropped"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct CacheEvents<T>(BoxStream<'static, CacheEvent<T>>);

impl<T: Send + Sync + 'static> CacheEvents<T> {
    pub(crate) fn new(receiver: Receiver<CacheEvent<T>>) -> Self {
        let events = futures::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(RecvError::Lagged(count)) => Some((CacheEvent::Missed(count), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        Self(events.boxed())
    }
}

impl<T> Stream for CacheEvents<T> {
    type Item = CacheEvent<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<T> fmt::Debug for CacheEvents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEvents").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::broadcast;

    use super::*;

    #[test]
    fn a_slow_subscriber_learns_what_it_missed() {
        let sender = broadcast::Sender::<CacheEvent<u64>>::new(2);
        let mut events = CacheEvents::new(sender.subscribe());
        for _ in 0..5 {
            sender.send(CacheEvent::Loaded).unwrap();
        }
        let mut next = || events.next().now_or_never();
        assert!(matches!(next(), Some(Some(CacheEvent::Missed(3)))));
        assert!(matches!(next(), Some(Some(CacheEvent::Loaded))));
        assert!(matches!(next(), Some(Some(CacheEvent::Loaded))));
        assert!(next().is_none(), "it waits for the next event");
        drop(sender);
        assert!(matches!(events.next().now_or_never(), Some(None)));
    }
}
