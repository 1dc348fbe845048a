//! The entries of a cache, and what it knows about those that it does not hold.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::header::NATS_ROLLUP;
use bytes::Bytes;

use crate::codec::MessageCodec;
use crate::descriptor::operation::Operation;
use crate::store::bucket::facts::Facts;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::event::CacheEvent;
use crate::store::kv::clock::Clock;
use crate::store::kv::entry::{Entry, is_expiry};
use crate::store::kv::ttl::MessageTtl;
use crate::store::reader::delivery::BucketMessage;

/// How many keys are looked up at once.
const MAX_LOOKED_UP: usize = 64;
/// How late the server may remove what has expired.
const EXPIRY_SLACK: Duration = Duration::from_secs(3);
/// How early it may seem to, by the reading of its clock.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Invariants: with `max_entries`, `by_revision` has exactly the keys of `entries`, by their revisions. No key of `entries` is in `unheld`,
/// and all that match and have a message in the bucket are in one of the two.
pub(crate) struct CacheState<T> {
    entries: HashMap<String, HeldEntry<T>>,
    /// The keys by their revisions, if the number of entries is bounded.
    by_revision: BTreeMap<u64, String>,
    max_entries: Option<usize>,
    /// The keys that have a message in the bucket and are not held, by their hashes.
    unheld: HashMap<u64, UnheldKey>,
    hasher: RandomState,
    /// The deletion markers with a TTL of their own that may cover an older value, with when they expire.
    covers: HashMap<String, SystemTime>,
    /// The keys whose newest message has expired, and which may have an older value now.
    uncovered: HashSet<String>,
    /// The bucket as it was when the state was loaded; `None` if nothing is loaded.
    basis: Option<Basis>,
    /// Whether all entries of the bucket that match are held. Stays false after an entry was left out to stay within `max_entries`, since a
    /// later deletion of it would not be noticed.
    pub(crate) is_complete: bool,
    /// No held entry expires before this time; `None` if none expires.
    next_expiry: Option<SystemTime>,
    /// Why nothing is held at the moment.
    pub(crate) failure: Option<Arc<StoreError>>,
}

/// What a state is computed with.
#[derive(Clone)]
pub(crate) struct Basis {
    pub(crate) facts: Arc<Facts>,
    pub(crate) clock: Clock,
}

/// A key that is not held: its value was left out or has just expired, or it has none.
struct UnheldKey {
    revision: u64,
    expires: Option<SystemTime>,
    has_value: bool,
}

struct HeldEntry<T> {
    value: HeldValue<T>,
    revision: u64,
    created: SystemTime,
    /// When it expires, as the server computes it. The cache removes it then, since the server announces it only in some buckets.
    expires: Option<SystemTime>,
    /// Whether an older value comes back then.
    is_covering: bool,
}

enum HeldValue<T> {
    Message(Arc<T>),
    Undecodable(Bytes),
}

impl<T> CacheState<T> {
    pub(crate) fn new(max_entries: Option<usize>, basis: Option<Basis>) -> Self {
        Self {
            entries: HashMap::new(),
            by_revision: BTreeMap::new(),
            max_entries,
            unheld: HashMap::new(),
            hasher: RandomState::new(),
            covers: HashMap::new(),
            uncovered: HashSet::new(),
            basis,
            is_complete: true,
            next_expiry: None,
            failure: None,
        }
    }

    /// The state of a cache whose bucket is lost.
    pub(crate) fn lost(failure: StoreError) -> Self {
        Self {
            is_complete: false,
            failure: Some(Arc::new(failure)),
            ..Self::new(None, None)
        }
    }

    pub(crate) fn basis(&self) -> Option<&Basis> {
        self.basis.as_ref()
    }

    pub(crate) fn set_clock(&mut self, clock: Clock) {
        if let Some(basis) = &mut self.basis {
            basis.clock = clock;
        }
    }

    /// How many keys have a message in the bucket. Those that have just expired count.
    pub(crate) fn subjects(&self) -> usize {
        self.entries.len() + self.unheld.len()
    }

    /// How many of [`subjects`](Self::subjects) the server has removed since they have expired, at least and at most. `first_sequence` is
    /// that of the first message that it has.
    pub(crate) fn expired_subjects(&self, first_sequence: u64) -> (usize, usize) {
        let latest = self.now() + CLOCK_SLACK;
        let held = self.entries.values().map(|it| (it.revision, it.expires));
        let unheld = self.unheld.values().map(|it| (it.revision, it.expires));
        let expired = held
            .chain(unheld)
            .filter(|(_, expires)| expires.is_some_and(|expires| expires <= latest));
        let basis = self.basis.as_ref();
        if basis.is_some_and(|basis| basis.facts.allows_entry_ttl) {
            return (0, expired.count());
        }
        // They expire in the order of the stream.
        let gone = expired.filter(|(revision, _)| *revision < first_sequence);
        let gone = gone.count();
        (gone, gone)
    }

    /// How many keys may have a message besides [`subjects`](Self::subjects).
    pub(crate) fn uncovered_subjects(&self) -> usize {
        self.uncovered.len()
    }

