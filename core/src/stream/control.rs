//! The control messages of the extension, as a [`Link`] sends them: offer, confirmation, state and cancellation.
//!
//! A state holds the credit of this end, its count of messages and all it has announced. It is sent when credit changes and with each
//! heartbeat, so a control message that was lost does no harm.

use async_nats::{HeaderMap, HeaderValue};

use crate::stream::flow::Credit;
use crate::stream::link::{HEARTBEAT_INTERVAL, Link, Role};
use crate::stream::mapping::Mapping;
use crate::stream::wire::{COUNT, CREDIT, EXTENSION_VERSION, INBOX, StreamState, VERSION};
use crate::transport::backlog::Lane;
use crate::transport::outgoing::Outgoing;
use crate::transport::publishing::Publishing;

impl Link {
    /// Sends the state of this end: its credit, and all it has announced so far, since an earlier message may be lost. The same
    /// message is the heartbeat.
    ///
    /// Does not wait for the connection, which takes long with thousands of streams: the link goes on while the state is in transit.
    /// States overtake the messages of streams, so that a busy connection does not look like a lost peer.
    pub(crate) fn send_state(&mut self) {
        if self.state_in_transit.is_some() {
            self.state_is_stale = true;
            return;
        }
        let mut headers = HeaderMap::new();
        self.write_credit(&mut headers);
        headers.insert(COUNT.clone(), HeaderValue::from(self.outbound.count()));
        self.state.write(&mut headers);
        if let Role::Service {
            confirmation: Some(confirmation),
            ..
        } = &self.role
        {
            crate::transport::headers::add(&mut headers, confirmation);
        }
        if let Some(publishing) = self.send_control(headers)
            && publishing.result().is_none()
        {
            self.state_in_transit = Some(publishing);
        }
    }

    fn write_credit(&self, headers: &mut HeaderMap) {
        let granted = match &self.delivery {
            Some(delivery) if !self.inbound.is_closed() => delivery.granted(),
            _ => Credit::default(),
        };
        headers.insert(CREDIT.clone(), HeaderValue::from(granted.to_string()));
    }

    /// Writes the headers that offer the extension.
    pub(crate) fn write_offer(&self, headers: &mut HeaderMap) {
        headers.insert(VERSION.clone(), HeaderValue::from(EXTENSION_VERSION));
        self.write_credit(headers);
    }

    /// Returns the headers with the inbox of this end, which also confirm the extension to a caller that has offered it. In that case
    /// the confirmation is repeated with each state.
    pub(crate) fn confirm(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(INBOX.clone(), HeaderValue::from(self.inbox.as_str()));
        if self.extension {
            headers.insert(VERSION.clone(), HeaderValue::from(EXTENSION_VERSION));
            if let Role::Service { confirmation, .. } = &mut self.role {
                *confirmation = Some(headers.clone());
            }
            self.write_credit(&mut headers);
        }
        headers
    }

    /// Announces to the peer that its messages are no longer read.
    pub(crate) async fn cancel(&mut self) {
        self.state.cancelled = true;
        let mut headers = HeaderMap::new();
        StreamState {
            cancelled: true,
            ..StreamState::default()
        }
        .write(&mut headers);
        // A peer that gets no cancellation gets no heartbeats either, and ends the stream by itself.
        if let Some(publishing) = self.send_control(headers) {
            let _ = tokio::time::timeout(HEARTBEAT_INTERVAL, publishing).await;
        }
    }

    /// Sends a control message to a peer that speaks the extension. Its reply subject lets the NATS server report a peer without a
    /// subscription. Between accounts it does not; there the reply subject is the way of the peer to this end, and each one takes memory
    /// of the NATS server.
    fn send_control(&self, headers: HeaderMap) -> Option<Publishing> {
        let peer = self.peer.as_ref().filter(|_| self.extension)?;
        let mut message = Outgoing::to_peer(peer).with_headers(headers);
        if self.mapping != Mapping::Lasting {
            message = message.with_reply(self.inbox.clone());
        }
        Some(self.gate.publish(Lane::Reply, message))
    }
}
