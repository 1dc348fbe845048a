//! What is known of a bucket, in one place for all who use it.
//!
//! Operators change, purge and make buckets again while they are in use. So nobody keeps a copy of these facts: they are asked for when
//! they are needed, and looked up again when an answer of the server contradicts them, or when they are too old to decide something that
//! the server would not contradict.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, Info};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::descriptor::bucket::StoreKind;
use crate::store::bucket::api::Api;
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::shape::{check_is_bucket, mirrored_bucket, mirrored_prefix};
use crate::store::error::{StoreError, StoreErrorKind, cannot_open};
use crate::sync::RwLock;
use crate::transport::gate::Gate;
use crate::transport::refused::unless_refused;

/// How old facts may be where the server does not contradict what follows from them.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5);
/// The least time between two looks of a writer at a bucket.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// How long a read waits for facts that are too old. Without a leader nobody tells them, while replicas answer the read.
const MAX_READ_DELAY: Duration = Duration::from_millis(250);
/// An offset that no list reaches: of the subjects that match, the server then tells the number alone.
const BEYOND_ALL: usize = 1 << 40;

/// What is known of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When its stream was created. Another one under its name is another bucket, whose revisions begin again.
    pub(crate) created: SystemTime,
    /// How long entries live; `None` for ever.
    pub(crate) ttl: Option<Duration>,
    /// How many revisions of a key are kept.
    pub(crate) history: i64,
    /// Whether single entries may have a TTL. A server older than 2.11 silently ignores TTLs, and lacks this setting.
    pub(crate) allows_entry_ttl: bool,
    pub(crate) allows_direct_reads: bool,
    pub(crate) writes: Writes,
    pub(crate) is_mirror: bool,
    /// The start of the subjects of its messages, the last dot included.
    pub(crate) prefix: String,
    /// The start of the subjects to publish entries to, if that is another one: behind the prefix of an API, and for a mirror, which is
    /// written to its origin.
    pub(crate) write_prefix: Option<String>,
    /// The stream that stores what is written: for a mirror, its origin.
    pub(crate) stored_by: Arc<str>,
}

/// What a bucket takes from writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Batches,
    SingleMessages,
    /// An Object Store that is a mirror.
    Nothing,
}

/// The facts of one bucket, shared by all who use it through one connection.
#[derive(Debug)]
pub(crate) struct BucketFacts {
    bucket: ReachedBucket,
    known: RwLock<Known>,
    /// Held during a look-up, so that many who need one share it.
    looking_up: tokio::sync::Mutex<()>,
    /// Told when a write has found them too old.
    are_old: Notify,
}

/// A bucket, and the way to it.
#[derive(Debug)]
struct ReachedBucket {
    context: Context,
    api: Api,
    gate: Gate,
    kind: StoreKind,
    name: String,
}

#[derive(Clone, Debug)]
struct Known {
    facts: Arc<Facts>,
    /// When the server was asked for them.
    asked_at: Instant,
    /// Why the stream is no bucket any more, if that was found since.
    fault: Option<String>,
}

/// The answer of the server to a look at a stream.
#[derive(Deserialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) info: Info,
    /// The time of the server.
    pub(crate) ts: String,
    /// How many subjects have messages, of those that were asked for.
    #[serde(default)]
    pub(crate) total: u64,
}

#[derive(Serialize)]
struct CountSubjects<'a> {
    subjects_filter: &'a str,
    offset: usize,
}

impl Facts {
    /// Fails if the stream is no bucket.
    fn of(bucket: &ReachedBucket, info: &Info) -> Result<Self, StoreError> {
        let config = &info.config;
        check_is_bucket(bucket.kind, &bucket.name, config)?;
        let (prefix, write_prefix) = bucket.prefixes(config);
        Ok(Self {
            created: info.created.into(),
            ttl: (!config.max_age.is_zero()).then_some(config.max_age),
            history: config.max_messages_per_subject,
            allows_entry_ttl: config.allow_message_ttl,
            allows_direct_reads: config.allow_direct,
            writes: Writes::of(bucket, config),
            is_mirror: config.mirror.is_some(),
            prefix,
            write_prefix,
            stored_by: match &config.mirror {
                Some(mirror) => mirror.name.as_str().into(),
                None => config.name.as_str().into(),
            },
        })
    }