    /// The keys to look up next: a message that has expired may have uncovered an older one.
    pub(crate) fn uncovered(&self) -> Vec<String> {
        let next = self.uncovered.iter().take(MAX_LOOKED_UP);
        next.cloned().collect()
    }

    /// Whether there are so many keys to look up that loading all is faster.
    pub(crate) fn has_many_uncovered(&self) -> bool {
        self.uncovered.len() > MAX_LOOKED_UP
    }

    /// What the bucket has for a key of [`uncovered`](Self::uncovered). Returns the event to send. Does nothing if the key was written
    /// since.
    pub(crate) fn uncover(
        &mut self,
        codec: &MessageCodec<T>,
        prefix: &str,
        key: &str,
        message: Option<BucketMessage>,
    ) -> Option<CacheEvent<T>> {
        let Some(message) = message else {
            self.uncovered.remove(key);
            return None;
        };
        let expires = self.expiry(&message);
        let is_removed_later = expires.is_some_and(|expires| expires <= self.now());
        if is_removed_later || !self.uncovered.remove(key) {
            return None;
        }
        self.apply(codec, prefix, message)
    }

    /// Takes over a state that was loaded later, and returns the events to send.
    pub(crate) fn replace(&mut self, new: Self) -> Vec<CacheEvent<T>> {
        let mut events = Vec::new();
        for (key, held) in &self.entries {
            let unheld = new.unheld.get(&new.hash(key));
            if !new.entries.contains_key(key) && !unheld.is_some_and(|it| it.has_value) {
                events.push(CacheEvent::Changed(held.of(key, None, Operation::Purge)));
            }
        }
        for (key, held) in &new.entries {
            let known = self.entries.get(key).map(|known| known.revision);
            if known != Some(held.revision) {
                events.push(held.event(key));
            }
        }
        *self = new;
        events
    }

    /// The time of the server.
    fn now(&self) -> SystemTime {
        let clock = self.basis.as_ref().map(|basis| &basis.clock);
        clock.map_or_else(SystemTime::now, Clock::now)
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry of a key; `None` if it has none here.
    pub(crate) fn entry(
        &self,
        key: &str,
        codec: &MessageCodec<T>,
    ) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        let Some(held) = self.live(key) else {
            return Ok(None);
        };
        let value = Arc::clone(held.value(key, codec)?);
        Ok(Some(held.of(key, Some(value), Operation::Put)))
    }

    /// The value of a key; `None` if it has none here.
    pub(crate) fn get(
        &self,
        key: &str,
        codec: &MessageCodec<T>,
    ) -> Result<Option<Arc<T>>, StoreError> {
        let held = self.live(key);
        let value = held.map(|held| held.value(key, codec)).transpose()?;
        Ok(value.cloned())
    }

    pub(crate) fn entries(&self) -> Vec<Entry<Arc<T>>> {
        let now = self.now();
        let live = self
            .entries
            .iter()
            .filter(|(_, held)| !held.is_expired(now));
        live.filter_map(|(key, held)| match &held.value {
            HeldValue::Message(value) => {
                Some(held.of(key, Some(Arc::clone(value)), Operation::Put))
            }
            HeldValue::Undecodable(_) => None,
        })
        .collect()
    }

    fn live(&self, key: &str) -> Option<&HeldEntry<T>> {
        let held = self.entries.get(key)?;
        // Reads the clock only if the entry can expire.
        let is_expired = held.expires.is_some() && held.is_expired(self.now());
        (!is_expired).then_some(held)
    }

    /// Applies a message, and returns the event to send.
    pub(crate) fn apply(
        &mut self,
        codec: &MessageCodec<T>,
        prefix: &str,
        message: BucketMessage,
    ) -> Option<CacheEvent<T>> {
        let (revision, created) = (message.sequence, message.published);
        let expires = self.expiry(&message);
        let is_covering = self.is_covering(&message);
        let is_expiry = message.headers.as_ref().is_some_and(is_expiry);
        let held = |value| HeldEntry {
            value,
            revision,
            created,
            expires,
            is_covering,
        };
        match Entry::of_delivered(codec, prefix, message) {
            Ok(Entry {
                key,
                value: Some(value),
                ..
            }) => {
                let held = held(HeldValue::Message(Arc::new(value)));
                let event = held.event(&key);
                self.insert(key, held);
                Some(event)
            }
            Ok(Entry { key, operation, .. }) => {
                let removed = self.remove(&key);
                self.set_unheld(&key, revision, expires, false);
                if let Some(expires) = expires.filter(|_| is_covering) {
                    self.covers.insert(key.clone(), expires);
                }
                // The cache has removed it before the server announced it, and has sent the event then.
                if is_expiry && removed.is_none() && self.is_complete {
                    return None;
                }
                Some(CacheEvent::Changed(Entry {
                    key,
                    value: None,
                    revision,
                    created,
                    operation,
                }))
            }
            Err(error) => {
                let found = error.undecodable()?;
                let held = held(HeldValue::Undecodable(found.value.clone()));
                let event = held.event(&found.key);
                self.insert(found.key.clone(), held);
                Some(event)
            }
        }
    }

