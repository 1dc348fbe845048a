//! A bucket as one method declares it, and the one list of settings that a bucket has.
//!
//! [`bucket_settings!`] below has one entry per setting. The field, the setter of the builder, the comparison of two declarations, the
//! comparison with a real bucket and what is sent to NATS all come from that entry.

use std::time::Duration;

use async_nats::jetstream::stream::{Compression, Config, StorageType};

/// Which of the two kinds of stores a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StoreKind {
    Kv,
    Object,
}

impl StoreKind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Kv => "Key-Value bucket",
            Self::Object => "Object Store",
        }
    }

    /// The JetStream stream behind a bucket.
    pub(crate) fn stream_name(self, bucket: &str) -> String {
        match self {
            Self::Kv => format!("KV_{bucket}"),
            Self::Object => format!("OBJ_{bucket}"),
        }
    }

    /// The subjects to which a bucket is written.
    pub(crate) fn subjects(self, bucket: &str) -> String {
        match self {
            Self::Kv => format!("$KV.{bucket}.>"),
            Self::Object => format!("$O.{bucket}.>"),
        }
    }
}

/// Where nats-server keeps a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory; gone when the server restarts.
    Memory,
}

/// The bucket of a `#[kv_store]` or an `#[object_store]`, with the settings that the user wrote there.
#[derive(Clone, Copy, Debug)]
pub struct BucketDescriptor {
    pub(crate) kind: StoreKind,
    pub(crate) name: &'static str,
    pub(crate) settings: Settings,
}

/// A setting in which two declarations of a bucket differ, with both values. `None` was not set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    pub(crate) setting: &'static str,
    pub(crate) values: [Option<String>; 2],
}

/// A setting in which a real bucket differs from its declaration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) setting: &'static str,
    pub(crate) found: String,
    pub(crate) declared: String,
    pub(crate) effect: Effect,
}

/// What a difference between a real bucket and its declaration means for a start that may not change the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The start fails, and the error names the difference: the service would not work as declared.
    Refused,
    /// The start goes on: the setting informs people, and a new text must not stop a rollout. Only `BucketPolicy::Update` changes
    /// the bucket.
    Tolerated,
}

/// One entry of the list.
struct Setting {
    name: &'static str,
    /// The kinds of stores that have it.
    stores: &'static [StoreKind],
    effect: Effect,
    is_set: fn(&Settings) -> bool,
    /// The value in a declaration, as text.
    declared: fn(&Settings) -> Option<String>,
    /// The value in the configuration of a stream, as text.
    found: fn(&Config) -> String,
    /// Puts the declared value into the configuration, or the default if the entry has one.
    apply: fn(&Settings, &mut Config),
}

const KV: &[StoreKind] = &[StoreKind::Kv];
const BOTH: &[StoreKind] = &[StoreKind::Kv, StoreKind::Object];

