//! What a cache holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::codec::MessageCodec;
use crate::descriptor::operation::Operation;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::CacheEvent;
use crate::store::kv::entry::{Entry, is_expiry};
use crate::store::kv::ttl::MessageTtl;
use crate::store::reader::ordered::Delivered;

pub(crate) struct State<T> {
    slots: HashMap<String, Slot<T>>,
    /// The keys by their revisions, if the number of entries is bounded.
    by_revision: BTreeMap<u64, String>,
    max_entries: Option<usize>,
    /// How long entries of the bucket live.
    ttl: Option<Duration>,
    /// Nothing was left out for lack of room. What was may have been deleted since, and only a new look at the bucket would tell.
    pub(crate) is_complete: bool,
    /// No entry expires before that.
    next_expiry: Option<SystemTime>,
    /// Why there is nothing here at the moment.
    pub(crate) failure: Option<Arc<StoreError>>,
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
    pub(crate) fn new(max_entries: Option<usize>, ttl: Option<Duration>) -> Self {
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

    /// Nothing, for the reason given.
    pub(crate) fn lost(failure: StoreError) -> Self {
        Self {
            is_complete: false,
            failure: Some(Arc::new(failure)),
            ..Self::new(None, None)
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The entry of a key; `None` if it has none here.
    pub(crate) fn entry(
        &self,
        key: &str,
        codec: &MessageCodec<T>,
    ) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        let Some(slot) = self.live(key) else {
            return Ok(None);
        };
        let value = Arc::clone(slot.value(key, codec)?);
        Ok(Some(slot.of(key, Some(value), Operation::Put)))
    }

    /// The value of a key; `None` if it has none here.
    pub(crate) fn get(
        &self,
        key: &str,
        codec: &MessageCodec<T>,
    ) -> Result<Option<Arc<T>>, StoreError> {
        let slot = self.live(key);
        let value = slot.map(|slot| slot.value(key, codec)).transpose()?;
        Ok(value.cloned())
    }

    pub(crate) fn entries(&self) -> Vec<Entry<Arc<T>>> {
        let now = SystemTime::now();
        let live = self.slots.iter().filter(|(_, slot)| !slot.is_over(now));
        live.filter_map(|(key, slot)| match &slot.value {
            Value::Message(value) => Some(slot.of(key, Some(Arc::clone(value)), Operation::Put)),
            Value::Undecodable(_) => None,
        })
        .collect()
    }

    fn live(&self, key: &str) -> Option<&Slot<T>> {
        let slot = self.slots.get(key)?;
        // The clock is looked at only where it matters.
        let is_over = slot.expires.is_some() && slot.is_over(SystemTime::now());
        (!is_over).then_some(slot)
    }

    /// Takes over what a message says; gives what there is to tell.
    pub(crate) fn apply(
        &mut self,
        codec: &MessageCodec<T>,
        prefix: &str,
        message: Delivered,
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
                    let held = self.remove(&key);
                    // What expires here before the server says so was told of then.
                    if is_expiry && held.is_none() && self.is_complete {
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
    pub(crate) fn sweep(&mut self) -> Vec<CacheEvent<T>> {
        let now = SystemTime::now();
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let over = self.slots.iter().filter(|(_, slot)| slot.is_over(now));
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

    /// When a message goes, as the server reckons; `None` if it stays.
    fn expiry(&self, message: &Delivered) -> Option<SystemTime> {
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

    fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn value(&self, key: &str, codec: &MessageCodec<T>) -> Result<&Arc<T>, StoreError> {
        let bytes = match &self.value {
            Value::Message(value) => return Ok(value),
            Value::Undecodable(bytes) => bytes,
        };
        // Errors cannot be cloned; decoding gives the same one again.
        Err(match (codec.decode)(bytes.clone()) {
            Err(error) => StoreError::decode(key, self.revision, bytes.clone(), error),
            Ok(_) => StoreError::new(StoreErrorKind::Decode, format!("`{key}` was undecodable")),
        })
    }
}
