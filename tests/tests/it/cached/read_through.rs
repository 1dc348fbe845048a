//! Calls that look into the store first: what comes from where.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::{kv, object_store};
use futures::StreamExt;
use natsmicro::store::{Operation, WatchEvent};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Code, Context, Origin, Server, Status};
use natsmicro_tests::cached::{PricesClient, Running, called, stored};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

#[natsmicro::service]
trait Plain {
    #[kv_store(bucket = "plain", key = "<key>")]
    async fn echo(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Plain for Echo {
    async fn echo(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

fn ask(key: &str) -> Save {
    Save::new(key, "")
}

#[tokio::test]
async fn a_miss_and_then_hits() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    assert_eq!(called(&client.price_cached(ask("a")).await?), 1);
    let found = client.price_cached(ask("a")).await?;
    let entry = client.price_kv().entry("price.a").await?.unwrap();
    assert_eq!(stored(&found), (1, entry.revision));
    let Origin::Store { created, age, .. } = found.origin else {
        panic!("{found:?}")
    };
    assert_eq!(created, entry.created);
    assert!(SystemTime::now() >= created + age);
    assert_eq!(found.key, "a"); // the fields of the response

    // Another key, another entry; and what was written by hand is an entry too.
    assert_eq!(called(&client.price_cached(ask("b")).await?), 2);
    let by_hand = Save::number("c", 77).saved();
    let revision = client.put_price_to_kv("price.c", &by_hand).await?;
    assert_eq!(
        stored(&client.price_cached(ask("c")).await?),
        (77, revision)
    );
    // A clone, and a client of its own.
    assert_eq!(stored(&client.clone().price_cached(ask("a")).await?).0, 1);
    let other = PricesClient::new(running.nats.client());
    assert_eq!(stored(&other.price_cached(ask("a")).await?).0, 1);
    assert_eq!(running.service.calls(), 2);
    Ok(())
}

#[tokio::test]
async fn of_every_kind_of_store() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    assert_eq!(called(&client.report_cached(ask("a")).await?), 1);
    let (n, revision) = stored(&client.report_cached(ask("a")).await?);
    let info = client.report_object_store().info("report.a").await?;
    assert_eq!((n, revision), (1, info.unwrap().revision));

    // Of both stores it is the bucket that counts: a deletion there is one although the object is still there.
    assert_eq!(called(&client.both_cached(ask("b")).await?), 2);
    let entry = client.both_kv().entry("b").await?.unwrap();
    assert_eq!(
        stored(&client.both_cached(ask("b")).await?),
        (2, entry.revision)
    );
    client.both_kv().delete("b").await?;
    assert_eq!(called(&client.both_cached(ask("b")).await?), 3);

    assert_eq!(called(&client.split_cached(Save::new("c", "x")).await?), 4);
    let info = client.split_object_store().info("c").await?.unwrap();
    let found = client.split_cached(Save::new("c", "y")).await?;
    assert_eq!(stored(&found), (4, info.revision));

    assert_eq!(called(&client.today_cached().await?), 5);
    assert_eq!(stored(&client.today_cached().await?).0, 5);
    Ok(())
}

#[tokio::test]
async fn what_is_gone_is_asked_for_again() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    let store = client.price_kv();
    assert_eq!(called(&client.price_cached(ask("a")).await?), 1);
    store.delete("price.a").await?;
    assert_eq!(called(&client.price_cached(ask("a")).await?), 2);
    store.purge("price.a").await?;
    assert_eq!(called(&client.price_cached(ask("a")).await?), 3);
    client.withdraw(ask("a")).await?; // a `#[kv_delete]`
    assert_eq!(called(&client.price_cached(ask("a")).await?), 4);
    assert_eq!(stored(&client.price_cached(ask("a")).await?).0, 4);

    // One that expires: the marker says when.
    let mut watch = store.watch("price.b").with_updates_only().await?;
    let brief = store.clone().with_key_ttl(Duration::from_secs(1));
    brief.put("price.b", &ask("b").saved()).await?;
    assert_eq!(stored(&client.price_cached(ask("b")).await?).0, 0);
    loop {
        let event = watch.next().await.unwrap()?;
        if matches!(&event, WatchEvent::Entry(entry) if entry.operation == Operation::Purge) {
            break;
        }
    }
    assert_eq!(called(&client.price_cached(ask("b")).await?), 5);

    client.report_cached(ask("c")).await?;
    client.report_object_store().delete("report.c").await?;
    assert_eq!(called(&client.report_cached(ask("c")).await?), 7);
    Ok(())
}

#[tokio::test]
async fn what_is_too_old_is_asked_for_again() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    let (brief, long) = (Duration::from_nanos(1), Duration::from_secs(3600));
    client.price_cached(ask("a")).await?;
    client.report_cached(ask("a")).await?;
    let found = client.price_cached(ask("a")).with_max_age(long).await?;
    assert_eq!(stored(&found).0, 1);
    let found = client.report_cached(ask("a")).with_max_age(long).await?;
    assert_eq!(stored(&found).0, 2);
    let found = client.price_cached(ask("a")).with_max_age(brief).await?;
    assert_eq!(called(&found), 3);
    let found = client.report_cached(ask("a")).with_max_age(brief).await?;
    assert_eq!(called(&found), 4);
    let none = Duration::ZERO;
    let found = client.price_cached(ask("a")).with_max_age(none).await?;
    assert_eq!(called(&found), 5);
    // The service has stored what it answered.
    assert_eq!(stored(&client.price_cached(ask("a")).await?).0, 5);
    assert_eq!(stored(&client.report_cached(ask("a")).await?).0, 4);
    Ok(())
}

