//! What each feature must be permitted on NATS, as data: for the page of the guide, and for configurations of nats-server.
//!
//! Subjects are templates with placeholders in angle brackets, which [`Names`] replaces.

use std::collections::BTreeSet;
use std::fmt;

/// What a right allows to do with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To publish to it.
    Publish,
    /// To subscribe to it.
    Subscribe,
    /// To publish to the reply subject of a request that was received: `allow_responses`, which has no subject.
    Respond,
}

/// One line of the permissions of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// What is allowed.
    pub verb: Verb,
    /// The subject, or a pattern of subjects, with placeholders.
    pub subject: &'static str,
    /// What it is used for.
    pub why: &'static str,
    /// What happens without it; `None` if the feature does not work then.
    pub without: Option<&'static str>,
}

/// Something that a service, a caller or the user of a store does, with the rights that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// The heading of its table.
    pub title: &'static str,
    /// What it covers.
    pub text: &'static str,
    /// All that it needs, whatever other features need.
    pub rights: &'static [Right],
}

const fn publish(subject: &'static str, why: &'static str) -> Right {
    Right {
        verb: Verb::Publish,
        subject,
        why,
        without: None,
    }
}

const fn subscribe(subject: &'static str, why: &'static str) -> Right {
    Right {
        verb: Verb::Subscribe,
        ..publish(subject, why)
    }
}

impl Right {
    const fn or(mut self, without: &'static str) -> Self {
        self.without = Some(without);
        self
    }
}

const REPLIES: Right = subscribe("<inbox>.>", "replies and acknowledgements");
const DELIVERIES: Right = subscribe("<inbox>.>", "replies, and the messages of the bucket");
const KV_INFO: Right = publish(
    "<api>.STREAM.INFO.KV_<bucket>",
    "the settings of the bucket",
);
const OBJECT_INFO: Right = publish(
    "<api>.STREAM.INFO.OBJ_<bucket>",
    "the settings of the bucket",
);
const OBJECT_META: Right = publish(
    "<api>.STREAM.MSG.GET.OBJ_<bucket>",
    "the metadata of an object",
);
/// For readers of a Key-Value bucket. Without it they work, but see [`MALFORMED`].
const KV_MALFORMED: Right = publish(
    "<api>.STREAM.MSG.GET.KV_<bucket>",
    "entries with malformed headers",
)
.or(MALFORMED);
const MALFORMED: &str = "such an entry ends each connection that reads it";
const STALLED: &str = "a reader that waits for messages which have expired waits longer";
const ABANDONED: &str = "the NATS server removes what was not deleted after a minute";

/// A service whose methods stream nothing.
pub const SERVICE: Feature = Feature {
    title: "A service",
    text: "Calls without streams, and discovery. A service that streams needs the next table besides; one with stores those of its \
           buckets.",
    rights: &[
        subscribe("<prefix>.<endpoint>", "requests; one line per endpoint"),
        subscribe("$SRV.*", "discovery of all services"),
        subscribe("$SRV.*.<service>", "discovery of services with its name"),
        subscribe("$SRV.*.<service>.*", "discovery of this instance"),
        Right {
            verb: Verb::Respond,
            ..publish("", "replies")
        },
        subscribe("<inbox>.>", "the round trip that proves the subscriptions")
            .or("see [what is proven](#what-is-proven)"),
        publish("<inbox>.>", "the round trip that proves the subscriptions")
            .or("see [what is proven](#what-is-proven)"),
    ],
};

/// A service with methods that stream.
pub const STREAMING_SERVICE: Feature = Feature {
    title: "A service that streams",
    text: "Streams of responses, of requests, or of both, with clients of this crate and with plain peers.",
    rights: &[
        subscribe("<inbox>.>", "messages, credit and heartbeats of the caller"),
        publish(
            "<caller inbox>.>",
            "messages, credit and heartbeats for the caller; replies too, in place of `allow_responses`",
        ),
    ],
};

/// The caller of a service whose methods stream nothing.
pub const CALLER: Feature = Feature {
    title: "A caller",
    text: "Calls without streams.",
    rights: &[
        publish("<prefix>.<endpoint>", "requests; one line per endpoint"),
        subscribe("<inbox>.>", "replies"),
    ],
};

