//! The entries of a cache, and what it knows about those that it does not hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::codec::MessageCodec;
use crate::descriptor::operation::Operation;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::event::CacheEvent;
use crate::store::kv::entry::{Entry, is_expiry};
use crate::store::kv::ttl::MessageTtl;
use crate::store::reader::delivery::BucketMessage;

/// Invariant: with `max_entries`, `by_revision` has exactly the keys of `entries`, by their revisions.
pub(crate) struct CacheState<T> {
    entries: HashMap<String, HeldEntry<T>>,
    /// The keys by their revisions, if the number of entries is bounded.
    by_revision: BTreeMap<u64, String>,
    max_entries: Option<usize>,
    /// How long entries of the bucket live.
    ttl: Option<Duration>,
    /// Whether all entries of the bucket that match are held. Stays false after an entry was left out to stay within `max_entries`, since a
    /// later deletion of it would not be noticed.
    pub(crate) is_complete: bool,
    /// No held entry expires before this time; `None` if none expires.
    next_expiry: Option<SystemTime>,
    /// Why nothing is held at the moment.
    pub(crate) failure: Option<Arc<StoreError>>,
}

struct HeldEntry<T> {
    value: HeldValue<T>,
    revision: u64,
    created: SystemTime,
    /// When it expires, as the server computes it. The cache removes it then, since the server announces it only in some buckets.
    expires: Option<SystemTime>,
}

enum HeldValue<T> {
    Message(Arc<T>),
    Undecodable(Bytes),
}

impl<T> CacheState<T> {
    pub(crate) fn new(max_entries: Option<usize>, ttl: Option<Duration>) -> Self {
        Self {
            entries: HashMap::new(),
            by_revision: BTreeMap::new(),
            max_entries,
            ttl,
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
        let now = SystemTime::now();
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
        let is_expired = held.expires.is_some() && held.is_expired(SystemTime::now());
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
        let is_expiry = message.headers.as_ref().is_some_and(is_expiry);
        match Entry::of_delivered(codec, prefix, message) {
            Ok(Entry {
                key,
                value,
                operation,
                ..
            }) => {
                let Some(value) = value.map(Arc::new) else {
                    let removed = self.remove(&key);
                    // The cache has removed it before the server announced it, and has sent the event then.
                    if is_expiry && removed.is_none() && self.is_complete {
                        return None;
                    }
                    return Some(CacheEvent::Changed(Entry {
                        key,
                        value: None,
                        revision,
                        created,
                        operation,
                    }));
                };
                let held = HeldEntry {
                    value: HeldValue::Message(Arc::clone(&value)),
                    revision,
                    created,
                    expires,
                };
                let entry = held.of(&key, Some(value), operation);
                self.insert(key, held);
                Some(CacheEvent::Changed(entry))
            }
            Err(error) => {
                let found = error.undecodable()?;
                let key = found.key.clone();
                let held = HeldEntry {
                    value: HeldValue::Undecodable(found.value.clone()),
                    revision,
                    created,
                    expires,
                };
                self.insert(key.clone(), held);
                Some(CacheEvent::Undecodable { key, revision })
            }
        }
    }

    fn insert(&mut self, key: String, held: HeldEntry<T>) {
        self.remove(&key);
        if let Some(expires) = held.expires {
            let earliest = self.next_expiry.map_or(expires, |next| next.min(expires));
            self.next_expiry = Some(earliest);
        }
        if let Some(max) = self.max_entries {
            self.by_revision.insert(held.revision, key.clone());
            while self.by_revision.len() > max {
                if let Some((_, oldest)) = self.by_revision.pop_first() {
                    self.entries.remove(&oldest);
                }
                self.is_complete = false;
            }
            if max == 0 {
                return;
            }
        }
        self.entries.insert(key, held);
    }

    fn remove(&mut self, key: &str) -> Option<HeldEntry<T>> {
        let held = self.entries.remove(key)?;
        self.by_revision.remove(&held.revision);
        Some(held)
    }

    /// Removes expired entries, and returns the events to send.
    pub(crate) fn sweep(&mut self) -> Vec<CacheEvent<T>> {
        let now = SystemTime::now();
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let expired_keys = self.entries.iter().filter(|(_, held)| held.is_expired(now));
        let expired_keys: Vec<String> = expired_keys.map(|(key, _)| key.clone()).collect();
        let mut events = Vec::with_capacity(expired_keys.len());
        for key in expired_keys {
            if let Some(held) = self.remove(&key) {
                events.push(CacheEvent::Changed(held.of(&key, None, Operation::Purge)));
            }
        }
        self.next_expiry = self.entries.values().filter_map(|held| held.expires).min();
        events
    }

    /// When a message expires by the clock of the server; `None` if it does not.
    fn expiry(&self, message: &BucketMessage) -> Option<SystemTime> {
        let own = message.headers.as_ref().and_then(MessageTtl::of);
        let ttl = match (own, self.ttl) {
            (Some(MessageTtl::Never), _) => return None,
            (Some(MessageTtl::After(own)), Some(ttl)) => own.min(ttl),
            (Some(MessageTtl::After(own)), None) => own,
            (None, ttl) => ttl?,
        };
        message.published.checked_add(ttl)
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

    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn value(&self, key: &str, codec: &MessageCodec<T>) -> Result<&Arc<T>, StoreError> {
        let bytes = match &self.value {
            HeldValue::Message(value) => return Ok(value),
            HeldValue::Undecodable(bytes) => bytes,
        };
        // Errors cannot be cloned; decoding gives the same one again.
        Err(match (codec.decode)(bytes.clone()) {
            Err(error) => StoreError::decode(key, self.revision, bytes.clone(), error),
            Ok(_) => StoreError::new(StoreErrorKind::Decode, format!("`{key}` was undecodable")),
        })
    }
}
