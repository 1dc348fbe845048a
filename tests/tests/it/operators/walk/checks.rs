//! What is checked after each step of a walk through a Key-Value bucket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt;
use natsmicro::store::{Entry, KvCache, Operation, StoreError, StoreErrorKind};
use natsmicro::{Cached, Code, Origin, Status};
use natsmicro_tests::persistence::{Save, Saved, eventually};

use super::fold::Fold;
use super::steps::{Service, Step};
use super::{ALL, NotesClient, PART, STREAM, Values, Walk};

/// Waits until a call that reads through the bucket finds this number there. It looks for a second at most, and calls the service then,
/// which stores the same.
pub async fn reads_through<F>(call: impl Fn() -> F, number: u64, step: &Step)
where
    F: Future<Output = Result<Cached<Saved>, Status>>,
{
    eventually("a call reads through the bucket", || async {
        let found = call().await.unwrap();
        assert_eq!(found.n, number, "{step:?}");
        matches!(found.origin, Origin::Store { .. }).then_some(())
    })
    .await;
}

impl Walk {
    pub async fn check_equal(&mut self, step: &Step, done_at: Instant) {
        self.check_service(step).await;
        let written_at = Instant::now();
        let values = self.bucket().await.expect("there is a bucket");
        self.check_program(step, &values).await;
        self.check_cache(step, &self.cache, ALL, &values, written_at)
            .await;
        self.check_cache(step, &self.part, PART, &values, written_at)
            .await;
        self.check_watch(step, &values).await;
        self.check_readers(step, &values).await;
        self.check_status(step).await;
        assert_eq!(self.bucket().await, Some(values), "it is at rest");
        println!("{}: equal after {:?}", step.commands, done_at.elapsed());
    }

    /// The service answers, and stores what it answers where that is possible.
    async fn check_service(&mut self, step: &Step) {
        self.calls += 1;
        let request = Save::number("it", self.calls);
        let first = self.client.store_first(request.clone()).await;
        let later = self.client.store_later(request.clone()).await.unwrap();
        assert_eq!(later.n, self.calls);
        match step.service {
            Service::Stores => {}
            Service::Misled => return,
            Service::Fails => {
                let refused = first.unwrap_err();
                assert_eq!(refused.code(), &Code::Unavailable, "{refused}");
                return;
            }
        }
        assert_eq!(first.unwrap().n, self.calls);
        // A mirror, and a replica of a cluster, may lag behind.
        if !self.is_replicated().await {
            assert_eq!(self.number("first.it").await, Some(self.calls), "{step:?}");
        }
        eventually("the response is stored", || async {
            let numbers = [self.number("first.it").await, self.number("later.it").await];
            (numbers == [Some(self.calls); 2]).then_some(())
        })
        .await;
        let call = || {
            self.client
                .store_first_cached(request.clone())
                .into_future()
        };
        reads_through(call, self.calls, step).await;
    }

    async fn is_replicated(&self) -> bool {
        let stream = self.place.js.get_stream(STREAM).await.unwrap();
        let config = &stream.cached_info().config;
        config.mirror.is_some() || config.num_replicas > 1
    }

    /// The number that a key has in the bucket.
    async fn number(&self, key: &str) -> Option<u64> {
        let values = self.bucket().await.unwrap();
        values.get(key).map(|(_, n)| *n)
    }

    /// The program itself lists the same. Of a mirror under another name it lists nothing.
    async fn check_program(&self, step: &Step, values: &Values) {
        if self.is_replicated().await {
            return;
        }
        let answer = self.program.read(&["kv", "ls", "notes"]).await;
        assert!(answer.is_done, "{}", answer.text);
        let listed: BTreeSet<&str> = match answer.text.trim() {
            "No keys found in bucket" => BTreeSet::new(),
            text => text.lines().collect(),
        };
        let keys = values.keys().map(String::as_str).collect();
        assert_eq!(listed, keys, "{}", step.commands);
    }

