//! What each feature must be permitted on NATS, as data: for the page of the guide, and for configurations of nats-server.
//!
//! Subjects are templates with placeholders in angle brackets, which [`Names`](crate::contract::user_permissions::Names) replaces.

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
/// For lists, watches and caches, which a replica may serve that is behind.
const KV_NEWEST: Right = publish(
    "<api>.STREAM.MSG.GET.KV_<bucket>",
    "entries with malformed headers; what the leader of a replicated bucket has",
)
.or(
    "such an entry ends each connection that reads it; where a replica is behind, a cache does not notice, and a watch that continues there may end",
);
const KV_ENTRIES: Right = publish("$KV.<bucket>.>", "the entries");
const KV_PULL: Right = publish(
    "<api>.CONSUMER.MSG.NEXT.KV_<bucket>.*",
    "requests for messages",
);
const KV_REMAINDER: Right = publish(
    "<api>.CONSUMER.INFO.KV_<bucket>.*",
    "what remains to be read",
)
.or(AGEING);
const KV_END: Right = publish("<api>.CONSUMER.DELETE.KV_<bucket>.*", "the end").or(ABANDONED);
const OBJECT_REMAINDER: Right = publish(
    "<api>.CONSUMER.INFO.OBJ_<bucket>.*",
    "what remains to be read",
)
.or(STALLED);
const OBJECT_END: Right = publish("<api>.CONSUMER.DELETE.OBJ_<bucket>.*", "the end").or(ABANDONED);
const STALLED: &str = "a reader that waits for messages which have expired waits longer, and a watch that an operator pauses stays so";
const AGEING: &str = "a reader that waits for messages which have expired waits longer, a watch that an operator pauses stays so, and a cache with a pattern does not know its age";
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
        KV_ENTRIES,
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
        KV_ENTRIES,
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
        KV_PULL,
        KV_REMAINDER,
        KV_END,
        KV_NEWEST,
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
        KV_PULL,
        KV_REMAINDER,
        KV_END,
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
        OBJECT_REMAINDER,
        OBJECT_END,
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
        OBJECT_REMAINDER,
        OBJECT_END,
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
        publish(
            "<api>.STREAM.INFO.KV_<bucket>",
            "whether the stream of that name is a bucket",
        ),
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

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;