/// The caller of methods that stream.
pub const STREAMING_CALLER: Feature = Feature {
    title: "A caller that streams",
    text: "Streams of responses, of requests, or of both.",
    rights: &[
        publish("<prefix>.<endpoint>", "the opening of a stream"),
        subscribe(
            "<inbox>.>",
            "messages, credit and heartbeats of the service",
        ),
        publish(
            "<service inbox>.>",
            "messages, credit and heartbeats for the service",
        ),
    ],
};

/// Writing to a Key-Value bucket.
pub const KV_WRITE: Feature = Feature {
    title: "Writing to a Key-Value bucket",
    text: "A service with `#[kv_store]` or `#[kv_delete]`; `put`, `update`, `delete` and `purge` of a `KvStore`. In batches or one by \
           one.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish("$KV.<bucket>.>", "the entries"),
        publish(
            "<api>.STREAM.MSG.GET.KV_<bucket>",
            "the entry that a late write or a repetition finds",
        )
        .or("a write of a service that is made late, or whose acknowledgement was lost, is lost"),
    ],
};

/// Writing to a Key-Value bucket with a condition.
pub const KV_COMPARE: Feature = Feature {
    title: "Writing with a condition",
    text: "`write = \"create\"` and `write = \"update\"` of `#[kv_store]`, `create` of a `KvStore`.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish("$KV.<bucket>.>", "the entries"),
        publish(
            "<api>.STREAM.MSG.GET.KV_<bucket>",
            "the entry that is there already",
        ),
    ],
};

/// Reading single entries.
pub const KV_READ: Feature = Feature {
    title: "Reading entries",
    text: "`get` and `entry` of a `KvStore`, cached calls.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish(
            "<api>.DIRECT.GET.KV_<bucket>.$KV.<bucket>.>",
            "direct reads",
        ),
    ],
};

/// Reading single entries from the leader.
pub const KV_READ_LEADER: Feature = Feature {
    title: "Reading entries from the leader",
    text: "The same with `with_leader_reads`, and all reads of a bucket without `allow_direct`.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish(
            "<api>.STREAM.MSG.GET.KV_<bucket>",
            "reads, of any message of the bucket",
        ),
    ],
};

/// Reading single revisions.
pub const KV_READ_REVISION: Feature = Feature {
    title: "Reading revisions",
    text: "`entry_at` of a `KvStore`.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish(
            "<api>.DIRECT.GET.KV_<bucket>",
            "direct reads, of any message of the bucket",
        ),
    ],
};

/// Reading many entries of a Key-Value bucket.
pub const KV_WATCH: Feature = Feature {
    title: "Lists, watches and caches",
    text: "`keys`, `history`, `watch` and `cached` of a `KvStore`.",
    rights: &[
        DELIVERIES,
        KV_INFO,
        publish(
            "<api>.CONSUMER.CREATE.KV_<bucket>.*.$KV.<bucket>.>",
            "the consumer",
        ),
        publish(
            "<api>.CONSUMER.MSG.NEXT.KV_<bucket>.*",
            "requests for messages",
        ),
        publish(
            "<api>.CONSUMER.INFO.KV_<bucket>.*",
            "what remains to be read",
        )
        .or(STALLED),
        publish("<api>.CONSUMER.DELETE.KV_<bucket>.*", "the end").or(ABANDONED),
        KV_MALFORMED,
    ],
};

/// A watch with several patterns.
pub const KV_WATCH_PATTERNS: Feature = Feature {
    title: "Watches with several patterns",
    text: "`with_additional_pattern` of a watch.",
    rights: &[
        DELIVERIES,
        KV_INFO,
        publish(
            "<api>.CONSUMER.CREATE.KV_<bucket>.*",
            "the consumer, of any entries of the bucket",
        ),
        publish(
            "<api>.CONSUMER.MSG.NEXT.KV_<bucket>.*",
            "requests for messages",
        ),
        publish(
            "<api>.CONSUMER.INFO.KV_<bucket>.*",
            "what remains to be read",
        )
        .or(STALLED),
        publish("<api>.CONSUMER.DELETE.KV_<bucket>.*", "the end").or(ABANDONED),
        KV_MALFORMED,
    ],
};

