//! Streams between two accounts, whose subjects the NATS server maps.
//!
//! A message that passes a service import arrives with a reply subject that leads back to the other account, and so does each answer to
//! it. Each end sends to the reply subject of the first message of the other, instead of an inbox. How many messages such a subject
//! carries depends on the service export, and the NATS server tells neither end: they find out here.

use async_nats::{HeaderMap, HeaderValue};

use crate::status::Status;
use crate::stream::link::{Event, Link, Role};
use crate::stream::wire::{Control, RETURNED, Received};
use crate::transport::backlog::Lane;
use crate::transport::outgoing::Outgoing;
use crate::transport::subject::PeerSubject;

/// Whether the peer is in another account, and the NATS server maps the subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// The peer is in the same account.
    None,
    /// The NATS server may carry one message only: that depends on the service export.
    Unproven,
    /// The NATS server carries all messages, or the peer does not speak the extension and this end cannot know.
    Lasting,
}

impl Link {
    /// Sets where messages to the peer go, once it is known whether the peer speaks the extension.
    pub(crate) fn set_peer(&mut self, peer: PeerSubject) {
        self.mapping = match (peer.is_mapped(), self.extension) {
            (false, _) => Mapping::None,
            (true, true) => Mapping::Unproven,
            (true, false) => Mapping::Lasting,
        };
        self.peer = Some(peer);
    }

    /// Finds out whether the NATS server carries more than one message from the account of the service. The service sends its
    /// confirmation twice. The answer to the first control message of the caller comes another way, after both.
    pub(crate) async fn check_mapping(&mut self, received: &Received) -> Result<(), Status> {
        if self.mapping != Mapping::Unproven {
            return Ok(());
        }
        match (&self.role, received) {
            (Role::Service { .. }, Received::Control(control)) => {
                self.return_control(control).await;
            }
            (Role::Service { .. }, _) => {}
            (Role::Caller, Received::Control(control)) if control.returned => {
                // Where the service can still be sent a cancellation.
                let reply = control.message.reply.as_ref();
                let reply = reply.and_then(|reply| self.gate.reply_subject(reply).ok());
                self.peer = reply.or(self.peer.take());
                return Err(Status::failed_precondition(
                    "NATS carries one message only from the account of the service, and a stream is many: the export of the service \
                     needs `response_type: stream`",
                ));
            }
            (Role::Caller, _) => self.mapping = Mapping::Lasting,
        }
        Ok(())
    }

    /// Answers the first control message of a caller in another account, on its reply subject, so that the caller knows what it must
    /// have received before.
    async fn return_control(&mut self, control: &Control) {
        let reply = control.message.reply.as_ref();
        let Some(Ok(reply)) = reply.map(|reply| self.gate.reply_subject(reply)) else {
            return;
        };
        self.mapping = Mapping::Lasting;
        let mut headers = HeaderMap::new();
        headers.insert(RETURNED.clone(), HeaderValue::from("true"));
        let message = Outgoing::to_peer(&reply)
            .with_reply(self.inbox.clone())
            .with_headers(headers);
        // A caller that misses it waits for the stream as without.
        let _ = self.gate.publish(Lane::Reply, message).await;
    }

    /// Waits until the first control message of a caller in another account is answered. A short stream may be over before, and the caller
    /// must not wait for a stream that the NATS server has not carried.
    pub(crate) async fn finish_mapping(&mut self) {
        while self.mapping == Mapping::Unproven {
            let signal = self.wait().await;
            if let Some(Event::PeerLost(_)) = self.handle(signal).await {
                return;
            }
        }
    }
}
