//! The part of a bucket's stream that a reader reads, and the server-side consumers for it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, DiscardPolicy, Info, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::log::warn_limited;
use crate::store::error::{StoreError, StoreErrorKind, is_no_stream, no_such_bucket};
use crate::store::reader::api_request;
use crate::store::reader::budget::Budget;
use crate::store::reader::delivery::BucketMessage;
use crate::store::reader::raw::newest_at_leader;
use crate::transport::events::Violation;
use crate::transport::gate::Gate;
use crate::transport::random::random_token;
use crate::transport::refused::unless_refused;
use crate::transport::subject;

/// How long the server keeps a consumer without requests.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(60);

/// By how many subjects the pages of a list overlap: one that vanishes while they are read moves those after it to the page before.
const PAGE_OVERLAP: usize = 1_000;

/// How long one attempt to create a consumer, or to ask for one, may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the newest message of each subject.
    Newest,
    /// With this stream sequence; 1 for all messages.
    At(u64),
    /// With the next message to be stored.
    Next,
}

/// A range of a stream, as a configuration for consumers.
#[derive(Clone)]
pub(crate) struct Range {
    pub(crate) context: Context,
    pub(crate) gate: Gate,
    pub(crate) budget: Arc<Budget>,
    pub(crate) bucket: String,
    pub(crate) stream: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) start: Start,
    /// Deliver messages without payloads.
    pub(crate) headers_only: bool,
    /// How many messages may be in flight or unread at once.
    pub(crate) window: usize,
    /// Read beyond the current end. Such a reader lives long enough for the bucket to be deleted and created again, so it checks that
    /// the stream is still the same.
    pub(crate) endless: bool,
}

/// Why a consumer could not be created.
pub(crate) enum ConsumerFailure {
    /// Another attempt fails too.
    Permanent(StoreError),
    /// Another attempt may succeed.
    Transient(StoreError),
}

impl Range {
    pub(crate) fn connection(&self) -> u64 {
        self.gate.connection_epoch()
    }

    /// Whether its initial part has every key.
    pub(crate) fn has_all_keys(&self) -> bool {
        matches!(self.start, Start::Newest | Start::At(0 | 1))
    }

    /// Whether a message with this subject is in the range.
    pub(crate) fn selects(&self, subject: &str) -> bool {
        let mut patterns = self.subjects.iter();
        patterns.any(|pattern| subject::matches(pattern, subject))
    }

    /// Up to where a consumer has read that has read up to `position`: what comes before the start counts as read.
    pub(crate) fn read_up_to(&self, position: u64) -> u64 {
        match self.start {
            Start::At(first) => position.max(first.saturating_sub(1)),
            Start::Newest | Start::Next => position,
        }
    }

    pub(crate) async fn stream(&self) -> Result<Stream<()>, StoreError> {
        self.context
            .get_stream_no_info(&self.stream)
            .await
            .map_err(|error| StoreError::nats("cannot read the bucket", error))
    }

    pub(crate) async fn info(&self) -> Result<Info, ConsumerFailure> {
        let stream = self.stream().await.map_err(ConsumerFailure::Transient)?;
        let request = format!("STREAM.INFO.{}", self.stream);
        let info = unless_refused(&self.gate, &request, stream.get_info()).await?;
        info.map_err(|error| self.failure(error))
    }

    /// Fails for good if the bucket is not the one that was created at `created`, or has not as many revisions as were read. Otherwise
    /// returns whether the server may remove its messages by itself.
    pub(crate) async fn check_same_stream(
        &self,
        created: SystemTime,
        position: u64,
    ) -> Result<bool, ConsumerFailure> {
        let info = self.info().await?;
        let bucket = &self.bucket;
        if SystemTime::from(info.created) != created {
            return Err(ConsumerFailure::Permanent(StoreError::new(
                StoreErrorKind::BucketNotFound,
                format!("bucket `{bucket}` was deleted, and another was made under its name"),
            )));
        }
        if info.state.last_sequence < position {
            return Err(ConsumerFailure::Permanent(self.lost_revisions()));
        }
        let config = info.config;
        let is_bounded = config.max_bytes > 0 || config.max_messages > 0;
        Ok(!config.max_age.is_zero()
            || config.allow_message_ttl
            || (is_bounded && config.discard == DiscardPolicy::Old))
    }

    /// The newest message of a subject, as the leader of the stream has it; `None` also if the leader does not say.
    pub(crate) async fn newest(&self, subject: &str) -> Option<BucketMessage> {
        newest_at_leader(&self.gate, &self.context, &self.stream, subject).await
    }

    /// The bucket is no longer what was read of it.
    pub(crate) fn lost_revisions(&self) -> StoreError {
        let bucket = &self.bucket;
        StoreError::new(
            StoreErrorKind::Nats,
            format!("bucket `{bucket}` has lost revisions that were read"),
        )
    }