/// Writing objects.
pub const OBJECT_WRITE: Feature = Feature {
    title: "Writing objects",
    text: "A service with `#[object_store]`, also for responses that are too large for a reply; `put`, `put_from` and `delete` of an \
           `ObjectStore`.",
    rights: &[
        REPLIES,
        OBJECT_INFO,
        OBJECT_META,
        publish("$O.<bucket>.C.>", "the chunks"),
        publish("$O.<bucket>.M.>", "the metadata"),
        publish(
            "<api>.STREAM.PURGE.OBJ_<bucket>",
            "the removal of chunks that are replaced",
        )
        .or("they stay, and a warning is logged"),
    ],
};

/// Reading objects.
pub const OBJECT_READ: Feature = Feature {
    title: "Reading objects",
    text: "`get`, `info` and `reader` of an `ObjectStore`; callers that fetch responses which are too large for a reply.",
    rights: &[
        DELIVERIES,
        OBJECT_INFO,
        OBJECT_META,
        publish(
            "<api>.CONSUMER.CREATE.OBJ_<bucket>.*.$O.<bucket>.C.*",
            "the consumer of large objects",
        ),
        publish(
            "<api>.CONSUMER.MSG.NEXT.OBJ_<bucket>.*",
            "requests for chunks",
        ),
        publish("<api>.DIRECT.GET.OBJ_<bucket>", "small objects at once")
            .or("they are read by a consumer too, which takes longer"),
        publish(
            "<api>.CONSUMER.INFO.OBJ_<bucket>.*",
            "what remains to be read",
        )
        .or(STALLED),
        publish("<api>.CONSUMER.DELETE.OBJ_<bucket>.*", "the end").or(ABANDONED),
    ],
};

/// Reading the metadata of many objects.
pub const OBJECT_WATCH: Feature = Feature {
    title: "Lists and watches of objects",
    text: "`list` and `watch` of an `ObjectStore`.",
    rights: &[
        DELIVERIES,
        OBJECT_INFO,
        publish(
            "<api>.CONSUMER.CREATE.OBJ_<bucket>.*.$O.<bucket>.M.>",
            "the consumer",
        ),
        publish(
            "<api>.CONSUMER.MSG.NEXT.OBJ_<bucket>.*",
            "requests for messages",
        ),
        publish(
            "<api>.CONSUMER.INFO.OBJ_<bucket>.*",
            "what remains to be read",
        )
        .or(STALLED),
        publish("<api>.CONSUMER.DELETE.OBJ_<bucket>.*", "the end").or(ABANDONED),
    ],
};

/// Creating a Key-Value bucket.
pub const KV_CREATE_BUCKET: Feature = Feature {
    title: "Creating a Key-Value bucket",
    text: "A service that starts with `BucketPolicy::Create` or `Update` while there is no bucket; `create_bucket`. A service with \
           `BucketPolicy::Never` needs none of this.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish("<api>.STREAM.CREATE.KV_<bucket>", "the bucket"),
        publish(
            "<api>.INFO",
            "whether the NATS server has what the bucket needs",
        )
        .or("the bucket takes no batches; with `key_ttl`, `purge_ttl` or `marker_ttl` it is not created"),
    ],
};

/// Creating an Object Store.
pub const OBJECT_CREATE_BUCKET: Feature = Feature {
    title: "Creating an Object Store",
    text: "The same.",
    rights: &[
        REPLIES,
        OBJECT_INFO,
        publish("<api>.STREAM.CREATE.OBJ_<bucket>", "the bucket"),
    ],
};

/// A bucket whose entries may have a TTL of their own.
pub const KV_TTL: Feature = Feature {
    title: "A bucket with TTLs of single entries",
    text: "A service that stores with `key_ttl`, `purge_ttl` or `marker_ttl`, whatever its `BucketPolicy`.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish("<api>.INFO", "whether the NATS server has such TTLs"),
    ],
};

/// Changing the settings of a Key-Value bucket.
pub const KV_UPDATE_BUCKET: Feature = Feature {
    title: "Updating a Key-Value bucket",
    text: "A service that starts with `BucketPolicy::Update` while settings differ. For an Object Store, `OBJ_` takes the place of `KV_`.",
    rights: &[
        REPLIES,
        KV_INFO,
        publish("<api>.STREAM.UPDATE.KV_<bucket>", "the settings"),
        publish(
            "<api>.INFO",
            "whether the NATS server takes writes in batches",
        )
        .or("the bucket takes them only if it did before"),
    ],
};

