//! The backlog of a connection: messages that it did not take at once, and the order in which they are sent.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::transport::outgoing::{Outgoing, PublishError};

/// How many answers of discovery wait.
const MAX_WAITING_DISCOVERY: usize = 1_024;
/// How many refusals of requests wait.
const MAX_WAITING_REFUSALS: usize = 16_384;

/// What a message is, where messages have to wait for the connection. It decides which is sent next, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Answers of discovery: they show an overload while it lasts. Peers ask for them, so there is a bound.
    Discovery,
    /// Replies, errors, requests, and what keeps streams alive. The call or the stream waits for it, and is bounded in number.
    Reply,
    /// Messages of streams, whose senders wait.
    Stream,
    /// Answers to requests that were not accepted. Nothing else bounds their number, so there is a bound.
    Refusal,
}

impl Lane {
    /// How many messages may wait; one that comes on top is not sent.
    pub(super) fn max_waiting(self) -> usize {
        match self {
            Self::Discovery => MAX_WAITING_DISCOVERY,
            Self::Refusal => MAX_WAITING_REFUSALS,
            Self::Reply | Self::Stream => usize::MAX,
        }
    }
}

/// The turns of the lanes, in a circle, where more than one has messages. Half are those of discovery, since it is how operators see an
/// overload.
const TURNS: [Lane; 12] = [
    Lane::Discovery,
    Lane::Reply,
    Lane::Discovery,
    Lane::Stream,
    Lane::Discovery,
    Lane::Reply,
    Lane::Discovery,
    Lane::Refusal,
    Lane::Discovery,
    Lane::Reply,
    Lane::Discovery,
    Lane::Reply,
];

/// The messages that wait, in the order of their arrival in each lane.
#[derive(Default)]
pub(super) struct Backlog {
    lanes: [BTreeMap<u64, Queued>; 4],
    /// The number of the last message.
    last: u64,
    /// Whose turn is next.
    turn: usize,
}

/// A message that waits.
pub(super) struct Queued {
    pub(super) message: Outgoing,
    /// Gets the result; closed if nobody waits for it any more.
    pub(super) done: oneshot::Sender<Result<(), PublishError>>,
}

impl Backlog {
    /// Adds a message; gives its number.
    pub(super) fn push(&mut self, lane: Lane, queued: Queued) -> u64 {
        self.last += 1;
        let number = self.last;
        self.lanes[lane as usize].insert(number, queued);
        number
    }

    /// Takes out the message that is sent next.
    pub(super) fn pop(&mut self) -> Option<Queued> {
        (0..TURNS.len()).find_map(|_| {
            let lane = TURNS[self.turn];
            self.turn = (self.turn + 1) % TURNS.len();
            let (_, queued) = self.lanes[lane as usize].pop_first()?;
            Some(queued)
        })
    }

    /// Takes out a message that is no longer to be sent.
    pub(super) fn withdraw(&mut self, lane: Lane, number: u64) {
        self.lanes[lane as usize].remove(&number);
    }

    /// Takes out all messages. Numbers go on, so that none is given twice.
    pub(super) fn clear(&mut self) -> [BTreeMap<u64, Queued>; 4] {
        std::mem::take(&mut self.lanes)
    }

    pub(super) fn len(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(backlog: &mut Backlog, lane: Lane, subject: &str) -> u64 {
        let (done, _) = oneshot::channel();
        let message = Outgoing::to(subject.to_owned());
        backlog.push(lane, Queued { message, done })
    }

    fn drain(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop())
            .map(|queued| queued.message.subject().to_string())
            .collect()
    }

    #[test]
    fn each_lane_is_sent_in_its_order() {
        let mut backlog = Backlog::default();
        for (lane, subject) in [
            (Lane::Stream, "s1"),
            (Lane::Reply, "r1"),
            (Lane::Reply, "r2"),
            (Lane::Discovery, "d1"),
            (Lane::Discovery, "d2"),
        ] {
            push(&mut backlog, lane, subject);
        }
        assert_eq!(drain(&mut backlog), ["d1", "r1", "d2", "s1", "r2"]);
    }

    #[test]
    fn no_lane_starves_another() {
        let mut backlog = Backlog::default();
        for _ in 0..16 {
            for (lane, subject) in [
                (Lane::Discovery, "d"),
                (Lane::Reply, "r"),
                (Lane::Stream, "s"),
                (Lane::Refusal, "f"),
            ] {
                push(&mut backlog, lane, subject);
            }
        }
        let order = drain(&mut backlog).concat();
        assert_eq!(order[..16], *"drdsdrdfdrdrdrds");
        assert_eq!(order.len(), 64);
    }

    #[test]
    fn a_withdrawn_message_is_not_sent() {
        let mut backlog = Backlog::default();
        let first = push(&mut backlog, Lane::Reply, "r1");
        push(&mut backlog, Lane::Reply, "r2");
        backlog.withdraw(Lane::Reply, first);
        assert_eq!(backlog.len(Lane::Reply), 1);
        assert_eq!(drain(&mut backlog), ["r2"]);
    }
}