    fn insert(&mut self, key: String, held: HeldEntry<T>) {
        self.remove(&key);
        self.unheld.remove(&self.hash(&key));
        if let Some(expires) = held.expires {
            let earliest = self.next_expiry.map_or(expires, |next| next.min(expires));
            self.next_expiry = Some(earliest);
        }
        if let Some(max) = self.max_entries {
            self.by_revision.insert(held.revision, key.clone());
            self.entries.insert(key, held);
            while self.by_revision.len() > max {
                if let Some((_, oldest)) = self.by_revision.pop_first()
                    && let Some(left_out) = self.entries.remove(&oldest)
                {
                    self.set_unheld(&oldest, left_out.revision, left_out.expires, true);
                }
                self.is_complete = false;
            }
            return;
        }
        self.entries.insert(key, held);
    }

    fn set_unheld(
        &mut self,
        key: &str,
        revision: u64,
        expires: Option<SystemTime>,
        has_value: bool,
    ) {
        let unheld = UnheldKey {
            revision,
            expires,
            has_value,
        };
        self.unheld.insert(self.hash(key), unheld);
    }

    fn remove(&mut self, key: &str) -> Option<HeldEntry<T>> {
        self.covers.remove(key);
        self.uncovered.remove(key);
        let held = self.entries.remove(key)?;
        self.by_revision.remove(&held.revision);
        Some(held)
    }

    /// Removes expired entries, and returns the events to send.
    pub(crate) fn sweep(&mut self) -> Vec<CacheEvent<T>> {
        let now = self.now();
        self.unheld.retain(|_, unheld| {
            unheld
                .expires
                .is_none_or(|expires| expires + EXPIRY_SLACK > now)
        });
        let expired_covers = self.covers.extract_if(|_, expires| *expires <= now);
        self.uncovered.extend(expired_covers.map(|(key, _)| key));
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let expired_keys = self.entries.iter().filter(|(_, held)| held.is_expired(now));
        let expired_keys: Vec<String> = expired_keys.map(|(key, _)| key.clone()).collect();
        let mut events = Vec::with_capacity(expired_keys.len());
        for key in expired_keys {
            if let Some(held) = self.remove(&key) {
                events.push(CacheEvent::Changed(held.of(&key, None, Operation::Purge)));
                self.set_unheld(&key, held.revision, held.expires, false);
                if held.is_covering {
                    self.uncovered.insert(key);
                }
            }
        }
        self.next_expiry = self.entries.values().filter_map(|held| held.expires).min();
        events
    }

    /// When a message expires by the clock of the server; `None` if it does not.
    fn expiry(&self, message: &BucketMessage) -> Option<SystemTime> {
        let own = message.headers.as_ref().and_then(MessageTtl::of);
        let ttl = self.basis.as_ref().and_then(|basis| basis.facts.ttl);
        let ttl = match (own, ttl) {
            (Some(MessageTtl::Never), _) => return None,
            (Some(MessageTtl::After(own)), Some(ttl)) => own.min(ttl),
            (Some(MessageTtl::After(own)), None) => own,
            (None, ttl) => ttl?,
        };
        message.published.checked_add(ttl)
    }

    /// Whether an older value of the key comes back when the message expires.
    fn is_covering(&self, message: &BucketMessage) -> bool {
        let keeps_older = self.basis.as_ref().is_some_and(|it| it.facts.history != 1);
        let headers = message.headers.as_ref().filter(|_| keeps_older);
        headers.is_some_and(|headers| {
            // A rollup leaves nothing behind it.
            headers.get(NATS_ROLLUP).is_none()
                && matches!(MessageTtl::of(headers), Some(MessageTtl::After(_)))
        })
    }
}

impl<T> HeldEntry<T> {
    fn of(&self, key: &str, value: Option<Arc<T>>, operation: Operation) -> Entry<Arc<T>> {
        Entry {
            key: key.to_owned(),
            value,
            revision: self.revision,
            created: self.created,
            operation,
        }
    }

    /// The event that tells of it.
    fn event(&self, key: &str) -> CacheEvent<T> {
        match &self.value {
            HeldValue::Message(value) => {
                let value = Some(Arc::clone(value));
                CacheEvent::Changed(self.of(key, value, Operation::Put))
            }
            HeldValue::Undecodable(_) => CacheEvent::Undecodable {
                key: key.to_owned(),
                revision: self.revision,
            },
        }
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn value(&self, key: &str, codec: &MessageCodec<T>) -> Result<&Arc<T>, StoreError> {
        let bytes = match &self.value {
            HeldValue::Message(value) => return Ok(value),
            HeldValue::Undecodable(bytes) => bytes,
        };
        // Errors cannot be cloned; decoding gives the same one again.
        Err(match codec.decode_caught(bytes.clone()) {
            Err(error) => StoreError::decode(key, self.revision, bytes.clone(), error),
            Ok(_) => StoreError::new(StoreErrorKind::Decode, format!("`{key}` was undecodable")),
        })
    }
}