/// Such a response is in the object store before the caller hears of it.
#[tokio::test]
async fn responses_larger_than_a_reply() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    let large = || client.report_cached(Save::new("a", "large"));
    let found = large().await?;
    assert_eq!((called(&found), found.text.len()), (1, 2 << 20));
    let found = large().await?;
    assert_eq!((stored(&found).0, found.text.len()), (1, 2 << 20));
    Ok(())
}

/// By default the service stores behind its reply.
#[tokio::test]
async fn behind_the_reply() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    assert_eq!(called(&client.behind_cached(ask("a")).await?), 1);
    eventually("the response is in the store", async || {
        let found = client.behind_cached(ask("a")).await.unwrap();
        (found.origin != Origin::Service).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_store_that_the_client_fills() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    // There is no bucket yet, and it is not the client's to make.
    assert_eq!(called(&client.quote_cached(ask("a")).await?), 1);
    assert_eq!(called(&client.draft_cached(ask("a")).await?), 2);
    let js = &running.nats.js;
    let quotes = kv::Config {
        bucket: "quotes".to_owned(),
        ..kv::Config::default()
    };
    js.create_key_value(quotes).await?;
    let drafts = object_store::Config {
        bucket: "drafts".to_owned(),
        ..Default::default()
    };
    js.create_object_store(drafts).await?;

    assert_eq!(called(&client.quote_cached(ask("a")).await?), 3);
    let filled = eventually("the response is in the bucket", async || {
        client.get_quote_from_kv("a").await.unwrap()
    })
    .await;
    assert_eq!(filled.n, 3);
    assert_eq!(stored(&client.quote_cached(ask("a")).await?).0, 3);

    assert_eq!(called(&client.draft_cached(ask("a")).await?), 4);
    let filled = eventually("the response is in the object store", async || {
        client.get_draft_from_object_store("a").await.unwrap()
    })
    .await;
    assert_eq!(filled.n, 4);
    assert_eq!(stored(&client.draft_cached(ask("a")).await?).0, 4);

    // Also over an entry that is too old, or is gone.
    let none = Duration::ZERO;
    let found = client.quote_cached(ask("a")).with_max_age(none).await?;
    assert_eq!(called(&found), 5);
    let is_there = async |n: u64| {
        let entry = client.get_quote_from_kv("a").await.unwrap();
        entry.filter(|quote| quote.n == n).map(drop)
    };
    eventually("the newer response is there", || is_there(5)).await;
    client.quote_kv().delete("a").await?;
    assert_eq!(called(&client.quote_cached(ask("a")).await?), 6);
    eventually("the response is there again", || is_there(6)).await;
    Ok(())
}

/// What others do to the key while the service answers is newer than its answer.
#[tokio::test]
async fn a_response_is_not_stored_over_something_newer() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    let quotes = kv::Config {
        bucket: "quotes".to_owned(),
        history: 10,
        ..kv::Config::default()
    };
    running.nats.js.create_key_value(quotes).await?;
    let store = client.quote_kv();
    store.put("deleted", &ask("").saved()).await?;
    let none = Duration::ZERO;
    let slow = |key: &str| {
        let call = client.quote_cached(Save::new(key, "wait"));
        tokio::spawn(call.with_max_age(none).into_future())
    };
    let calls = [slow("written"), slow("deleted")];
    running.service.gate.reached_by(2).await;
    let newer = store.put("written", &Save::number("", 99).saved()).await?;
    store.delete("deleted").await?;
    running.service.gate.open();
    for call in calls {
        called(&call.await??);
    }
    // The client stores one more response; those before were refused by then, since they go the same way.
    client.quote_cached(ask("after")).await?;
    eventually("the next response is there", async || {
        client.get_quote_from_kv("after").await.unwrap()
    })
    .await;
    assert_eq!(store.entry("written").await?.unwrap().revision, newer);
    assert_eq!(store.get("deleted").await?, None);
    Ok(())
}

#[tokio::test]
async fn the_store_answers_without_a_service() -> TestResult {
    let Running {
        nats,
        server,
        client,
        ..
    } = Running::start().await;
    client.price_cached(ask("a")).await?;
    server.stop().await?;
    assert_eq!(stored(&client.price_cached(ask("a")).await?).0, 1);
    let error = client.price_cached(ask("b")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);

    // Nor does it take the connection of then.
    nats.server.restart().await?;
    assert_eq!(stored(&client.price_cached(ask("a")).await?).0, 1);
    Ok(())
}

