//! Where chunks and metadata are published.

use std::sync::Arc;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use tokio::time::Instant;

use crate::descriptor::bucket::StoreKind;
use crate::store::bucket::api::Api;
use crate::store::bucket::facts::{BucketFacts, MAX_AGE};
use crate::store::bucket::jetstream::JetStream;
use crate::store::error::{StoreError, is_no_stream};
use crate::sync::Mutex;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;

/// The subjects to publish the messages of one bucket to.
///
/// nats-server maps `$JS.<domain>.API.$KV.>` to the entries of the Key-Value buckets of a domain. For objects it maps `$OBJ.>`, to which
/// nobody publishes, and not `$O.>`. What is published to `$O.>` itself also reaches the domain, unless there is a bucket of the same name
/// on this side: then it would be stored in that one as well, so it goes below the prefix, which an operator may map.
#[derive(Debug)]
pub(crate) struct PublishSubjects {
    bucket: String,
    api: Api,
    multiplexer: Arc<Multiplexer>,
    /// Whether there is another bucket of this name on this side, and when that was asked. Only of a domain.
    has_twin: Mutex<Option<(Instant, bool)>>,
}

impl PublishSubjects {
    pub(crate) fn new(jetstream: &JetStream, bucket: &str) -> Result<Self, StoreError> {
        Ok(Self {
            bucket: bucket.to_owned(),
            api: jetstream.api()?.clone(),
            multiplexer: Arc::clone(&jetstream.multiplexer),
            has_twin: Mutex::default(),
        })
    }

    /// The subject to publish to for a message that the bucket stores under `subject`.
    pub(crate) async fn of(
        &self,
        subject: &str,
        facts: &BucketFacts,
    ) -> Result<String, StoreError> {
        if self.api.is_of_domain() && !Box::pin(self.has_twin(facts)).await? {
            return Ok(subject.to_owned());
        }
        Ok(self.api.publish(subject))
    }

    async fn has_twin(&self, facts: &BucketFacts) -> Result<bool, StoreError> {
        let known = *self.has_twin.lock();
        if let Some((asked_at, has_twin)) = known
            && asked_at.elapsed() < MAX_AGE
        {
            return Ok(has_twin);
        }
        let asked_at = Instant::now();
        let has_twin = match self.on_this_side().await? {
            None => false,
            Some(near) => {
                let (far, _) = facts.look(&()).await?;
                !is_same(&near, &far.info)
            }
        };
        *self.has_twin.lock() = Some((asked_at, has_twin));
        Ok(has_twin)
    }

    /// The bucket of this name that is reached without the domain.
    async fn on_this_side(&self) -> Result<Option<Info>, StoreError> {
        let failed =
            "cannot find out whether there is a bucket of the same name outside of the domain";
        let stream = StoreKind::Object.stream_name(&self.bucket);
        let request = Outgoing::to(Api::near().request(&format!("STREAM.INFO.{stream}")));
        let reply = match self.multiplexer.request(request).await {
            Ok(reply) => reply,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => return Ok(None),
            Err(error) => return Err(StoreError::unanswered(failed, error)),
        };
        match serde_json::from_slice(&reply.payload) {
            Ok(Response::Ok(info)) => Ok(Some(info)),
            Ok(Response::Err { error }) if is_no_stream(&error) => Ok(None),
            Ok(Response::Err { error }) => Err(StoreError::nats(failed, error)),
            Err(error) => Err(StoreError::nats(failed, error)),
        }
    }
}

/// Whether two looks found the same stream. A backup that is restored elsewhere keeps the time of its creation.
fn is_same(one: &Info, other: &Info) -> bool {
    let place = |info: &Info| {
        let cluster = info.cluster.as_ref()?;
        // A server that is in no cluster has only its own name.
        cluster.name.clone().or_else(|| cluster.leader.clone())
    };
    one.created == other.created && place(one) == place(other)
}
