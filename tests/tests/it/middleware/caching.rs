//! Layers around cached calls.

use std::sync::{Arc, Mutex};

use futures::future::{join, join_all};
use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::{Client, Context, Status};
use natsmicro_tests::cached::{PricesClient, Running, called, stored};
use natsmicro_tests::common::soon;
use natsmicro_tests::persistence::{Save, TestResult};

/// What a layer has seen of a cached call: its method, and where the response came from.
type Seen = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A client with a layer that adds headers, and records.
fn layered(running: &Running, seen: &Seen) -> PricesClient {
    let seen = Arc::clone(seen);
    let layer = from_fn(move |mut request: Request, next: Next| {
        let seen = Arc::clone(&seen);
        async move {
            let method = request.method();
            request.insert_header("authorization", "Bearer ada")?;
            let reply = next.run(request).await;
            let origin = match &reply {
                Ok(reply) => format!("{:?}", reply.origin()),
                Err(status) => status.to_string(),
            };
            let origin = origin.split([' ', '{']).next().unwrap().to_owned();
            seen.lock().unwrap().push((method, origin));
            reply
        }
    });
    PricesClient::new(running.nats.client().layer(layer))
}

#[tokio::test]
async fn a_layer_sees_where_a_response_came_from() -> TestResult {
    let running = Running::start().await;
    let seen = Seen::default();
    let client = layered(&running, &seen);
    let first = soon(client.price_cached(Save::new("a", ""))).await?;
    assert_eq!(called(&first), 1);
    let again = soon(client.price_cached(Save::new("a", ""))).await?;
    assert_eq!(stored(&again).0, 1);
    soon(client.price_cached(Save::new("b", "fail")))
        .await
        .unwrap_err();
    // A call that looks into no store has no origin.
    soon(client.price(Save::new("c", ""))).await?;
    let origins: Vec<_> = seen.lock().unwrap().drain(..).collect();
    assert_eq!(origins.len(), 4);
    assert_eq!(origins[0], ("price", "Some(Service)".to_owned()));
    assert_eq!(origins[1], ("price", "Some(Store".to_owned()));
    assert!(origins[2].1.ends_with(':'), "a code: {origins:?}");
    assert_eq!(origins[3], ("price", "None".to_owned()));
    Ok(())
}

#[tokio::test]
async fn calls_share_one_whatever_they_are_traced_as() -> TestResult {
    let running = Running::start().await;
    let seen = Seen::default();
    let client = layered(&running, &seen);
    let calls = (0..10).map(|n| {
        let cx = Context::new()
            .with_header("traceparent", &format!("00-{n:032x}-{n:016x}-01"))
            .and_then(|cx| cx.with_header("tracestate", &format!("n={n}")))
            .unwrap();
        let call = client.price_cached(Save::new("a", "wait"));
        let call = if n % 2 == 0 {
            call.with_context(&cx)
        } else {
            call.with_header("traceparent", format!("{n}"))
        };
        call.with_header("baggage", format!("n={n}")).into_future()
    });
    let (found, ()) = soon(join(join_all(calls), running.open_for(1))).await;
    for found in found {
        assert_eq!(called(&found?), 1);
    }
    assert_eq!(running.service.calls(), 1);
    assert_eq!(seen.lock().unwrap().len(), 10);
    Ok(())
}

#[tokio::test]
async fn a_layer_decides_which_calls_share_one() -> TestResult {
    let running = Running::start().await;
    // Each call has another token.
    let tokens = Arc::new(Mutex::new(0));
    let layer = from_fn(move |mut request: Request, next: Next| {
        let tokens = Arc::clone(&tokens);
        async move {
            let token = {
                let mut tokens = tokens.lock().unwrap();
                *tokens += 1;
                tokens.to_string()
            };
            request.insert_header("authorization", &token)?;
            next.run(request).await
        }
    });
    let client = PricesClient::new(running.nats.client().layer(layer));
    let calls = (0..3).map(|_| {
        let call = client.price_cached(Save::new("a", "wait"));
        call.into_future()
    });
    let (found, ()) = soon(join(join_all(calls), running.open_for(3))).await;
    for found in found {
        called(&found?);
    }
    assert_eq!(running.service.calls(), 3);
    Ok(())
}

#[tokio::test]
async fn a_layer_refuses_before_the_store_is_read() -> TestResult {
    let running = Running::start().await;
    soon(running.client.price_cached(Save::new("a", ""))).await?;
    let closed = from_fn(|_: Request, _: Next| async {
        Err::<Reply, _>(Status::permission_denied("not today"))
    });
    let client: Client = running.nats.client().layer(closed);
    let refused = soon(PricesClient::new(client).price_cached(Save::new("a", "")));
    assert_eq!(
        refused.await.unwrap_err(),
        Status::permission_denied("not today")
    );
    Ok(())
}