    /// As soon as the cache says that it agrees with the bucket as it was at `written_at` or later, it does.
    async fn check_cache(
        &self,
        step: &Step,
        cache: &KvCache<Saved>,
        pattern: &str,
        values: &Values,
        written_at: Instant,
    ) {
        eventually("the cache agrees with the bucket", || async {
            let now = Instant::now();
            let agreed_at = now.checked_sub(cache.status().age)?;
            (agreed_at > written_at).then_some(())
        })
        .await;
        let entries = cache.entries();
        let cached: Values = entries.into_iter().map(cached_value).collect();
        let matches = |key: &str| pattern == ALL || key.starts_with("a.");
        let mut expected = values.clone();
        expected.retain(|key, _| matches(key));
        assert_eq!(
            cached, expected,
            "the cache of {pattern} after `{}`",
            step.commands
        );
        let status = cache.status();
        assert_eq!((status.entries, status.is_complete), (expected.len(), true));
        for (key, (_, n)) in &expected {
            assert_eq!(cache.get(key).unwrap().unwrap().n, *n);
        }
        assert!(cache.get("a.none").unwrap().is_none());
    }

    async fn check_watch(&mut self, step: &Step, values: &Values) {
        if self.fold.is_none() {
            self.fold = Some(Fold::of(self.store.watch_all().await.unwrap(), |saved| {
                saved.n
            }));
        }
        self.untold.retain(|key, _| !values.contains_key(key));
        let mut expected = values.clone();
        expected.extend(self.untold.clone());
        let fold = self.fold.as_ref().expect("a watch is open");
        fold.becomes(&expected, step.commands).await;
    }

    async fn check_readers(&self, step: &Step, values: &Values) {
        let keys = self.store.keys(ALL).await.unwrap();
        let keys: BTreeSet<String> = keys.try_collect().await.unwrap();
        assert!(keys.iter().eq(values.keys()), "{}: {keys:?}", step.commands);
        for (key, (revision, n)) in values {
            let entry = self.store.entry(key).await.unwrap().unwrap();
            assert_eq!((entry.revision, entry.value.unwrap().n), (*revision, *n));
            if self.is_replicated().await {
                continue;
            }
            let history = self.store.history(key).await.unwrap();
            let history: Vec<Entry<Saved>> = history.try_collect().await.unwrap();
            assert!(
                history
                    .iter()
                    .map(|it| it.revision)
                    .eq(self.revisions(key).await)
            );
        }
        for key in self.untold.keys().map(String::as_str).chain(["a.none"]) {
            assert_eq!(self.store.get(key).await.unwrap(), None, "{key}");
        }
    }

    async fn check_status(&self, step: &Step) {
        let mut stream = self.place.js.get_stream(STREAM).await.unwrap();
        let info = stream.info().await.unwrap();
        let (config, state) = (&info.config, &info.state);
        let status = self.store.status().await.unwrap();
        let numbers = (status.values, status.bytes, status.last_revision);
        let expected = (state.messages, state.bytes, state.last_sequence);
        assert_eq!(numbers, expected, "{}", step.commands);
        let history = u64::try_from(config.max_messages_per_subject).unwrap();
        assert_eq!(status.history, history);
        assert_eq!(status.ttl.unwrap_or_default(), config.max_age);
        assert_eq!(
            status.description.unwrap_or_default(),
            config.description.clone().unwrap_or_default()
        );
        assert_eq!(status.metadata, config.metadata);
        assert_eq!(status.allows_entry_ttl, config.allow_message_ttl);
        assert_eq!(status.replicas, config.num_replicas);
    }

    /// All that reads the bucket says that it cannot, and the service that it cannot store.
    pub async fn check_failing(&mut self, step: &Step, kind: &StoreErrorKind) {
        self.check_service(step).await;
        let is_expected = |error: StoreError| {
            assert_eq!(error.kind(), kind, "{}: {error}", step.commands);
        };
        for cache in [&self.cache, &self.part] {
            eventually("the cache says that it has no bucket", || async {
                cache.get("a.1").is_err().then_some(())
            })
            .await;
            is_expected(cache.get("a.1").unwrap_err());
            let status = cache.status();
            assert_eq!((status.entries, status.is_complete), (0, false));
        }
        is_expected(self.store.status().await.unwrap_err());
        // One who comes now.
        let store = NotesClient::new(self.place.client()).look_kv();
        let keys = async { store.keys(ALL).await?.try_collect::<Vec<_>>().await };
        is_expected(keys.await.unwrap_err());
        is_expected(store.get("a.1").await.unwrap_err());
        is_expected(store.status().await.unwrap_err());
        is_expected(store.watch_all().await.err().unwrap());
        let put = store.put("a.1", &Saved::default()).await;
        is_expected(put.unwrap_err());
    }
}

fn cached_value(entry: Entry<Arc<Saved>>) -> (String, (u64, u64)) {
    assert_eq!(entry.operation, Operation::Put);
    (entry.key, (entry.revision, entry.value.unwrap().n))
}
