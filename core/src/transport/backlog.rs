//! The backlog of a connection: messages that it did not take at once, and the order in which they are sent.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::transport::gate::{Lane, Outgoing, PublishError};

/// How many messages of [`Lane::Reply`] are sent before one of [`Lane::Stream`] is, while both wait.
const REPLIES_PER_STREAM_MESSAGE: u32 = 8;

/// The messages that wait, in the order of their arrival in each lane.
#[derive(Default)]
pub(super) struct Backlog {
    discovery: BTreeMap<u64, Queued>,
    replies: BTreeMap<u64, Queued>,
    streams: BTreeMap<u64, Queued>,
    /// The number of the last message.
    last: u64,
    /// How many replies were sent in a row while stream messages waited.
    replies_in_a_row: u32,
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
        self.lane(lane).insert(number, queued);
        number
    }

    /// Takes out the message that is sent next: discovery first, since it is how operators see an overload.
    pub(super) fn pop(&mut self) -> Option<Queued> {
        if let Some((_, queued)) = self.discovery.pop_first() {
            return Some(queued);
        }
        let is_turn_of_streams = self.replies_in_a_row >= REPLIES_PER_STREAM_MESSAGE;
        if (is_turn_of_streams || self.replies.is_empty())
            && let Some((_, queued)) = self.streams.pop_first()
        {
            self.replies_in_a_row = 0;
            return Some(queued);
        }
        self.replies_in_a_row = self.replies_in_a_row.saturating_add(1);
        self.replies.pop_first().map(|(_, queued)| queued)
    }

    /// Takes out a message that is no longer to be sent.
    pub(super) fn withdraw(&mut self, lane: Lane, number: u64) {
        self.lane(lane).remove(&number);
    }

    pub(super) fn len(&self, lane: Lane) -> usize {
        match lane {
            Lane::Discovery => self.discovery.len(),
            Lane::Reply => self.replies.len(),
            Lane::Stream => self.streams.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.discovery.is_empty() && self.replies.is_empty() && self.streams.is_empty()
    }

    fn lane(&mut self, lane: Lane) -> &mut BTreeMap<u64, Queued> {
        match lane {
            Lane::Discovery => &mut self.discovery,
            Lane::Reply => &mut self.replies,
            Lane::Stream => &mut self.streams,
        }
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
    fn discovery_is_sent_first_and_each_lane_in_order() {
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
        assert_eq!(drain(&mut backlog), ["d1", "d2", "r1", "r2", "s1"]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn replies_do_not_starve_streams() {
        let mut backlog = Backlog::default();
        push(&mut backlog, Lane::Stream, "s1");
        push(&mut backlog, Lane::Stream, "s2");
        for _ in 0..20 {
            push(&mut backlog, Lane::Reply, "r");
        }
        let order = drain(&mut backlog);
        let of_streams = order.iter().enumerate();
        let of_streams: Vec<_> = of_streams.filter(|(_, subject)| *subject != "r").collect();
        assert_eq!(of_streams, [(8, &"s1".to_owned()), (17, &"s2".to_owned())]);
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