/// Deleting a Key-Value bucket.
pub const KV_DELETE_BUCKET: Feature = Feature {
    title: "Deleting a Key-Value bucket",
    text: "`delete_bucket`. For an Object Store, `OBJ_` takes the place of `KV_`.",
    rights: &[
        REPLIES,
        publish("<api>.STREAM.DELETE.KV_<bucket>", "the bucket"),
    ],
};

/// All features, in the order of the page.
pub const FEATURES: &[Feature] = &[
    SERVICE,
    STREAMING_SERVICE,
    CALLER,
    STREAMING_CALLER,
    KV_WRITE,
    KV_COMPARE,
    KV_READ,
    KV_READ_LEADER,
    KV_READ_REVISION,
    KV_WATCH,
    KV_WATCH_PATTERNS,
    OBJECT_WRITE,
    OBJECT_READ,
    OBJECT_WATCH,
    KV_CREATE_BUCKET,
    OBJECT_CREATE_BUCKET,
    KV_TTL,
    KV_UPDATE_BUCKET,
    KV_DELETE_BUCKET,
];

/// What takes the place of the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The name of the service.
    pub service: &'a str,
    /// Its subject prefix.
    pub prefix: &'a str,
    /// Its endpoints.
    pub endpoints: &'a [&'a str],
    /// The bucket.
    pub bucket: &'a str,
    /// The prefix of the inboxes of this user.
    pub inbox: &'a str,
    /// The prefix of the inboxes of the other side: of the callers for a service, of the service for a caller.
    pub peer_inbox: &'a str,
    /// The prefix of the `JetStream` API.
    pub api: &'a str,
}

/// The prefix of the `JetStream` API without a domain.
const PLAIN_API: &str = "$JS.API";

impl Default for Names<'_> {
    fn default() -> Self {
        Self {
            service: "",
            prefix: "",
            endpoints: &[],
            bucket: "",
            inbox: "_INBOX",
            peer_inbox: "_INBOX",
            api: PLAIN_API,
        }
    }
}

impl Names<'_> {
    /// The subjects of a right: several if it has one per endpoint, none for [`Verb::Respond`].
    #[must_use]
    pub fn subjects(&self, right: &Right) -> Vec<String> {
        let mut subject = right
            .subject
            .replace("<service>", self.service)
            .replace("<prefix>", self.prefix)
            .replace("<bucket>", self.bucket)
            .replace("<inbox>", self.inbox)
            .replace("<caller inbox>", self.peer_inbox)
            .replace("<service inbox>", self.peer_inbox)
            .replace("<api>", self.api);
        if subject.starts_with("$KV.") && self.api != PLAIN_API {
            subject = format!("{}.{subject}", self.api);
        }
        if subject.contains("<endpoint>") {
            let endpoints = self.endpoints.iter();
            return endpoints
                .map(|endpoint| subject.replace("<endpoint>", endpoint))
                .collect();
        }
        match right.verb {
            Verb::Respond => Vec::new(),
            Verb::Publish | Verb::Subscribe => vec![subject],
        }
    }
}

/// The permissions of a user, as nats-server reads them: everything else is forbidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    publish: BTreeSet<String>,
    subscribe: BTreeSet<String>,
    responds: bool,
}

impl Permissions {
    /// Adds rights.
    #[must_use]
    pub fn with<'a>(
        mut self,
        rights: impl IntoIterator<Item = &'a Right>,
        names: &Names<'_>,
    ) -> Self {
        for right in rights {
            let subjects = names.subjects(right);
            match right.verb {
                Verb::Publish => self.publish.extend(subjects),
                Verb::Subscribe => self.subscribe.extend(subjects),
                Verb::Respond => self.responds = true,
            }
        }
        self
    }
}

/// The block `permissions` of a user, without that word.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\n")?;
        for (verb, subjects) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            if subjects.is_empty() {
                writeln!(f, "  {verb}: {{ deny: \">\" }}")?;
                continue;
            }
            writeln!(f, "  {verb}: [")?;
            for subject in subjects {
                writeln!(f, "    \"{subject}\"")?;
            }
            writeln!(f, "  ]")?;
        }
        if self.responds {
            writeln!(f, "  allow_responses: true")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;
