//! Reads a range of a bucket's stream in order, without gap and without repeat, for as long as it takes.
//!
//! This is an ordered consumer of our own. Those of async-nats push, and so overrun a slow reader; after a reconnect in the
//! initial part they replay revisions that were superseded; and they never say that their stream is gone.

pub(crate) mod request;
pub(crate) mod resume;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::{HeaderMap, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::budget::{LEAST, Share};
use crate::store::reader::contact::Contact;
use crate::store::reader::range::{Failure, Range, Start, at};

/// How often the server says that it is there while there is nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often a quiet consumer looks at its connection.
const TICK: Duration = Duration::from_millis(500);
/// How long the initial part may stand still before the server is asked what is left of it.
const STALLED: Duration = Duration::from_millis(200);
/// How long one attempt to begin again may take.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);

/// What is read.
pub(crate) enum Delivery {
    Message(Delivered),
    /// What was there at the beginning has been delivered. Comes once, also if that was nothing.
    CaughtUp,
}

pub(crate) struct Delivered {
    pub(crate) subject: Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    pub(crate) sequence: u64,
    pub(crate) published: SystemTime,
}

pub(crate) struct OrderedConsumer {
    range: Range,
    /// One subscription for all consumers of this range; each has a token of its own below it.
    inbox: String,
    messages: Subscriber,
    consumer: Consumer<Config>,
    subject: Subject,
    /// The connection through which the consumer was made.
    connection: u64,
    /// When the stream was made, if it matters.
    created: Option<SystemTime>,
    /// Up to where the stream has been read.
    position: u64,
    /// How many messages the consumer has delivered.
    delivered: u64,
    /// How many messages it may still deliver before it is asked for more.
    requested: usize,
    /// What it was asked for while it was behind.
    share: Share,
    /// How many bytes have to be asked for, so that a single message fits.
    least: usize,
    /// How many messages of the initial part are to come; `None` once its end was reported.
    initial: Option<u64>,
    contact: Arc<Contact>,
    /// Kept to read the position of a message without a new context for each.
    envelope: Option<Message>,
}

impl OrderedConsumer {
    pub(crate) fn start(range: Range) -> BoxFuture<'static, Result<Self, StoreError>> {
        // Large, and not done often.
        Self::start_now(range).boxed()
    }