/// Declares the settings. An entry reads: `name: type (= default): kinds of stores, effect of a difference`, then how the value is
/// read from the configuration of a stream and how it is put there. A setting without a default is left as it is in NATS where it
/// is not declared.
macro_rules! bucket_settings {
    ($(
        $(#[$doc:meta])*
        $name:ident: $type:ty $(= $default:expr)?; $stores:ident, $effect:ident {
            found: $found:expr,
            apply: $apply:expr,
        }
    )*) => {
        /// The settings of a bucket. What is `None` was not set.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Settings {
            $($(#[$doc])* pub(crate) $name: Option<$type>,)*
        }

        impl Settings {
            const NONE: Self = Self { $($name: None,)* };
        }

        impl BucketDescriptor {
            $(
                #[doc = concat!("Sets `", stringify!($name), "`.")]
                #[must_use]
                pub const fn $name(mut self, $name: $type) -> Self {
                    self.settings.$name = Some($name);
                    self
                }
            )*
        }

        const SETTINGS: &[Setting] = &[$(
            Setting {
                name: stringify!($name),
                stores: $stores,
                effect: Effect::$effect,
                is_set: |settings| settings.$name.is_some(),
                declared: |settings| settings.$name.map(Value::text),
                found: |config| {
                    let found: fn(&Config) -> _ = $found;
                    Value::text(found(config))
                },
                apply: |settings, config| {
                    let apply: fn(&mut Config, $type) = $apply;
                    if let Some(value) = settings.$name$(.or(Some($default)))? {
                        apply(config, value);
                    }
                },
            },
        )*];
    };
}

bucket_settings! {
    /// How many revisions of a key are kept.
    max_history: u8 = 1; KV, Refused {
        found: |config| config.max_messages_per_subject,
        apply: |config, revisions| config.max_messages_per_subject = i64::from(revisions),
    }
    /// How long an entry lives; zero for ever.
    ttl: Duration = Duration::ZERO; BOTH, Refused {
        found: |config| config.max_age,
        apply: |config, ttl| {
            config.max_age = ttl;
            config.duplicate_window = if ttl.is_zero() {
                DUPLICATE_WINDOW
            } else {
                ttl.min(DUPLICATE_WINDOW)
            };
        },
    }
    /// Where nats-server keeps the bucket.
    storage: Storage; BOTH, Refused {
        found: |config| Storage::of(config.storage),
        apply: |config, storage| config.storage = storage.to_nats(),
    }
    /// How many servers of a cluster keep it.
    replicas: usize; BOTH, Refused {
        found: |config| config.num_replicas,
        apply: |config, replicas| config.num_replicas = replicas,
    }
    /// Whether it is compressed.
    compression: bool; BOTH, Refused {
        found: |config| config.compression == Some(Compression::S2),
        apply: |config, compression| {
            config.compression = Some(if compression { Compression::S2 } else { Compression::None });
        },
    }
    /// How many bytes it may take.
    max_bytes: i64; BOTH, Refused {
        found: |config| config.max_bytes,
        apply: |config, max_bytes| config.max_bytes = max_bytes,
    }
    /// How many bytes a value may have.
    max_value_size: i32; KV, Refused {
        found: |config| config.max_message_size,
        apply: |config, max_value_size| config.max_message_size = max_value_size,
    }
    /// How many consumers it may have: each open watch is one, and so is each cache.
    max_consumers: i32; BOTH, Refused {
        found: |config| config.max_consumers,
        apply: |config, max_consumers| config.max_consumers = max_consumers,
    }
    /// How long the markers of what has expired stay.
    marker_ttl: Duration; KV, Refused {
        found: |config| config.subject_delete_marker_ttl.unwrap_or_default(),
        apply: |config, marker_ttl| {
            config.allow_message_ttl = true;
            // A mirror has the markers of its origin, and nats-server refuses this setting for it.
            if config.mirror.is_none() {
                config.subject_delete_marker_ttl = Some(marker_ttl);
            }
        },
    }
    /// How long the markers of purges stay. The service sends it with each purge: of the bucket it needs only that entries may
    /// have a TTL of their own.
    purge_ttl: Duration; KV, Refused {
        found: |_| "",
        apply: |config, _| config.allow_message_ttl = true,
    }
    /// What the bucket says of itself.
    description: &'static str; BOTH, Tolerated {
        found: |config| config.description.clone().unwrap_or_default(),
        apply: |config, description| config.description = Some(description.to_owned()),
    }
    /// Pairs of text for people and tools. Others in the bucket stay.
    metadata: Pairs; BOTH, Tolerated {
        found: |config| {
            let pairs = config.metadata.iter();
            pairs_text(pairs.map(|(key, value)| (key.as_str(), value.as_str())))
        },
        apply: |config, pairs| {
            let pairs = pairs.iter();
            config.metadata.extend(pairs.map(|&(key, value)| (key.to_owned(), value.to_owned())));
        },
    }
}

type Pairs = &'static [(&'static str, &'static str)];

/// The largest window in which nats-server looks for duplicates; it may not exceed the age limit of the bucket.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

impl BucketDescriptor {
    /// The bucket of a `#[kv_store]`.
    #[must_use]
    pub const fn kv(name: &'static str) -> Self {
        Self::new(StoreKind::Kv, name)
    }

    /// The bucket of an `#[object_store]`.
    #[must_use]
    pub const fn object(name: &'static str) -> Self {
        Self::new(StoreKind::Object, name)
    }

    const fn new(kind: StoreKind, name: &'static str) -> Self {
        Self {
            kind,
            name,
            settings: Settings::NONE,
        }
    }

    /// Whether both declare the same bucket.
    pub(crate) fn is_same_bucket(&self, other: &Self) -> bool {
        (self.kind, self.name) == (other.kind, other.name)
    }

    /// Whether any setting is written down.
    pub(crate) fn has_settings(&self) -> bool {
        SETTINGS
            .iter()
            .any(|setting| (setting.is_set)(&self.settings))
    }

    /// The settings in which two declarations of one bucket differ.
    pub(crate) fn disagreements(&self, other: &Self) -> Vec<Disagreement> {
        let disagreement = |setting: &Setting| {
            let values = [self, other].map(|bucket| (setting.declared)(&bucket.settings));
            (values[0] != values[1]).then_some(Disagreement {
                setting: setting.name,
                values,
            })
        };
        SETTINGS.iter().filter_map(disagreement).collect()
    }

    /// Puts the declared settings into the configuration of a stream, and leaves the rest as it is.
    pub(crate) fn apply(&self, config: &mut Config) {
        for setting in self.own_settings() {
            (setting.apply)(&self.settings, config);
        }
    }

    /// What [`apply`](Self::apply) would change in the configuration `found`, if `wanted` is what it has made of it.
    pub(crate) fn differences(&self, found: &Config, wanted: &Config) -> Vec<Difference> {
        let difference = |setting: &Setting| {
            let (found, declared) = ((setting.found)(found), (setting.found)(wanted));
            (found != declared).then_some(Difference {
                setting: setting.name,
                found,
                declared,
                effect: setting.effect,
            })
        };
        self.own_settings().filter_map(difference).collect()
    }

    /// The settings that buckets of this kind have.
    fn own_settings(&self) -> impl Iterator<Item = &'static Setting> {
        let kind = self.kind;
        SETTINGS
            .iter()
            .filter(move |setting| setting.stores.contains(&kind))
    }
}

