//! Calls that look into the store first, many at the same time.

use std::time::Duration;

use futures::future::{join, join_all};
use natsmicro::Code;
use natsmicro_tests::cached::{Running, called, stored};
use natsmicro_tests::persistence::{Save, TestResult};

#[tokio::test]
async fn one_call_for_all() -> TestResult {
    let running = Running::start().await;
    let clone = running.client.clone();
    // All of them are on their way before the one that answers is reached.
    let calls = (0..20).map(|n| {
        let client = if n % 2 == 0 { &running.client } else { &clone };
        let request = Save {
            n,
            ..Save::new("a", "wait")
        };
        client.price_cached(request).into_future()
    });
    let (found, ()) = join(join_all(calls), running.open_for(1)).await;
    for found in found {
        assert_eq!(called(&found?), 1);
    }
    // None is left behind.
    assert_eq!(stored(&running.slow().await?).0, 1);
    Ok(())
}

/// What the client asks of JetStream goes through a peer that counts it.
#[tokio::test]
async fn one_look_for_all() -> TestResult {
    use async_nats::jetstream;
    use futures::StreamExt;

    let running = Running::start().await;
    let nats = running.nats.server.connect().await?;
    running.client.price_cached(Save::new("a", "")).await?;
    let mut asked = nats.subscribe("COUNTED.>").await?;
    nats.flush().await?;
    let forward = running.nats.server.connect().await?;
    let counted = tokio::spawn(async move {
        let mut subjects = Vec::new();
        while let Some(message) = asked.next().await {
            let subject = message.subject.as_str().replacen("COUNTED", "$JS.API", 1);
            let reply = message.reply.unwrap();
            if subject == "$JS.API.END" {
                return subjects;
            }
            let payload = message.payload;
            forward
                .publish_with_reply(subject.clone(), reply, payload)
                .await
                .unwrap();
            subjects.push(subject);
        }
        subjects
    });
    let caller = running.nats.server.connect().await?;
    let jetstream = jetstream::with_prefix(caller.clone(), "COUNTED");
    let client = natsmicro::Client::new(caller.clone()).with_jetstream(jetstream);
    let client = natsmicro_tests::cached::PricesClient::new(client);
    let calls = (0..20).map(|_| client.price_cached(Save::new("a", "")).into_future());
    for found in join_all(calls).await {
        assert_eq!(stored(&found?).0, 1);
    }
    caller
        .publish_with_reply("COUNTED.END", "x", "".into())
        .await?;
    let subjects = counted.await?;
    let looks = subjects.iter().filter(|subject| subject.contains(".GET."));
    assert_eq!(looks.count(), 1, "{subjects:?}");
    Ok(())
}

#[tokio::test]
async fn an_error_is_shared_and_not_kept() -> TestResult {
    let running = Running::start().await;
    let fail = || running.client.price_cached(Save::new("a", "fail"));
    let calls = (0..10).map(|_| fail().into_future());
    for result in join_all(calls).await {
        let error = result.unwrap_err();
        assert_eq!(error.code(), &Code::FailedPrecondition);
        assert_eq!(error.message(), "as asked");
    }
    assert_eq!(running.service.calls(), 1);
    fail().await.unwrap_err();
    assert_eq!(running.service.calls(), 2);
    called(&running.client.price_cached(Save::new("a", "")).await?);
    Ok(())
}

#[tokio::test]
async fn the_first_is_dropped_or_panics() -> TestResult {
    let running = Running::start().await;
    let aborted = tokio::spawn(running.slow().into_future());
    running.service.gate.reached_by(1).await;
    let panics = tokio::spawn({
        let call = running.slow().into_future();
        async move {
            tokio::select! {
                biased;
                _ = call => {}
                () = std::future::ready(()) => panic!("as planned"),
            }
        }
    });
    // Polled once by `join_all`, then they wait with the others.
    let rest = join_all((0..5).map(|_| running.slow().into_future()));
    let end = async {
        assert!(panics.await.unwrap_err().is_panic());
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        running.service.gate.open();
    };
    let (rest, ()) = join(rest, end).await;
    for found in rest {
        assert_eq!(called(&found?), 1);
    }
    assert_eq!(running.service.calls(), 1);
    Ok(())
}

