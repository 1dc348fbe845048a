use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig, OrderedErrorKind};
use futures::{Stream, StreamExt};

use super::kv::{Entry, Operation};
use super::kv_bucket::{KvBucket, operation};
use super::{StoreError, StoreErrorKind};
use crate::codec::MessageCodec;

/// What a [`Watch`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent<T> {
    /// A key was written, deleted or purged. Before [`EndOfInitial`](Self::EndOfInitial): its current value.
    Entry(Entry<T>),
    /// Everything that was stored when the watch began has been yielded.
    EndOfInitial,
}

/// The changes of a bucket as they happen; made by [`KvStore::watch`](crate::KvStore::watch).
///
/// ```no_run
/// # use futures::StreamExt;
/// # use natsmicro::{KvStore, StoreError, WatchEvent};
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// let mut changes = profiles.watch("user.>").await?;
/// while let Some(event) = changes.next().await {
///     match event? {
///         WatchEvent::Entry(entry) => println!("{} is now {:?}", entry.key, entry.value),
///         WatchEvent::EndOfInitial => println!("that is all for now"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Watch<T> {
    messages: Ordered,
    prefix: String,
    codec: MessageCodec<T>,
    /// How many messages of the initial state are still to come; `None` once the end was yielded.
    initial: Option<u64>,
    /// The connection is closed for good.
    ended: bool,
}

impl<T> Watch<T> {
    pub(super) async fn start(
        bucket: &KvBucket,
        pattern: &str,
        codec: MessageCodec<T>,
    ) -> Result<Self, StoreError> {
        let cannot_watch = "cannot watch the bucket";
        let store = bucket.store();
        let consumer = store
            .stream
            .create_consumer(OrderedConfig {
                deliver_subject: bucket.inbox(),
                description: Some("natsmicro watch".to_owned()),
                filter_subject: format!("{}{pattern}", store.prefix),
                deliver_policy: DeliverPolicy::LastPerSubject,
                ..Default::default()
            })
            .await
            .map_err(|error| StoreError::nats(cannot_watch, error))?;
        let initial = consumer.cached_info().num_pending;
        let messages = consumer
            .messages()
            .await
            .map_err(|error| StoreError::nats(cannot_watch, error))?;
        Ok(Self {
            messages,
            prefix: store.prefix.clone(),
            codec,
            initial: Some(initial),
            ended: false,
        })
    }

    /// The entry in a message; `None` for what is not reported.
    fn entry(&mut self, message: &Message) -> Result<Option<Entry<T>>, StoreError> {
        let info = message.info().map_err(|error| {
            StoreError::new(StoreErrorKind::Nats, "not a message of the bucket").with_source(error)
        })?;
        let (revision, created) = (info.stream_sequence, SystemTime::from(info.published));
        let in_initial_state = self.initial.is_some();
        if let Some(pending) = &mut self.initial {
            // The server's own count also covers what vanishes while the initial state is on its way.
            *pending = (*pending).saturating_sub(1).min(info.pending);
        }
        let key = message
            .subject
            .strip_prefix(self.prefix.as_str())
            .unwrap_or(&message.subject);
        let operation = message.headers.as_ref().map_or(Operation::Put, operation);
        let value = match operation {
            Operation::Put => Some(
                (self.codec.decode)(message.payload.clone())
                    .map_err(|error| StoreError::decode(key, error))?,
            ),
            Operation::Delete | Operation::Purge if in_initial_state => return Ok(None),
            Operation::Delete | Operation::Purge => None,
        };
        Ok(Some(Entry {
            key: key.to_owned(),
            value,
            revision,
            created,
            operation,
        }))
    }
}

impl<T> Stream for Watch<T> {
    type Item = Result<WatchEvent<T>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.initial == Some(0) {
                self.initial = None;
                return Poll::Ready(Some(Ok(WatchEvent::EndOfInitial)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let Some(message) = futures::ready!(self.messages.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            let message = match message {
                Ok(message) => message,
                // It goes on by itself, after the last message that it has received.
                Err(error) if error.kind() == OrderedErrorKind::MissingHeartbeat => {
                    tracing::debug!(prefix = self.prefix, "a watch begins again after a pause");
                    continue;
                }
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(StoreError::nats(
                        "the watch is interrupted",
                        error,
                    ))));
                }
            };
            match self.entry(&message) {
                Ok(Some(entry)) => return Poll::Ready(Some(Ok(WatchEvent::Entry(entry)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl<T> Unpin for Watch<T> {}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