    /// The start of the subjects to which the bucket is written.
    pub(crate) fn written_prefix(&self) -> &str {
        self.write_prefix.as_ref().unwrap_or(&self.prefix)
    }
}

impl Writes {
    fn of(bucket: &ReachedBucket, config: &Config) -> Self {
        match &config.mirror {
            Some(_) if bucket.kind == StoreKind::Object => Self::Nothing,
            None if config.allow_batch_publish && bucket.api.keeps_reply_subjects() => {
                Self::Batches
            }
            _ => Self::SingleMessages,
        }
    }
}

impl ReachedBucket {
    /// The start of the subjects of its messages, and of those to publish them to, if that is another one.
    fn prefixes(&self, config: &Config) -> (String, Option<String>) {
        let own = match self.kind {
            StoreKind::Kv => format!("$KV.{}.", self.name),
            StoreKind::Object => format!("$O.{}.", self.name),
        };
        let mirror = config
            .mirror
            .as_ref()
            .filter(|_| self.kind == StoreKind::Kv);
        let origin = mirror.and_then(|it| Some((it, mirrored_bucket(it)?)));
        let (prefix, written) = match origin {
            None => {
                let written = self.api.publish(&own);
                (own, written)
            }
            Some((mirror, origin)) => {
                let prefix = mirrored_prefix(&self.name, mirror).unwrap_or(own);
                let api = mirror.external.as_ref().map(|it| it.api_prefix.as_str());
                let written = match api.filter(|api| !api.is_empty()) {
                    Some(api) => format!("{api}.$KV.{origin}."),
                    None => self.api.publish(&format!("$KV.{origin}.")),
                };
                (prefix, written)
            }
        };
        let write_prefix = (written != prefix).then_some(written);
        (prefix, write_prefix)
    }

    /// Looks at the stream.
    async fn look(
        &self,
        request: &(impl Serialize + ?Sized),
    ) -> Result<(Report, Known), StoreError> {
        let asked_at = Instant::now();
        let subject = format!("STREAM.INFO.{}", self.kind.stream_name(&self.name));
        let answer = self
            .context
            .request::<_, _, Response<Report>>(subject.clone(), request);
        let answer = unless_refused(&self.gate, &subject, answer).await?;
        let report = match answer.map_err(|error| cannot_open(&self.name, error))? {
            Response::Ok(report) => report,
            Response::Err { error } => return Err(cannot_open(&self.name, error)),
        };
        let facts = Arc::new(Facts::of(self, &report.info)?);
        let known = Known {
            facts,
            asked_at,
            fault: None,
        };
        Ok((report, known))
    }
}

impl BucketFacts {
    /// Asks for the facts of a bucket. Fails if the stream is no bucket.
    pub(crate) async fn open(
        jetstream: &JetStream,
        kind: StoreKind,
        bucket: &str,
    ) -> Result<Self, StoreError> {
        let bucket = ReachedBucket {
            context: jetstream.context.clone(),
            api: jetstream.api()?.clone(),
            gate: jetstream.gate.clone(),
            kind,
            name: bucket.to_owned(),
        };
        let (_, known) = bucket.look(&()).await?;
        Ok(Self {
            bucket,
            known: RwLock::new(known),
            looking_up: tokio::sync::Mutex::default(),
            are_old: Notify::new(),
        })
    }

    /// Which permissions may be missing if the bucket does not answer.
    pub(crate) fn missing_permissions(&self) -> Option<String> {
        let ReachedBucket {
            api,
            gate,
            kind,
            name,
            ..
        } = &self.bucket;
        api.missing_permissions(gate, *kind, name)
    }

    /// What was found last, at any time.
    pub(crate) fn known(&self) -> Arc<Facts> {
        Arc::clone(&self.known.read().facts)
    }

    /// What is known, looked up again if it is too old to decide something that the server would not contradict.
    pub(crate) async fn recent(&self) -> Result<Arc<Facts>, StoreError> {
        let moment = Instant::now().checked_sub(MAX_AGE);
        match moment {
            Some(moment) => self.since(moment).await,
            None => Ok(self.known()),
        }
    }