/// A call that nobody waits for any more is over, and not joined.
#[tokio::test]
async fn all_are_dropped() -> TestResult {
    let running = Running::start().await;
    let dropped = [
        tokio::spawn(running.slow().into_future()),
        tokio::spawn(running.slow().into_future()),
    ];
    running.service.gate.reached_by(1).await;
    for call in dropped {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    let (found, ()) = join(running.slow().into_future(), running.open_for(2)).await;
    assert_eq!(called(&found?), 2);
    Ok(())
}

/// An answer that somebody has not yet taken is not given to those who ask later.
#[tokio::test]
async fn what_is_over_is_not_joined() -> TestResult {
    let running = Running::start().await;
    let ask = || {
        let call = running.client.price_cached(Save::new("a", ""));
        call.with_max_age(Duration::ZERO).into_future()
    };
    let mut idle = ask();
    assert!(futures::poll!(&mut idle).is_pending());
    assert_eq!(called(&ask().await?), 1);
    assert_eq!(called(&ask().await?), 2);
    assert_eq!(called(&idle.await?), 1);
    Ok(())
}

#[tokio::test]
async fn an_older_entry_is_not_for_those_who_want_a_younger_one() -> TestResult {
    let running = Running::start().await;
    let ask = || running.client.price_cached(Save::new("a", ""));
    assert_eq!(called(&ask().await?), 1);
    let young = Duration::from_nanos(1);
    let (any, strict) = join(ask().into_future(), ask().with_max_age(young).into_future()).await;
    assert_eq!((stored(&any?).0, called(&strict?)), (1, 2));
    // The other way round, one is enough for both.
    let (strict, any) = join(ask().with_max_age(young).into_future(), ask().into_future()).await;
    assert_eq!((called(&strict?), called(&any?)), (3, 3));
    Ok(())
}

#[tokio::test]
async fn headers_make_another_call() -> TestResult {
    let running = Running::start().await;
    let (en, fr) = ("en", "fr");
    let calls = [en, fr, en].map(|language| {
        let call = running.slow().with_header("Accept-Language", language);
        call.into_future()
    });
    let (found, ()) = join(join_all(calls), running.open_for(2)).await;
    let texts: Vec<_> = found
        .into_iter()
        .map(|found| found.unwrap().value.text)
        .collect();
    assert_eq!(texts, [en, fr, en]);
    assert_eq!(running.service.calls(), 2);
    Ok(())
}

/// With another prefix, other instances are called. Neither may take what the other one stores.
#[tokio::test]
async fn prefixes_make_another_call() -> TestResult {
    let running = Running::start().await;
    let nowhere = running.client.clone().with_subject_prefix("nowhere");
    let request = Save::new("a", "wait");
    let here = running.slow().with_max_age(Duration::ZERO);
    let there = nowhere.price_cached(request).with_max_age(Duration::ZERO);
    let calls = join(here.into_future(), there.into_future());
    let ((here, there), ()) = join(calls, running.open_for(1)).await;
    assert_eq!(called(&here?), 1);
    assert_eq!(there.unwrap_err().code(), &Code::Unavailable);
    Ok(())
}

#[tokio::test]
async fn everybody_waits_for_as_long_as_he_wants() -> TestResult {
    let running = Running::start().await;
    // The shorter ones begin, and do not take the longer one along.
    let brief = Duration::from_millis(50);
    let calls = [brief, brief, Duration::from_secs(30)].map(|timeout| {
        let call = running.slow().with_timeout(timeout);
        tokio::spawn(call.into_future())
    });
    let [first, second, patient] = calls;
    for call in [first, second] {
        let error = call.await?.unwrap_err();
        assert_eq!(error.code(), &Code::DeadlineExceeded);
        assert!(error.message().contains("50ms"), "{error}");
    }
    running.service.gate.open();
    called(&patient.await??);

    let none = running.slow().with_timeout(Duration::ZERO).await;
    assert_eq!(none.unwrap_err().code(), &Code::DeadlineExceeded);
    Ok(())
}

/// Who has joined another's call has time left when that one's is over, and makes a call of its own.
#[tokio::test]
async fn the_time_of_the_first_is_over() -> TestResult {
    let running = Running::start().await;
    let ask = || {
        let call = running.client.price_cached(Save::new("a", "hang first"));
        call.with_timeout(Duration::from_secs(3))
    };
    let later = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        ask().await
    };
    let (first, second) = join(ask().into_future(), later).await;
    assert_eq!(first.unwrap_err().code(), &Code::DeadlineExceeded);
    assert_eq!(called(&second?), 2);
    Ok(())
}

/// Two objects of one name, and as many readers as there is room for.
#[tokio::test]
async fn objects_are_shared_too() -> TestResult {
    let running = Running::start().await;
    let ask = || running.client.report_cached(Save::new("a", "wait"));
    let calls = join_all((0..10).map(|_| ask().into_future()));
    let (found, ()) = join(calls, running.open_for(1)).await;
    for found in found {
        assert_eq!(called(&found?), 1);
    }
    assert_eq!(stored(&ask().await?).0, 1);
    Ok(())
}
