//! The queue between the task that receives a stream and its reader: [`Delivery`] is the end of the task, [`Incoming`] that of the
//! reader.
//!
//! The queue has no bound of its own. It is bounded by the credit that the task grants: a window more than the reader has consumed. At
//! a service, a budget bounds what all queues of the server hold together.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::sync::{Notify, mpsc};

use crate::codec::{CodecError, MessageCodec};
use crate::status::{Code, Status};
use crate::stream::flow::Credit;
use crate::transport::budget::{Charge, MemoryBudget, detached};
use crate::transport::headers;

/// One entry of the queue.
enum Item {
    /// A payload and its number of messages: a single one as it is, several with their lengths; and the memory that it holds.
    Messages(Bytes, u64, Option<Charge>),
    /// The stream has failed, and the memory that its status holds; the last item.
    Failed(Status, Option<Charge>),
    /// The stream has ended; the last item.
    End,
}

/// How much the reader has reported as consumed. It reports in steps of half a window, so that credit is not granted for each message.
#[derive(Debug, Default)]
struct Reported {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Notified after each report.
    changed: Notify,
}

/// The end of the receiving task.
pub(crate) struct Delivery {
    items: mpsc::UnboundedSender<Item>,
    reported: Arc<Reported>,
    window: Credit,
    /// Pays for the messages of a queue that others fill; `None` at a caller, who has chosen the service and the window.
    memory: Option<Arc<MemoryBudget>>,
}

/// How many characters of its message a status keeps whose memory has no room.
const MAX_UNPAID_CHARS: usize = 256;

/// The budget has no room for a message.
#[derive(Debug)]
pub(crate) struct OutOfMemory;

/// The end of the reader. `reported` of the task is never ahead of `consumed`, and less than `report_step` behind it.
pub(crate) struct Incoming<T> {
    /// The code of the error for a message that cannot be decoded: whether it is a mistake of the caller or of the service.
    decode_error_code: Code,
    items: mpsc::UnboundedReceiver<Item>,
    /// The messages of the last payload that were not read yet. A batch is taken apart as it is read: its parts would hold more memory
    /// than it does.
    unread: Unread,
    /// The memory of `unread`.
    charge: Option<Charge>,
    decode: fn(Bytes) -> Result<T, CodecError>,
    /// What the reader has consumed.
    consumed: Credit,
    /// The part of `consumed` that was reported to the task.
    reported: Credit,
    /// The difference of messages or bytes that is reported.
    report_step: Credit,
    reports: Arc<Reported>,
    ended: bool,
}

/// What is left of a payload.
#[derive(Debug)]
enum Unread {
    Nothing,
    Message(Bytes),
    Batch(Bytes),
}

impl Unread {
    fn pop(&mut self) -> Option<Bytes> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => None,
            Self::Message(message) => Some(message),
            Self::Batch(mut batch) => {
                let message = next_of_batch(&mut batch);
                if !batch.is_empty() {
                    *self = Self::Batch(batch);
                }
                message
            }
        }
    }
}

/// Makes both ends of a queue. It holds at most `window` messages and bytes if the sender keeps to its credit.
pub(crate) fn delivery<T>(
    window: Credit,
    codec: MessageCodec<T>,
    decode_error_code: Code,
    memory: Option<Arc<MemoryBudget>>,
) -> (Delivery, Incoming<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reports = Arc::<Reported>::default();
    let incoming = Incoming {
        decode_error_code,
        items: receiver,
        unread: Unread::Nothing,
        charge: None,
        decode: codec.decode,
        consumed: Credit::default(),
        reported: Credit::default(),
        report_step: Credit {
            messages: (window.messages / 2).max(1),
            bytes: (window.bytes / 2).max(1),
        },
        reports: Arc::clone(&reports),
        ended: false,
    };
    let delivery = Delivery {
        items: sender,
        reported: reports,
        window,
        memory,
    };
    (delivery, incoming)
}

impl Delivery {
    /// The credit of the sender: a window more than the reader has reported.
    pub(crate) fn granted(&self) -> Credit {
        self.window.after(self.consumed())
    }

    /// What the reader has reported as consumed.
    pub(crate) fn consumed(&self) -> Credit {
        Credit {
            messages: self.reported.messages.load(Ordering::Acquire),
            bytes: self.reported.bytes.load(Ordering::Acquire),
        }
    }

    /// Waits for a report of the reader, after which the sender should get new credit.
    pub(crate) async fn consumption_reported(&self) {
        self.reported.changed.notified().await;
    }

    /// Waits until the reader is dropped.
    pub(crate) async fn reader_dropped(&self) {
        self.items.closed().await;
    }

    pub(crate) fn messages(&self, payload: &Bytes, count: u64) -> Result<(), OutOfMemory> {
        let item = match &self.memory {
            None => Item::Messages(payload.clone(), count, None),
            Some(memory) => {
                let held = payload.len() + size_of::<Item>();
                let charge = memory.charge(held).ok_or(OutOfMemory)?;
                Item::Messages(detached(payload), count, Some(charge))
            }
        };
        // Fails if the reader was dropped; the link hears of that from `reader_dropped`.
        let _ = self.items.send(item);
        Ok(())
    }