impl Storage {
    pub(crate) fn of(storage: StorageType) -> Self {
        match storage {
            StorageType::File => Self::File,
            StorageType::Memory => Self::Memory,
        }
    }

    fn to_nats(self) -> StorageType {
        match self {
            Self::File => StorageType::File,
            Self::Memory => StorageType::Memory,
        }
    }
}

/// The value of a setting in the text of an error.
trait Value {
    fn text(self) -> String;
}

macro_rules! displayed_values {
    ($($type:ty)*) => {$(
        impl Value for $type {
            fn text(self) -> String {
                self.to_string()
            }
        }
    )*};
}

displayed_values!(u8 usize i32 i64 bool &str String);

impl Value for Duration {
    fn text(self) -> String {
        if self.is_zero() {
            "none".to_owned()
        } else {
            format!("{self:?}")
        }
    }
}

impl Value for Storage {
    fn text(self) -> String {
        format!("{self:?}")
    }
}

impl Value for Pairs {
    fn text(self) -> String {
        pairs_text(self.iter().copied())
    }
}

/// The same text for the same pairs in any order.
fn pairs_text<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: BucketDescriptor = BucketDescriptor::kv("b")
        .max_history(5)
        .ttl(Duration::from_secs(60))
        .storage(Storage::Memory)
        .replicas(3)
        .compression(true)
        .max_bytes(1000)
        .max_value_size(100)
        .max_consumers(7)
        .marker_ttl(Duration::from_secs(10))
        .purge_ttl(Duration::from_secs(20))
        .description("one")
        .metadata(&[("b", "2"), ("a", "1")]);

    #[test]
    fn declarations_differ_in_every_setting() {
        let empty = BucketDescriptor::kv("b");
        let names = |one: &BucketDescriptor, other| -> Vec<_> {
            let disagreements = one.disagreements(other);
            disagreements.iter().map(|found| found.setting).collect()
        };
        let all: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(names(&FULL, &empty), all);
        assert_eq!(names(&empty, &FULL), all);
        assert_eq!(names(&FULL, &FULL), [""; 0]);
        assert_eq!(
            FULL.purge_ttl(Duration::from_secs(21)).disagreements(&FULL),
            [Disagreement {
                setting: "purge_ttl",
                values: [Some("21s".to_owned()), Some("20s".to_owned())],
            }]
        );
        assert!(FULL.has_settings() && !empty.has_settings());
    }

    #[test]
    fn the_order_of_metadata_does_not_count() {
        let other = FULL.metadata(&[("a", "1"), ("b", "2")]);
        assert_eq!(FULL.disagreements(&other), []);
    }

    /// Nothing is left of a difference once it was applied, and every setting that NATS keeps is one.
    #[test]
    fn what_is_applied_is_what_differs() {
        let found = Config::default();
        let mut wanted = found.clone();
        FULL.apply(&mut wanted);
        let differences = FULL.differences(&found, &wanted);
        let names: Vec<_> = differences.iter().map(|found| found.setting).collect();
        let kept = SETTINGS.iter().map(|setting| setting.name);
        let kept: Vec<_> = kept.filter(|name| *name != "purge_ttl").collect();
        assert_eq!(names, kept);
        assert!(wanted.allow_message_ttl);
        let mut again = wanted.clone();
        FULL.apply(&mut again);
        assert_eq!(again, wanted);
        assert_eq!(FULL.differences(&wanted, &again), []);
    }

    #[test]
    fn what_is_not_declared_stays_but_for_history_and_ttl() {
        let mut found = Config::default();
        FULL.apply(&mut found);
        let empty = BucketDescriptor::kv("b");
        let mut wanted = found.clone();
        empty.apply(&mut wanted);
        let differences = empty.differences(&found, &wanted);
        let told: Vec<_> = differences
            .iter()
            .map(|found| (found.setting, &*found.found, &*found.declared))
            .collect();
        assert_eq!(told, [("max_history", "5", "1"), ("ttl", "60s", "none")]);
    }

    #[test]
    fn object_stores_have_no_history() {
        let mut config = Config::default();
        BucketDescriptor::object("b").apply(&mut config);
        let default = Config::default().max_messages_per_subject;
        assert_eq!(config.max_messages_per_subject, default);
    }
}
