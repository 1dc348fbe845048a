//! What one end tells the other about the stream, besides its messages.

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::FutureExt;

use crate::stream::flow::Credit;
use crate::stream::link::{HEARTBEAT, Link, Role};
use crate::stream::wire::{COUNT, CREDIT, INBOX, OUR_VERSION, Said, VERSION};

impl Link {
    /// Grants what the reader has made room for. The same message is the heartbeat, and repeats all that was said so far, since a
    /// message may have been lost with a connection. The reply subject is for the NATS server, to say if nobody receives it.
    ///
    /// It is sent while the link goes on: with thousands of streams, the connection takes its time.
    pub(crate) fn tell_state(&mut self) {
        if self.telling.is_some() {
            self.tell_again = true;
            return;
        }
        let mut headers = HeaderMap::new();
        self.write_credit(&mut headers);
        headers.insert(COUNT.clone(), HeaderValue::from(self.outbound.count()));
        self.said.write(&mut headers);
        if let Role::Service {
            confirmation: Some(confirmation),
        } = &self.role
        {
            crate::transport::headers::add(&mut headers, confirmation);
        }
        let mut telling = self.tell(headers).boxed();
        if (&mut telling).now_or_never().is_none() {
            self.telling = Some(telling);
        }
    }

    fn write_credit(&self, headers: &mut HeaderMap) {
        let granted = match &self.delivery {
            Some(delivery) if !self.inbound.is_closed() => delivery.granted(),
            _ => Credit::default(),
        };
        headers.insert(CREDIT.clone(), HeaderValue::from(granted.to_string()));
    }

    /// The headers that offer the extension.
    pub(crate) fn offer(&self, headers: &mut HeaderMap) {
        headers.insert(VERSION.clone(), HeaderValue::from(OUR_VERSION));
        self.write_credit(headers);
    }

    /// The headers that tell a caller where this end receives, and confirm the extension to one that has offered it.
    pub(crate) fn confirm(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(INBOX.clone(), HeaderValue::from(self.own.as_str()));
        if self.extension {
            headers.insert(VERSION.clone(), HeaderValue::from(OUR_VERSION));
            self.role = Role::Service {
                confirmation: Some(headers.clone()),
            };
            self.write_credit(&mut headers);
        }
        headers
    }

    /// Tells the other end that what it sends is no longer read.
    pub(crate) async fn cancel(&mut self) {
        self.said.cancelled = true;
        let mut headers = HeaderMap::new();
        Said {
            cancelled: true,
            ..Said::default()
        }
        .write(&mut headers);
        // If the connection takes nothing for so long, the other end finds out by itself.
        let _ = tokio::time::timeout(HEARTBEAT, self.tell(headers)).await;
    }

    /// Sends a message about the stream to a peer that understands it.
    fn tell(&self, headers: HeaderMap) -> impl Future<Output = ()> + Send + use<> {
        let peer = self.peer.clone().filter(|_| self.extension);
        let (nats, own) = (self.nats.clone(), self.own.clone());
        async move {
            let Some(peer) = peer else {
                return;
            };
            let inbox = own.clone();
            let told = nats.publish_with_reply_and_headers(peer, own, headers, Bytes::new());
            if let Err(error) = told.await {
                tracing::debug!(%inbox, %error, "cannot send to the other side of a stream");
            }
        }
    }
}
