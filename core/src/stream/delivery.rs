//! From the task that receives a stream to the one that reads it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::sync::{Notify, mpsc};

use crate::codec::MessageCodec;
use crate::status::{Code, Status};
use crate::stream::flow::Credit;

/// What arrived.
enum Item {
    /// A payload with so many messages: one as it is, more with their lengths before them.
    Messages(Bytes, u64),
    /// The last item.
    Failed(Status),
    End,
}

/// What the reader has taken so far, as far as it has told.
#[derive(Debug, Default)]
struct Consumed {
    messages: AtomicU64,
    bytes: AtomicU64,
    changed: Notify,
}

/// The receiving task's end.
pub(crate) struct Delivery {
    items: mpsc::UnboundedSender<Item>,
    consumed: Arc<Consumed>,
    window: Credit,
}

/// The reader's end.
pub(crate) struct Incoming<T> {
    /// What a message is that cannot be decoded: a mistake of the caller, or of the service.
    undecodable: Code,
    items: mpsc::UnboundedReceiver<Item>,
    /// The messages of the last payload that were not yet read.
    batch: VecDeque<Bytes>,
    decode: fn(Bytes) -> Result<T, crate::codec::CodecError>,
    /// What was read, and how much of that the other end knows.
    taken: Credit,
    told: Credit,
    /// After how much it is told.
    step: Credit,
    consumed: Arc<Consumed>,
    ended: bool,
}

/// Both ends. Between them wait at most `window` messages and bytes, if the sender keeps to what it is granted.
pub(crate) fn delivery<T>(
    window: Credit,
    codec: MessageCodec<T>,
    undecodable: Code,
) -> (Delivery, Incoming<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let consumed = Arc::<Consumed>::default();
    let incoming = Incoming {
        undecodable,
        items: receiver,
        batch: VecDeque::new(),
        decode: codec.decode,
        taken: Credit::default(),
        told: Credit::default(),
        step: Credit {
            messages: (window.messages / 2).max(1),
            bytes: (window.bytes / 2).max(1),
        },
        consumed: Arc::clone(&consumed),
        ended: false,
    };
    let delivery = Delivery {
        items: sender,
        consumed,
        window,
    };
    (delivery, incoming)
}

impl Delivery {
    /// What the sender may have sent by now.
    pub(crate) fn granted(&self) -> Credit {
        self.window.after(self.taken())
    }

    /// What the reader has taken, as far as it has told.
    pub(crate) fn taken(&self) -> Credit {
        Credit {
            messages: self.consumed.messages.load(Ordering::Acquire),
            bytes: self.consumed.bytes.load(Ordering::Acquire),
        }
    }

    /// Waits until the reader has taken so much that the sender should hear of it.
    pub(crate) async fn consumed(&self) {
        self.consumed.changed.notified().await;
    }

    /// Waits until the reader is gone.
    pub(crate) async fn unread(&self) {
        self.items.closed().await;
    }

    pub(crate) fn messages(&self, payload: Bytes, count: u64) {
        // A reader that is gone has no use for them.
        let _ = self.items.send(Item::Messages(payload, count));
    }

    pub(crate) fn end(&self, status: Option<Status>) {
        let _ = self.items.send(status.map_or(Item::End, Item::Failed));
    }
}

impl<T> Incoming<T> {
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        loop {
            if let Some(message) = self.batch.pop_front() {
                self.take(message.len());
                let number = self.taken.messages;
                return Poll::Ready(Some((self.decode)(message).map_err(|error| {
                    let text = format!("failed to decode message {number} of the stream: {error}");
                    Status::new(self.undecodable.clone(), text)
                })));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.items.poll_recv(cx)) {
                Some(Item::Messages(payload, 1)) => self.batch.push_back(payload),
                Some(Item::Messages(payload, _)) => self.batch.extend(split(payload)),
                Some(Item::End) => self.ended = true,
                Some(Item::Failed(status)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    self.ended = true;
                    let status = Status::cancelled("the call of this stream is over");
                    return Poll::Ready(Some(Err(status)));
                }
            }
        }
    }

    fn take(&mut self, bytes: usize) {
        self.taken.messages += 1;
        self.taken.bytes += bytes as u64;
        if self.taken.messages - self.told.messages >= self.step.messages
            || self.taken.bytes - self.told.bytes >= self.step.bytes
        {
            self.told = self.taken;
            let consumed = &self.consumed;
            consumed
                .messages
                .store(self.taken.messages, Ordering::Release);
            consumed.bytes.store(self.taken.bytes, Ordering::Release);
            consumed.changed.notify_one();
        }
    }
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

/// The messages of a batch: each is preceded by its length as a protobuf varint. Stops at what is none.
pub(crate) fn split(mut payload: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let message = first_message(&payload)?;
        payload.advance(message.start);
        Some(payload.split_to(message.len()))
    })
}

/// Where the first message of a batch lies.
pub(crate) fn first_message(payload: &[u8]) -> Option<Range<usize>> {
    let mut length = 0_u64;
    for (at, byte) in payload.iter().take(9).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let start = at + 1;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            return (end <= payload.len()).then_some(start..end);
        }
    }
    None
}