    async fn start_now(range: Range) -> Result<Self, StoreError> {
        let client = range.context.client();
        let inbox = client.new_inbox();
        let messages = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| StoreError::nats("cannot read the bucket", error))?;
        let connection = range.connection();
        let consumer = async {
            let policy = match range.start {
                Start::Newest => DeliverPolicy::LastPerSubject,
                Start::At(sequence) => at(sequence),
                Start::Next => DeliverPolicy::New,
            };
            range.consume(policy).await.map_err(Failure::into_error)
        };
        let created = async {
            if !range.endless {
                return Ok(None);
            }
            let info = range.info().await.map_err(Failure::into_error)?;
            Ok(Some(SystemTime::from(info.created)))
        };
        let (consumer, created) = tokio::try_join!(consumer, created)?;
        let info = consumer.cached_info();
        let initial = match range.start {
            Start::Next => 0,
            Start::Newest | Start::At(_) => info.num_pending,
        };
        let mut ordered = Self {
            subject: address(&inbox, &info.name),
            inbox,
            messages,
            connection,
            created,
            position: 0,
            delivered: 0,
            requested: 0,
            share: range.budget.share(),
            least: LEAST,
            initial: Some(initial),
            contact: Arc::new(Contact::new()),
            envelope: None,
            consumer,
            range,
        };
        ordered.begin();
        // Not only when it is first read: what is replaced before it was sent is never seen.
        ordered.request().await?;
        Ok(ordered)
    }

    /// How many messages of what was there at the beginning are to come.
    pub(crate) fn initial(&self) -> u64 {
        self.initial.unwrap_or(0)
    }

    pub(crate) fn contact(&self) -> Arc<Contact> {
        Arc::clone(&self.contact)
    }

    /// An error is the end.
    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<Delivery, StoreError>> {
        stream::unfold(Some(Box::new(self)), |ordered| async {
            let mut ordered = ordered?;
            match ordered.next().await {
                Ok(delivery) => Some((Ok(delivery), Some(ordered))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .fuse()
        .boxed()
    }

    /// Waits for what comes next, through any number of reconnects.
    pub(crate) async fn next(&mut self) -> Result<Delivery, StoreError> {
        loop {
            if self.initial == Some(0) {
                self.initial = None;
                return Ok(Delivery::CaughtUp);
            }
            self.request().await?;
            let patience = if self.initial.is_some() {
                STALLED
            } else {
                TICK
            };
            match self.share.next(&mut self.messages, patience).await {
                Ok(None) => return Err(closed()),
                Ok(Some(message)) => {
                    if let Some(delivered) = self.receive(message).await? {
                        return Ok(Delivery::Message(delivered));
                    }
                }
                Err(_) => self.look_after().await?,
            }
        }
    }

    async fn receive(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<Delivered>, StoreError> {
        let Some(status) = message.status else {
            return self.accept(message).await;
        };
        if message.subject != self.subject {
            // From a consumer that was replaced.
            return Ok(None);
        }
        self.contact.heard();
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                let last = header_number(&message, "Nats-Last-Consumer");
                if last.is_some_and(|last| last != self.delivered) {
                    self.begin_again("a message was lost").await?;
                } else {
                    // It has no more, even if it had before.
                    self.caught_up();
                }
                Ok(None)
            }
            StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED => {
                self.end_of_request(&message).await?;
                Ok(None)
            }
            _ => {
                self.begin_again("the consumer is gone").await?;
                Ok(None)
            }
        }
    }

    async fn accept(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<Delivered>, StoreError> {
        let envelope = match self.envelope.take() {
            Some(mut envelope) => {
                envelope.message = message;
                envelope
            }
            None => Message {
                message,
                context: self.range.context.clone(),
            },
        };
        let Ok(info) = envelope.info() else {
            return Ok(None);
        };
        let is_current = info.consumer == self.consumer.cached_info().name;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let in_order = info.consumer_sequence == self.delivered + 1;
        let published = SystemTime::from(info.published);
        let envelope = self.envelope.insert(envelope);
        if !is_current {
            return Ok(None);
        }
        self.contact.heard();
        if !in_order {
            self.begin_again("a message was lost").await?;
            return Ok(None);
        }
        let delivered = Delivered {
            subject: envelope.message.subject.clone(),
            headers: envelope.message.headers.take(),
            payload: std::mem::take(&mut envelope.message.payload),
            sequence,
            published,
        };
        self.delivered += 1;
        self.requested = self.requested.saturating_sub(1);
        if pending == 0 {
            self.caught_up();
        } else {
            self.contact.set_behind(pending);
        }
        if let Some(initial) = &mut self.initial {
            // The server's own count also covers what vanishes while the initial part is on its way.
            *initial = initial.saturating_sub(1).min(pending);
        }
        if sequence <= self.position {
            // The initial part was begun anew, and this one had come before.
            return Ok(None);
        }
        self.position = sequence;
        Ok(Some(delivered))
    }

    /// Nothing has come for a while.
    async fn look_after(&mut self) -> Result<(), StoreError> {
        if self.range.connection() != self.connection {
            return self.begin_again("the connection was interrupted").await;
        }
        if self.contact.age() > 2 * HEARTBEAT + TICK {
            return self.begin_again("the server was not heard of").await;
        }
        if self.initial.is_none() {
            return Ok(());
        }
        // The entries that it waits for may have expired.
        let name = self.consumer.cached_info().name.clone();
        let info = match self.range.stream().await {
            Ok(stream) => timeout(ATTEMPT, stream.consumer_info(name)).await,
            Err(_) => return Ok(()),
        };
        match info {
            Ok(Ok(info)) => {
                if info.num_pending == 0 && info.delivered.consumer_sequence == self.delivered {
                    self.initial = Some(0);
                    self.caught_up();
                    self.position = self.position.max(info.delivered.stream_sequence);
                }
                Ok(())
            }
            Ok(Err(error)) if is_gone(&error.kind()) => {
                self.begin_again("the consumer is gone").await
            }
            // Asked again soon.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Where a new consumer has nothing to deliver, that is as good as having read up to where it stands.
    fn begin(&mut self) {
        let info = self.consumer.cached_info();
        if self.initial == Some(0) {
            self.position = self.position.max(info.delivered.stream_sequence);
        }
        self.contact.set_behind(info.num_pending);
        self.share.release();
    }

    fn delete_consumer(&self) -> impl Future<Output = ()> + Send + use<> {
        let context = self.range.context.clone();
        let info = self.consumer.cached_info();
        let subject = format!("CONSUMER.DELETE.{}.{}", info.stream_name, info.name);
        async move {
            // The server does it too, only later.
            let _ = context
                .send_request(subject, async_nats::Request::new())
                .await;
        }
    }
}

impl Drop for OrderedConsumer {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.delete_consumer());
        }
    }
}

fn address(inbox: &str, consumer: &str) -> Subject {
    format!("{inbox}.{consumer}").into()
}

fn is_gone(kind: &ConsumerInfoErrorKind) -> bool {
    matches!(
        kind,
        ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound
    )
}

pub(crate) fn header_number(message: &async_nats::Message, name: &str) -> Option<u64> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Nats, "the connection is closed")
}
