//! Where the API of JetStream is, and with it what is published to the streams behind it.

use std::sync::Arc;

use async_nats::jetstream::Context;

use crate::descriptor::bucket::StoreKind;
use crate::store::error::missing_permissions;
use crate::transport::gate::Gate;
use crate::transport::subject::is_api_of_domain;

const DEFAULT_PREFIX: &str = "$JS.API";

/// The prefix of the JetStream API: `$JS.API`, that of a domain, or that under which an account imports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Api {
    prefix: Arc<str>,
}

impl Api {
    /// The one that a context uses; `None` if async-nats does not show it.
    ///
    /// async-nats has no accessor for the prefix. Only the derived `Debug` of the context shows it, as one of its own fields and so at
    /// the first indentation.
    pub(crate) fn of(context: &Context) -> Option<Self> {
        let shown = format!("{context:#?}");
        let mut lines = shown.lines();
        let prefix =
            lines.find_map(|line| line.strip_prefix("    prefix: \"")?.strip_suffix("\","))?;
        Some(Self {
            prefix: prefix.into(),
        })
    }

    /// The one on this side of any domain or import.
    pub(crate) fn near() -> Self {
        Self {
            prefix: DEFAULT_PREFIX.into(),
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self.prefix == *DEFAULT_PREFIX
    }

    /// Whether it is that of a domain, in which nats-server itself maps the subjects.
    pub(crate) fn is_of_domain(&self) -> bool {
        is_api_of_domain(&self.prefix)
    }

    /// Whether the server gets the reply subject of a message as it was sent. An import maps it.
    pub(crate) fn keeps_reply_subjects(&self) -> bool {
        self.is_default() || self.is_of_domain()
    }

    /// The subject of a request.
    pub(crate) fn request(&self, name: &str) -> String {
        [&self.prefix, ".", name].concat()
    }

    /// Which permissions may be missing if a bucket behind this API does not answer.
    pub(crate) fn missing_permissions(
        &self,
        gate: &Gate,
        kind: StoreKind,
        bucket: &str,
    ) -> Option<String> {
        missing_permissions(gate, &self.publish(&kind.subjects(bucket)), kind, bucket)
    }

    /// The subject to publish to for a message that a stream behind this API stores under `subject`.
    pub(crate) fn publish(&self, subject: &str) -> String {
        if self.is_default() {
            subject.to_owned()
        } else {
            self.request(subject)
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::{self, context::ContextBuilder};

    use super::*;

    /// A connection that needs no server.
    async fn client() -> async_nats::Client {
        async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .custom_inbox_prefix("_INBOX_prefix")
            .connect("127.0.0.1:1")
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn the_prefix_of_a_context_is_found() {
        let client = client().await;
        let plain = Api::of(&jetstream::new(client.clone())).unwrap();
        assert!(plain.is_default() && !plain.is_of_domain());
        assert_eq!(plain.publish("$KV.b.k"), "$KV.b.k");
        assert_eq!(plain.request("INFO"), "$JS.API.INFO");

        let domain = Api::of(&jetstream::with_domain(client.clone(), "hub")).unwrap();
        assert!(!domain.is_default() && domain.is_of_domain());
        assert_eq!(domain.publish("$KV.b.k"), "$JS.hub.API.$KV.b.k");

        for prefix in ["JS.orders", "$JS.API.x", "$JS.a.b.API"] {
            let context = ContextBuilder::new()
                .api_prefix(prefix)
                .build(client.clone());
            let api = Api::of(&context).unwrap();
            assert!(!api.is_default() && !api.is_of_domain(), "{prefix}");
            assert_eq!(api.request("INFO"), format!("{prefix}.INFO"));
        }
    }
}