#[tokio::test]
async fn the_service_answers_without_a_store() -> TestResult {
    let nats = NatsServer::builder().jetstream(false).start().await?;
    let nats = Nats::of(nats).await;
    let _server = Server::new(nats.server.connect().await?)
        .add_service(PlainServer::new(Echo))
        .start()
        .await?;
    let client = PlainClient::new(nats.client());
    for n in [1, 2] {
        let found = client.echo_cached(Save::number("a", n)).await?;
        assert_eq!(called(&found), n);
    }
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_deleted() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    client.behind_cached(ask("a")).await?;
    let drafts = object_store::Config {
        bucket: "drafts".to_owned(),
        ..Default::default()
    };
    running.nats.js.create_object_store(drafts).await?;
    let draft = ask("a").saved();
    client.put_draft_to_object_store("a", &draft).await?;
    assert_eq!(stored(&client.draft_cached(ask("a")).await?).0, 0);
    client.behind_kv().delete_bucket().await?;
    client.draft_object_store().delete_bucket().await?;
    assert_eq!(called(&client.behind_cached(ask("a")).await?), 2);
    assert_eq!(called(&client.behind_cached(ask("a")).await?), 3);
    assert_eq!(called(&client.draft_cached(ask("a")).await?), 4);
    Ok(())
}

#[tokio::test]
async fn an_entry_that_is_no_response() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    let prices = running.nats.bucket("prices").await;
    prices.put("price.a", "\u{1}\u{2}\u{3}".into()).await?;
    assert_eq!(called(&client.price_cached(ask("a")).await?), 1);
    // The service has replaced it.
    assert_eq!(stored(&client.price_cached(ask("a")).await?).0, 1);
    let reports = running.nats.js.get_object_store("reports").await?;
    reports.put("report.a", &mut &b"\x01\x02\x03"[..]).await?;
    assert_eq!(called(&client.report_cached(ask("a")).await?), 2);
    assert_eq!(stored(&client.report_cached(ask("a")).await?).0, 2);
    Ok(())
}

/// A store that does not answer costs half of the time, not the call.
#[tokio::test]
async fn a_store_that_does_not_answer() -> TestResult {
    let running = Running::start().await;
    let nats = running.nats.server.connect().await?;
    let _silent = nats.subscribe("SILENT.>").await?;
    nats.flush().await?;
    let jetstream = async_nats::jetstream::with_prefix(nats.clone(), "SILENT");
    let client = PricesClient::new(Client::new(nats).with_jetstream(jetstream));
    let call = client
        .price_cached(ask("a"))
        .with_timeout(Duration::from_secs(4));
    assert_eq!(called(&call.await?), 1);
    Ok(())
}

#[tokio::test]
async fn a_client_without_jetstream() -> TestResult {
    let running = Running::start().await;
    let client = PricesClient::new(running.nats.nats.clone());
    for error in [
        client.price_cached(ask("a")).await.unwrap_err(),
        client.report_cached(ask("a")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), &Code::FailedPrecondition);
        assert!(error.message().contains("with_jetstream"), "{error}");
    }
    assert_eq!(running.service.calls(), 0);
    Ok(())
}

#[tokio::test]
async fn requests_that_make_no_key() -> TestResult {
    let running = Running::start().await;
    for key in ["", "a.b", "*", ">", "a b", "a\r\nb", "é"] {
        for error in [
            running.client.price_cached(ask(key)).await.unwrap_err(),
            running.client.report_cached(ask(key)).await.unwrap_err(),
        ] {
            assert_eq!(error.code(), &Code::InvalidArgument, "{key:?}");
            assert!(error.message().contains("`key`"), "{error}");
        }
    }
    assert_eq!(running.service.calls(), 0);
    Ok(())
}

#[tokio::test]
async fn headers_and_contexts() -> TestResult {
    let running = Running::start().await;
    let client = &running.client;
    let call = client.price_cached(ask("a"));
    let found = call.with_header("Accept-Language", "en").await?;
    assert_eq!(found.text, "en");
    let call = client.price_cached(ask("a"));
    let error = call.with_header("Nats-Service-Error", "x").await;
    assert_eq!(error.unwrap_err().code(), &Code::InvalidArgument);

    let cx = Context::new().with_header("traceparent", "00-1-2-01")?;
    let found = client.price_cached(ask("b")).with_context(&cx).await?;
    assert_eq!(found.text, "00-1-2-01");
    let over = Context::new().with_timeout(Duration::ZERO);
    let error = client.price_cached(ask("b")).with_context(&over).await;
    assert_eq!(error.unwrap_err().code(), &Code::DeadlineExceeded);
    // The service is not told of deadlines: it would have said so.
    let call = client.price_cached(ask("c"));
    called(&call.with_timeout(Duration::from_secs(60)).await?);
    Ok(())
}
