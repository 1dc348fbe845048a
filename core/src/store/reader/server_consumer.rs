//! One consumer at the server, of the several that an ordered consumer uses one after the other.

use std::time::{Duration, SystemTime};

use async_nats::Subject;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{Consumer, Info};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::{Context, Message};
use tokio::time::timeout;

use crate::store::reader::delivery::BucketMessage;
use crate::store::reader::range::Range;
use crate::transport::refused::unless_refused;

/// A consumer at the server.
pub(crate) struct ServerConsumer {
    pub(crate) consumer: Consumer<Config>,
    /// Where it delivers.
    pub(crate) subject: Subject,
    /// The epoch of the connection through which it was created.
    pub(crate) connection: u64,
    /// How many messages it has delivered.
    pub(crate) delivered: u64,
    /// Whether the server tells what remains, as far as is known: the permission to ask may be missing.
    pub(crate) tells_remainder: bool,
    /// Kept between messages: parsing the position of a message needs a JetStream context, which is expensive to clone.
    envelope: Option<Message>,
}

/// A message with the position in its reply subject.
pub(crate) struct Positioned {
    pub(crate) message: BucketMessage,
    pub(crate) consumer_sequence: u64,
    /// How many messages follow it.
    pub(crate) pending: u64,
}

/// What the server says of a consumer that has sent nothing.
pub(crate) enum Remainder {
    /// It has delivered all that it has, which ends at this sequence.
    Nothing(u64),
    /// There is more to come.
    Something,
    /// An operator has paused it: what is to come does not come, and it sends heartbeats as if there was nothing.
    Paused,
    Deleted,
    /// The server does not say.
    Unknown,
}

impl ServerConsumer {
    /// A consumer that was created through the `connection`, and delivers below the `inbox`.
    pub(crate) fn new(consumer: Consumer<Config>, inbox: &str, connection: u64) -> Self {
        let name = &consumer.cached_info().name;
        Self {
            subject: format!("{inbox}.{name}").into(),
            consumer,
            connection,
            delivered: 0,
            tells_remainder: true,
            envelope: None,
        }
    }

    /// What the server said when it created the consumer.
    pub(crate) fn info(&self) -> &Info {
        self.consumer.cached_info()
    }

    /// The subject on which messages are requested, below the prefix of the JetStream API.
    pub(crate) fn request_subject(&self) -> String {
        let info = self.info();
        format!("CONSUMER.MSG.NEXT.{}.{}", info.stream_name, info.name)
    }

    /// Reads the position of a message; `None` if it is from another consumer.
    pub(crate) fn unpack(
        &mut self,
        message: async_nats::Message,
        context: &Context,
    ) -> Option<Positioned> {
        let envelope = match self.envelope.take() {
            Some(mut envelope) => {
                envelope.message = message;
                envelope
            }
            None => Message {
                message,
                context: context.clone(),
            },
        };
        let envelope = self.envelope.insert(envelope);
        let info = envelope.info().ok()?;
        if info.consumer != self.consumer.cached_info().name {
            return None;
        }
        let (sequence, consumer_sequence) = (info.stream_sequence, info.consumer_sequence);
        let (pending, published) = (info.pending, SystemTime::from(info.published));
        Some(Positioned {
            message: BucketMessage {
                subject: envelope.message.subject.clone(),
                headers: envelope.message.headers.take(),
                payload: std::mem::take(&mut envelope.message.payload),
                sequence,
                published,
                is_malformed: false,
                is_repeated: false,
            },
            consumer_sequence,
            pending,
        })
    }

    /// Asks the server how much is to come, and waits so long for the answer.
    pub(crate) async fn remainder(&self, range: &Range, within: Duration) -> Remainder {
        let Ok(stream) = range.stream().await else {
            return Remainder::Unknown;
        };
        let name = &self.info().name;
        let request = format!("CONSUMER.INFO.{}.{name}", range.stream);
        let info = unless_refused(&range.gate, &request, stream.consumer_info(name));
        match timeout(within, info).await {
            Ok(Ok(Ok(info))) if info.paused => Remainder::Paused,
            Ok(Ok(Ok(info)))
                if info.num_pending == 0 && info.delivered.consumer_sequence == self.delivered =>
            {
                Remainder::Nothing(info.delivered.stream_sequence)
            }
            Ok(Ok(Ok(_))) => Remainder::Something,
            Ok(Ok(Err(error))) if is_deleted(&error.kind()) => Remainder::Deleted,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Remainder::Unknown,
        }
    }

    /// Deletes the consumer. A failure is harmless: the server deletes inactive consumers itself, only later.
    pub(crate) fn delete(&self, context: &Context) -> impl Future<Output = ()> + Send + use<> {
        let context = context.clone();
        let info = self.info();
        let subject = format!("CONSUMER.DELETE.{}.{}", info.stream_name, info.name);
        async move {
            let _ = context
                .send_request(subject, async_nats::Request::new())
                .await;
        }
    }
}

fn is_deleted(kind: &ConsumerInfoErrorKind) -> bool {
    matches!(
        kind,
        ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound
    )
}