    /// Delivers the end. A status that has no room in the budget loses its details and most of its message.
    pub(crate) fn end(&self, status: Option<Status>) {
        let item = match status {
            None => Item::End,
            Some(mut status) => {
                let mut charge = None;
                if let Some(memory) = &self.memory {
                    charge = memory.charge(status.message().len() + status.details().len());
                    status = if charge.is_some() {
                        let details = detached(status.details());
                        status.with_details(details)
                    } else {
                        headers::shortened(&status, MAX_UNPAID_CHARS)
                    };
                }
                Item::Failed(status, charge)
            }
        };
        let _ = self.items.send(item);
    }
}

/// The error in place of a message that cannot be decoded.
pub(crate) fn undecodable(code: Code, number: u64, error: &CodecError) -> Status {
    let text = format!("failed to decode message {number} of the stream: {error}");
    Status::new(code, text)
}

impl<T> Incoming<T> {
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        loop {
            let next = self.unread.pop();
            if let Unread::Nothing = self.unread {
                self.charge = None;
            }
            if let Some(message) = next {
                self.count_consumed(message.len());
                let number = self.consumed.messages;
                let code = || self.decode_error_code.clone();
                let message = (self.decode)(message);
                return Poll::Ready(Some(
                    message.map_err(|error| undecodable(code(), number, &error)),
                ));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.items.poll_recv(cx)) {
                Some(Item::Messages(payload, count, charge)) => {
                    self.charge = charge;
                    self.unread = if count == 1 {
                        Unread::Message(payload)
                    } else {
                        Unread::Batch(payload)
                    };
                }
                Some(Item::End) => self.ended = true,
                Some(Item::Failed(status, _charge)) => {
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

    fn count_consumed(&mut self, bytes: usize) {
        self.consumed.messages += 1;
        self.consumed.bytes += bytes as u64;
        if self.consumed.messages - self.reported.messages >= self.report_step.messages
            || self.consumed.bytes - self.reported.bytes >= self.report_step.bytes
        {
            self.reported = self.consumed;
            let Credit { messages, bytes } = self.consumed;
            self.reports.messages.store(messages, Ordering::Release);
            self.reports.bytes.store(bytes, Ordering::Release);
            self.reports.changed.notify_one();
        }
    }
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("consumed", &self.consumed)
            .finish_non_exhaustive()
    }
}

/// Takes the first message off a batch, in which each is preceded by its length as a protobuf varint. A malformed length ends the batch.
pub(crate) fn next_of_batch(batch: &mut Bytes) -> Option<Bytes> {
    let Some(message) = first_message(batch) else {
        batch.clear();
        return None;
    };
    batch.advance(message.start);
    Some(batch.split_to(message.len()))
}

/// The range of the first message of a batch, without its length; `None` if the length is malformed or exceeds the payload.
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::codec::BYTES_CODEC;
    use crate::stream::flow;

    const LIMIT: usize = 10_000;

    fn ends() -> (Delivery, Incoming<Bytes>, Arc<MemoryBudget>) {
        let memory = MemoryBudget::new(LIMIT);
        let window = flow::window(1_000, 1 << 20);
        let budget = Some(Arc::clone(&memory));
        let (delivery, incoming) = delivery(window, BYTES_CODEC, Code::Internal, budget);
        (delivery, incoming, memory)
    }

    fn next(incoming: &mut Incoming<Bytes>) -> Poll<Option<Result<Bytes, Status>>> {
        incoming.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_was_read_is_paid_back() {
        let (delivery, mut incoming, memory) = ends();
        for payload in [
            Bytes::from(vec![1; 8_000]),
            Bytes::from_static(b"\x01a\x01b"),
        ] {
            let count = if payload.len() > 4 { 1 } else { 2 };
            delivery.messages(&payload, count).unwrap();
            assert!(memory.charge(LIMIT).is_none());
            for _ in 0..count {
                assert!(matches!(next(&mut incoming), Poll::Ready(Some(Ok(_)))));
            }
            // The reader is idle, and the stream is open.
            assert!(memory.charge(LIMIT).is_some());
        }
        assert!(next(&mut incoming).is_pending());
    }

    #[test]
    fn messages_without_room_are_not_delivered() {
        let (delivery, mut incoming, _memory) = ends();
        let payload = Bytes::from(vec![1; 6_000]);
        assert!(delivery.messages(&payload, 1).is_ok());
        assert!(delivery.messages(&payload, 1).is_err());
        assert!(matches!(next(&mut incoming), Poll::Ready(Some(Ok(_)))));
        assert!(delivery.messages(&payload, 1).is_ok());
    }

    #[test]
    fn an_error_without_room_loses_its_details() {
        let (delivery, mut incoming, memory) = ends();
        let _held = memory.charge(LIMIT).unwrap();
        let status = Status::new(Code::Aborted, "long ".repeat(1_000)).with_details(vec![1; 1_000]);
        delivery.end(Some(status));
        let Poll::Ready(Some(Err(status))) = next(&mut incoming) else {
            panic!("no error");
        };
        assert_eq!(status.code(), &Code::Aborted);
        assert_eq!(status.message().len(), MAX_UNPAID_CHARS);
        assert!(status.details().is_empty());
    }
}
