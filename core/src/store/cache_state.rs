//! What a cache holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::HeaderValue;
use async_nats::header::NATS_MESSAGE_TTL;
use bytes::Bytes;

use super::cache::CacheEvent;
use super::entry::{Entry, Operation};
use super::ordered::Delivered;
use super::{StoreError, StoreErrorKind};
use crate::codec::MessageCodec;

pub(super) struct State<T> {
    slots: HashMap<String, Slot<T>>,
    /// The keys by their revisions, if the number of entries is bounded.
    by_revision: BTreeMap<u64, String>,
    max_entries: Option<usize>,
    /// How long entries of the bucket live.
    ttl: Option<Duration>,
    /// Nothing was left out for lack of room.
    pub(super) is_complete: bool,
    /// No entry expires before that.
    next_expiry: Option<SystemTime>,
    /// Why there is nothing here at the moment.
    pub(super) failure: Option<Arc<StoreError>>,
}

struct Slot<T> {
    value: Value<T>,
    revision: u64,
    created: SystemTime,
    /// The server tells of what expires only in some buckets.
    expires: Option<SystemTime>,
}

enum Value<T> {
    Message(Arc<T>),
    Undecodable(Bytes),
}

impl<T> State<T> {
    pub(super) fn new(max_entries: Option<usize>, ttl: Option<Duration>) -> Self {
        Self {
            slots: HashMap::new(),
            by_revision: BTreeMap::new(),
            max_entries,
            ttl,
            is_complete: true,
            next_expiry: None,
            failure: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The entry of a key; `None` if it has none here.
    pub(super) fn entry(
        &self,
        key: &str,
        codec: &MessageCodec<T>,
    ) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        match self.live(key) {
            Some((slot, value)) => slot.entry(key, value.map_err(|bytes| (bytes, codec))),
            None => Ok(None),
        }
    }

    /// The value of a key; `None` if it has none here.
    pub(super) fn get(
        &self,
        key: &str,
        codec: &MessageCodec<T>,
    ) -> Result<Option<Arc<T>>, StoreError> {
        match self.live(key) {
            Some((_, Ok(value))) => Ok(Some(Arc::clone(value))),
            Some((slot, Err(bytes))) => Err(slot.undecodable(key, bytes, codec)),
            None => Ok(None),
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry<Arc<T>>> {
        let mut entries = Vec::with_capacity(self.slots.len());
        for (key, slot) in &self.slots {
            if let Some((_, Ok(value))) = self.live(key) {
                entries.push(slot.of(key, Some(Arc::clone(value)), Operation::Put));
            }
        }
        entries
    }

    #[expect(clippy::type_complexity, reason = "used in two places, next to it")]
    fn live(&self, key: &str) -> Option<(&Slot<T>, Result<&Arc<T>, &Bytes>)> {
        let slot = self.slots.get(key)?;
        if slot
            .expires
            .is_some_and(|expires| expires <= SystemTime::now())
        {
            return None;
        }
        let value = match &slot.value {
            Value::Message(value) => Ok(value),
            Value::Undecodable(bytes) => Err(bytes),
        };
        Some((slot, value))
    }

    /// Takes over what a message says; gives what has changed.
    pub(super) fn apply(
        &mut self,
        codec: &MessageCodec<T>,
        prefix: &str,
        message: Delivered,
    ) -> Option<CacheEvent<T>> {
        let (revision, created) = (message.sequence, message.published);
        let expires = self.expiry(&message);
        match Entry::of_delivered(codec, prefix, message) {
            Ok(Entry {
                key,
                value,
                operation,
                ..
            }) => {
                let Some(value) = value.map(Arc::new) else {
                    self.remove(&key)?;
                    return Some(CacheEvent::Changed(Entry {
                        key,
                        value: None,
                        revision,
                        created,
                        operation,
                    }));
                };
                let slot = Slot {
                    value: Value::Message(Arc::clone(&value)),
                    revision,
                    created,
                    expires,
                };
                let entry = slot.of(&key, Some(value), operation);
                self.insert(key, slot);
                Some(CacheEvent::Changed(entry))
            }
            Err(error) => {
                let found = error.undecodable()?;
                let key = found.key.clone();
                let slot = Slot {
                    value: Value::Undecodable(found.value.clone()),
                    revision,
                    created,
                    expires,
                };
                self.insert(key.clone(), slot);
                Some(CacheEvent::Undecodable { key, revision })
            }
        }
    }

    fn insert(&mut self, key: String, slot: Slot<T>) {
        self.remove(&key);
        if let Some(expires) = slot.expires {
            let earliest = self.next_expiry.map_or(expires, |next| next.min(expires));
            self.next_expiry = Some(earliest);
        }
        if let Some(max) = self.max_entries {
            self.by_revision.insert(slot.revision, key.clone());
            while self.by_revision.len() > max {
                if let Some((_, oldest)) = self.by_revision.pop_first() {
                    self.slots.remove(&oldest);
                }
                self.is_complete = false;
            }
            if max == 0 {
                return;
            }
        }
        self.slots.insert(key, slot);
    }

    fn remove(&mut self, key: &str) -> Option<Slot<T>> {
        let slot = self.slots.remove(key)?;
        self.by_revision.remove(&slot.revision);
        Some(slot)
    }

    /// Lets go of what has expired.
    pub(super) fn sweep(&mut self) -> Vec<CacheEvent<T>> {
        let now = SystemTime::now();
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let is_over = |slot: &Slot<T>| slot.expires.is_some_and(|expires| expires <= now);
        let over = self.slots.iter().filter(|(_, slot)| is_over(slot));
        let over: Vec<String> = over.map(|(key, _)| key.clone()).collect();
        let mut events = Vec::with_capacity(over.len());
        for key in over {
            if let Some(slot) = self.remove(&key) {
                events.push(CacheEvent::Changed(slot.of(&key, None, Operation::Purge)));
            }
        }
        self.next_expiry = self.slots.values().filter_map(|slot| slot.expires).min();
        events
    }

    fn expiry(&self, message: &Delivered) -> Option<SystemTime> {
        let headers = message.headers.as_ref();
        let own = headers
            .and_then(|headers| headers.get(NATS_MESSAGE_TTL))
            .map(HeaderValue::as_str)
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        let ttl = match (own, self.ttl) {
            (Some(own), Some(ttl)) => own.min(ttl),
            (own, ttl) => own.or(ttl)?,
        };
        message.published.checked_add(ttl)
    }
}

impl<T> Slot<T> {
    fn of(&self, key: &str, value: Option<Arc<T>>, operation: Operation) -> Entry<Arc<T>> {
        Entry {
            key: key.to_owned(),
            value,
            revision: self.revision,
            created: self.created,
            operation,
        }
    }

    fn entry(
        &self,
        key: &str,
        value: Result<&Arc<T>, (&Bytes, &MessageCodec<T>)>,
    ) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        match value {
            Ok(value) => Ok(Some(self.of(key, Some(Arc::clone(value)), Operation::Put))),
            Err((bytes, codec)) => Err(self.undecodable(key, bytes, codec)),
        }
    }

    /// The error that decoding gave.
    fn undecodable(&self, key: &str, bytes: &Bytes, codec: &MessageCodec<T>) -> StoreError {
        match (codec.decode)(bytes.clone()) {
            Err(error) => StoreError::decode(key, self.revision, bytes.clone(), error),
            Ok(_) => StoreError::new(StoreErrorKind::Decode, format!("`{key}` was undecodable")),
        }
    }
}