    /// What is known for a write; fails if the stream is known to be no bucket any more. Whatever becomes of a mirror, its origin takes
    /// what is written there, and so does not contradict; the acknowledgement of anything else names another stream.
    pub(crate) async fn for_write(&self) -> Result<Arc<Facts>, StoreError> {
        let known = self.of_bucket()?;
        if known.is_mirror {
            // Boxed: the future of each write holds this one.
            Box::pin(self.recent()).await
        } else {
            Ok(known)
        }
    }

    /// What was found last, at any time. Fails if the stream was no bucket then.
    pub(crate) fn of_bucket(&self) -> Result<Arc<Facts>, StoreError> {
        let known = self.known.read();
        if known.asked_at.elapsed() > MAX_AGE {
            self.are_old.notify_one();
        }
        match &known.fault {
            None => Ok(Arc::clone(&known.facts)),
            Some(fault) => Err(StoreError::new(StoreErrorKind::NotABucket, fault.clone())),
        }
    }

    /// What is known for a read. A mirror that has become a bucket of its own keeps its messages, which the server goes on giving.
    pub(crate) async fn for_read(&self) -> Arc<Facts> {
        let known = self.known();
        if known.is_mirror {
            // Boxed, as above.
            Box::pin(self.refreshed()).await
        } else {
            known
        }
    }

    /// What is known after a look that the operation does not depend on: recent, unless the server does not answer soon. When a read has
    /// found nothing, no answer tells that the entries are below another prefix by now; when a write is taken, none that it is no bucket
    /// any more.
    pub(crate) async fn refreshed(&self) -> Arc<Facts> {
        match tokio::time::timeout(MAX_READ_DELAY, self.recent()).await {
            Ok(Ok(recent)) => recent,
            Ok(Err(_)) | Err(_) => self.known(),
        }
    }

    /// Looks at the bucket whenever a write has found the facts too old, for writers that do not wait for that: a stream that is no bucket
    /// any more may go on taking writes.
    pub(crate) async fn keep_recent(&self) {
        loop {
            self.are_old.notified().await;
            // If there is no answer, the writes themselves tell more.
            drop(self.now().await);
            tokio::time::sleep(MIN_PAUSE).await;
        }
    }

    /// Whether any replica answers reads.
    pub(crate) async fn allows_direct_reads(&self) -> Result<bool, StoreError> {
        if self.known().allows_direct_reads {
            // If not, nobody answers the read.
            return Ok(true);
        }
        // No answer shows that they are allowed again.
        Ok(self.recent().await?.allows_direct_reads)
    }

    /// What the server says now.
    pub(crate) async fn now(&self) -> Result<Arc<Facts>, StoreError> {
        self.since(Instant::now()).await
    }

    /// What the server has said when it was asked at `moment` or later.
    async fn since(&self, moment: Instant) -> Result<Arc<Facts>, StoreError> {
        let is_asked_since = || {
            let known = self.known.read();
            let is_known = known.fault.is_none() && known.asked_at >= moment;
            is_known.then(|| Arc::clone(&known.facts))
        };
        if let Some(facts) = is_asked_since() {
            return Ok(facts);
        }
        let _only_one = self.looking_up.lock().await;
        match is_asked_since() {
            Some(facts) => Ok(facts),
            None => self.look(&()).await.map(|(_, facts)| facts),
        }
    }

    /// Looks at the stream, and counts the subjects with messages that match.
    pub(crate) async fn count(&self, subjects: &str) -> Result<(Report, Arc<Facts>), StoreError> {
        let request = CountSubjects {
            subjects_filter: subjects,
            offset: BEYOND_ALL,
        };
        self.look(&request).await
    }

    /// Looks at the stream.
    pub(crate) async fn look(
        &self,
        request: &(impl Serialize + ?Sized),
    ) -> Result<(Report, Arc<Facts>), StoreError> {
        let looked = self.bucket.look(request).await;
        if let Err(error) = &looked
            && *error.kind() == StoreErrorKind::NotABucket
        {
            self.known.write().fault = Some(error.to_string());
        }
        let (report, found) = looked?;
        let facts = Arc::clone(&found.facts);
        let mut known = self.known.write();
        if known.asked_at <= found.asked_at {
            *known = found;
        }
        Ok((report, facts))
    }
}
