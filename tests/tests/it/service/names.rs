//! One table of names: what natsmicro takes for a name at run time, and what async-nats and a nats-server do.
//!
//! The macro is asked the same in its own unit tests.

use std::time::Duration;

use async_nats::jetstream::{self, kv, object_store};
use async_nats::service::ServiceExt;
use futures::StreamExt;
use natsmicro::store::StoreErrorKind;
use natsmicro::testing::NatsServer;
use natsmicro::{Code, Key, KvStore, StartErrorKind, Status};

/// Kind, text, how often it is repeated, whether natsmicro takes it, whether NATS does, why natsmicro is stricter.
type Line = (&'static str, &'static str, usize, bool, bool, &'static str);

const TABLE: &[Line] = include!("../../../names.in.rs");

#[natsmicro::service]
pub trait Names {
    #[kv_store(bucket = "names", key = "name", client_only)]
    async fn get(&self) -> Result<(), Status>;
}

struct Nameless;

impl Names for Nameless {
    async fn get(&self) -> Result<(), Status> {
        Ok(())
    }
}

#[test]
fn the_table_has_a_reason_for_every_difference() {
    for (kind, text, _, ours, nats, why) in TABLE {
        assert!(
            *nats || !ours,
            "{kind} {text:?}: natsmicro is laxer than NATS"
        );
        assert_eq!(ours != nats, !why.is_empty(), "{kind} {text:?}");
    }
}

#[tokio::test]
async fn natsmicro_takes_what_the_table_says() {
    let server = NatsServer::start().await.unwrap();
    let nats = server.connect().await.unwrap();
    let store = store(&nats).await;
    let mut wrong = Vec::new();
    for (kind, text, times, expected, _, _) in TABLE {
        let name = text.repeat(*times);
        let Some(taken) = runtime(kind, &name, &nats, &store).await else {
            continue;
        };
        if taken != *expected {
            wrong.push(format!("{kind} {text:?} * {times}: taken is {taken}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn nats_takes_what_the_table_says() {
    let server = NatsServer::start().await.unwrap();
    let nats = server.connect().await.unwrap();
    store(&nats).await;
    let mut wrong = Vec::new();
    for (kind, text, times, _, expected, _) in TABLE {
        let name = text.repeat(*times);
        // What is no name may well end a connection.
        let nats = server.connect().await.unwrap();
        let taken = tokio::time::timeout(Duration::from_secs(2), async_nats(kind, &name, nats));
        let taken = taken.await.is_ok_and(|taken| taken.is_some());
        if taken != *expected {
            wrong.push(format!("{kind} {text:?} * {times}: taken is {taken}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A handle on a bucket, which is made.
async fn store(nats: &async_nats::Client) -> KvStore<()> {
    let jetstream = jetstream::new(nats.clone());
    let bucket = kv::Config {
        bucket: "names".to_owned(),
        ..kv::Config::default()
    };
    jetstream.create_key_value(bucket).await.unwrap();
    let client = natsmicro::Client::new(nats.clone()).with_jetstream(jetstream);
    NamesClient::new(client).get_kv()
}

/// Whether natsmicro takes the name at run time; `None` for names that only the macro sees.
async fn runtime(
    kind: &str,
    name: &str,
    nats: &async_nats::Client,
    store: &KvStore<()>,
) -> Option<bool> {
    let service = NamesServer::new(Nameless);
    let service = match kind {
        "service" => service.with_name(name),
        "version" => service.with_version(name),
        "prefix" => {
            let client = NamesClient::new(nats.clone()).with_subject_prefix(name);
            let called = client.get().await;
            let refused = called.is_err_and(|status| status.code() == &Code::InvalidArgument);
            let started = start(service.with_subject_prefix(name), nats).await;
            assert_eq!(!refused, started, "server and client differ over {name:?}");
            return Some(started);
        }
        "key" => {
            let key = name.parse::<Key>();
            let owned = Key::try_from(name.to_owned());
            assert_eq!(key, owned, "{name:?}");
            let stored = match store.put(name, &()).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{name:?}");
                    false
                }
            };
            assert_eq!(key.is_ok(), stored, "{name:?}");
            return Some(stored);
        }
        "pattern" => {
            return Some(match store.watch(name).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{name:?}");
                    false
                }
            });
        }
        _ => return None,
    };
    Some(start(service, nats).await)
}

async fn start(service: NamesServer<Nameless>, nats: &async_nats::Client) -> bool {
    let server = natsmicro::Server::new(nats.clone()).add_service(service);
    match server.start().await {
        Ok(running) => {
            running.stop().await.unwrap();
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), &StartErrorKind::InvalidSettings);
            false
        }
    }
}

/// `Some` if async-nats and the server take the name and do with it what it is for.
async fn async_nats(kind: &str, name: &str, nats: async_nats::Client) -> Option<()> {
    match kind {
        "service" => ping(&nats, name, "1.0.0").await,
        "version" => ping(&nats, "names", name).await,
        "prefix" => exchange(&nats, &format!("{name}.get"), None).await,
        "endpoint" => exchange(&nats, &format!("names.{name}"), None).await,
        "queue group" => exchange(&nats, "names.get", Some(name)).await,
        "bucket" => {
            let jetstream = jetstream::new(nats);
            let bucket = kv::Config {
                bucket: name.to_owned(),
                ..kv::Config::default()
            };
            let store = jetstream.create_key_value(bucket).await.ok()?;
            store.put("key", "value".into()).await.ok()?;
            let bucket = object_store::Config {
                bucket: name.to_owned(),
                ..object_store::Config::default()
            };
            jetstream.create_object_store(bucket).await.ok()?;
            Some(())
        }
        "key" => {
            let store = jetstream::new(nats).get_key_value("names").await.ok()?;
            store.put(name, "value".into()).await.ok()?;
            let value = store.get(name).await.ok()??;
            (value == "value").then_some(())
        }
        "pattern" => {
            let store = jetstream::new(nats).get_key_value("names").await.ok()?;
            store.watch(name).await.ok()?;
            Some(())
        }
        _ => panic!("no kind of names is called {kind}"),
    }
}

/// Starts a service of async-nats and asks after it.
async fn ping(nats: &async_nats::Client, name: &str, version: &str) -> Option<()> {
    let service = nats.service_builder().start(name, version).await.ok()?;
    let subject = format!("$SRV.PING.{name}");
    let answer = nats.request(subject, "".into()).await;
    service.stop().await.ok()?;
    answer.ok().map(drop)
}

/// Sends a message to the subject and receives it, but none to another subject.
async fn exchange(nats: &async_nats::Client, subject: &str, group: Option<&str>) -> Option<()> {
    let mut messages = match group {
        Some(group) => nats
            .queue_subscribe(subject.to_owned(), group.to_owned())
            .await
            .ok()?,
        None => nats.subscribe(subject.to_owned()).await.ok()?,
    };
    let other = subject.replace(['*', '>'], "other");
    if other != subject {
        nats.publish(other, "other".into()).await.ok()?;
    }
    nats.publish(subject.to_owned(), "own".into()).await.ok()?;
    nats.flush().await.ok()?;
    let message = messages.next().await?;
    (message.payload == "own").then_some(())
}