    /// The subjects that match `filter` and have messages.
    pub(crate) async fn listed_subjects(&self, filter: &str) -> Result<Vec<String>, StoreError> {
        let failed = "cannot list the keys of the bucket";
        let address = format!("STREAM.INFO.{}", self.stream);
        let mut subjects = Vec::new();
        let mut offset = 0;
        loop {
            let request = ListRequest {
                subjects_filter: filter,
                offset,
            };
            let answer =
                api_request::request(&self.gate, &self.context, &address, &request, failed);
            let page: ListAnswer = match answer.await? {
                Ok(page) => page,
                Err(error) if is_no_stream(&error) => return Err(no_such_bucket(&self.bucket)),
                Err(error) => return Err(StoreError::nats(failed, error)),
            };
            let ListedSubjects(listed) = page.state.subjects.unwrap_or_default();
            let end = offset + listed.len();
            let is_last = end >= page.total || listed.len() <= PAGE_OVERLAP;
            subjects.extend(listed);
            if is_last {
                return Ok(subjects);
            }
            offset = end - PAGE_OVERLAP;
        }
    }

    pub(crate) async fn consume(
        &self,
        deliver_policy: DeliverPolicy,
    ) -> Result<Consumer<Config>, ConsumerFailure> {
        let (filter_subject, filter_subjects) = match &self.subjects[..] {
            [subject] => (subject.clone(), Vec::new()),
            subjects => (String::new(), subjects.to_vec()),
        };
        let name = random_token();
        let mut request = format!("CONSUMER.CREATE.{}.{name}", self.stream);
        if !filter_subject.is_empty() {
            request = [&request, ".", &filter_subject].concat();
        }
        let mut config = Config {
            name: Some(name),
            description: Some("natsmicro".to_owned()),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject,
            filter_subjects,
            headers_only: self.headers_only,
            inactive_threshold: INACTIVE_THRESHOLD,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let mut created = self.create(&request, config.clone()).await?;
        if created.as_ref().is_err_and(exceeds_inactive_threshold) {
            // The server takes the limit of the stream.
            config.inactive_threshold = Duration::ZERO;
            created = self.create(&request, config).await?;
        }
        created.map_err(|error| self.failure(error))
    }

    async fn create(
        &self,
        request: &str,
        config: Config,
    ) -> Result<Result<Consumer<Config>, ConsumerError>, Violation> {
        let created = self.context.create_consumer_on_stream(config, &self.stream);
        unless_refused(&self.gate, request, created).await
    }

    /// NATS answers nothing to requests that it refuses, so that without connection events a reader would wait for ever in silence.
    pub(crate) fn warn_silent(&self) {
        if !self.gate.has_events() {
            warn_limited!(
                bucket = self.bucket,
                "a reader gets no messages, and not even heartbeats: the permission to publish to `CONSUMER.MSG.NEXT.{}.*` below the \
                 prefix of the JetStream API may be missing, see `natsmicro::guide::permissions`",
                self.stream
            );
        }
    }

    fn failure(&self, error: impl StdError + Send + Sync + 'static) -> ConsumerFailure {
        if is_no_stream(&error) {
            ConsumerFailure::Permanent(no_such_bucket(&self.bucket))
        } else {
            ConsumerFailure::Transient(StoreError::nats("cannot read the bucket", error))
        }
    }
}

/// A request for the subjects of a stream, from the one at `offset` on.
#[derive(Serialize)]
struct ListRequest<'a> {
    subjects_filter: &'a str,
    offset: usize,
}

/// The parts of the answer that are read.
#[derive(Deserialize)]
struct ListAnswer {
    /// How many subjects match, in all pages together.
    #[serde(default)]
    total: usize,
    state: ListedState,
}

#[derive(Deserialize)]
struct ListedState {
    /// Missing if there are none.
    subjects: Option<ListedSubjects>,
}

/// The keys of a map from subjects to their numbers of messages.
#[derive(Default)]
struct ListedSubjects(Vec<String>);

impl<'de> Deserialize<'de> for ListedSubjects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = ListedSubjects;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of subjects")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut subjects = Vec::new();
                while let Some((subject, IgnoredAny)) = map.next_entry()? {
                    subjects.push(subject);
                }
                Ok(ListedSubjects(subjects))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

impl From<Violation> for ConsumerFailure {
    fn from(violation: Violation) -> Self {
        Self::Permanent(violation.into())
    }
}

impl ConsumerFailure {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Permanent(error) | Self::Transient(error) => error,
        }
    }
}

/// Whether the stream lets consumers live for less time without requests.
fn exceeds_inactive_threshold(error: &ConsumerError) -> bool {
    matches!(
        error.kind(),
        ConsumerErrorKind::JetStream(refused)
            if refused.error_code() == ErrorCode::CONSUMER_INACTIVE_THRESHOLD_EXCESS
    )
}

/// Whether several servers have the stream. A consumer is served by one of them, which need not be the leader, and may be behind it.
pub(crate) fn is_replicated(stream: &Info) -> bool {
    let cluster = stream.cluster.as_ref();
    stream.config.num_replicas > 1 || cluster.is_some_and(|cluster| !cluster.replicas.is_empty())
}

pub(crate) fn from_sequence(sequence: u64) -> DeliverPolicy {
    DeliverPolicy::ByStartSequence {
        // The server refuses zero.
        start_sequence: sequence.max(1),
    }
}
