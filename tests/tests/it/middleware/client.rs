//! Layers of a client.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::{Client, Code, Context, RunningServer, Status, Streaming};
use natsmicro_tests::common::{Nats, soon};
use tower::limit::ConcurrencyLimitLayer;

use super::shop::{Audit, Impl, Shop, ShopClient, ShopServer, authenticate, code, order};

/// A server that asks for a token.
async fn guarded() -> (Nats, RunningServer) {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(authenticate));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let server = server.await.unwrap();
    (nats, server)
}

/// Adds the token of the user.
async fn add_token(mut request: Request, next: Next) -> Result<Reply, Status> {
    request.insert_header("authorization", "Bearer ada")?;
    next.run(request).await
}

async fn by_trait<S: Shop>(shop: &S) -> Result<String, Status> {
    shop.whoami(&Context::new()).await
}

#[tokio::test]
async fn a_token_is_added_to_calls_of_all_kinds_and_through_the_trait() {
    let (nats, _server) = guarded().await;
    let client = Client::new(nats.caller.clone()).layer(from_fn(add_token));
    let client = ShopClient::new(client);
    assert_eq!(soon(client.whoami()).await.unwrap(), "ada");
    assert_eq!(soon(by_trait(&client)).await.unwrap(), "ada");
    let mut stream = soon(client.whoami_stream()).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap().unwrap(), "ada");
    let orders = || Streaming::iter([order("1"), order("2")]);
    assert_eq!(soon(client.collect(orders())).await.unwrap().id, "2");
    let traded = soon(client.trade(orders())).await.unwrap();
    let traded: Vec<_> = soon(traded.collect::<Vec<_>>()).await;
    assert_eq!(traded.len(), 2);
    let response = soon(client.trade(orders()).response()).await.unwrap();
    assert_eq!(response.into_inner().collect::<Vec<_>>().await.len(), 2);
    let followed = soon(client.follow(order("1")).response()).await.unwrap();
    let header = followed.headers().get("X-Handler").unwrap();
    assert_eq!(header.as_str(), "yes");

    let without = ShopClient::new(nats.caller.clone());
    let refused = soon(by_trait(&without)).await.unwrap_err();
    assert_eq!(refused.code(), &Code::Unauthenticated);
}

#[tokio::test]
async fn a_layer_sees_the_call_on_whose_behalf_one_is_made() {
    let (nats, _server) = guarded().await;
    let hand_on = from_fn(|mut request: Request, next: Next| async move {
        let token = request.context().and_then(|cx| cx.header("authorization"));
        if let Some(token) = token.map(str::to_owned) {
            request.insert_header("authorization", &token)?;
        }
        next.run(request).await
    });
    let client = ShopClient::new(Client::new(nats.caller.clone()).layer(hand_on));
    let cx = Context::new().with_header("authorization", "Bearer eve");
    let cx = cx.unwrap().with_timeout(Duration::from_secs(5));
    let eve = client.whoami().with_context(&cx);
    assert_eq!(soon(eve).await.unwrap(), "eve");
    assert_eq!(soon(Shop::whoami(&client, &cx)).await.unwrap(), "eve");
}

#[tokio::test]
async fn a_failure_of_the_client_itself_is_seen() {
    let nats = Nats::start().await;
    let audit = Audit::default();
    let client = Client::new(nats.caller.clone()).layer(audit.layer());
    let client = ShopClient::new(client);
    let nobody = soon(client.order(order("1"))).await;
    assert_eq!(code(&nobody), "UNAVAILABLE");
    assert_eq!(audit.next().await, ("order", "UNAVAILABLE".to_owned()));
    let _peer = nats.peer("shop.>").await;
    let late = client.order(order("1"));
    let late = soon(late.with_timeout(Duration::from_millis(50))).await;
    assert_eq!(code(&late), "DEADLINE_EXCEEDED");
    let seen = ("order", "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(audit.next().await, seen);
    let late = client.follow(order("1"));
    let late = soon(late.with_timeout(Duration::from_millis(50))).await;
    assert_eq!(code(&late), "DEADLINE_EXCEEDED");
    let seen = ("follow", "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(audit.next().await, seen);
}

/// The thread that runs streams is busy while their timeouts pass; the one that waits for the calls is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_timeout_is_seen_however_late_the_call_is_polled() {
    let nats = Nats::start().await;
    let _peer = nats.peer("shop.>").await;
    let audit = Audit::default();
    let client = Client::new(nats.caller.clone()).layer(audit.layer());
    let client = ShopClient::new(client);
    let hog = tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let timeout = Duration::from_millis(50);
    let orders = || Streaming::iter([order("1")]);
    for _ in 0..5 {
        let late = soon(client.order(order("1")).with_timeout(timeout)).await;
        assert_eq!(code(&late), "DEADLINE_EXCEEDED");
        let late = soon(client.follow(order("1")).with_timeout(timeout)).await;
        assert_eq!(code(&late), "DEADLINE_EXCEEDED");
        let late = soon(client.collect(orders()).with_timeout(timeout)).await;
        assert_eq!(code(&late), "DEADLINE_EXCEEDED");
        let late = client.trade(orders()).with_timeout(timeout);
        assert_eq!(code(&soon(late.response()).await), "DEADLINE_EXCEEDED");
        for method in ["order", "follow", "collect", "trade"] {
            let seen = (method, "DEADLINE_EXCEEDED".to_owned());
            assert_eq!(audit.next().await, seen);
        }
    }
    hog.abort();
}

#[tokio::test]
async fn a_response_that_cannot_be_decoded_is_seen() {
    let nats = Nats::start().await;
    let mut peer = nats.peer("shop.order").await;
    let service = nats.service.clone();
    tokio::spawn(async move {
        while let Some(request) = peer.next().await {
            let reply = request.reply.unwrap();
            service.publish(reply, "no json".into()).await.unwrap();
        }
    });
    let audit = Audit::default();
    let client = Client::new(nats.caller.clone()).layer(audit.layer());
    let broken = soon(ShopClient::new(client).order(order("1"))).await;
    assert_eq!(code(&broken), "INTERNAL");
    assert_eq!(audit.next().await, ("order", "INTERNAL".to_owned()));
}

#[tokio::test]
async fn a_layer_that_hangs_is_cut_off_at_the_timeout() {
    let (nats, _server) = guarded().await;
    let hang = from_fn(|_: Request, _: Next| std::future::pending());
    let client = ShopClient::new(Client::new(nats.caller.clone()).layer(hang));
    let since = Instant::now();
    let hangs = client.whoami().with_timeout(Duration::from_millis(50));
    let hangs = soon(hangs).await.unwrap_err();
    assert_eq!(hangs.code(), &Code::DeadlineExceeded);
    let stream = client.whoami_stream();
    let hangs = stream.with_timeout(Duration::from_millis(50));
    let hangs = soon(hangs).await.unwrap_err();
    assert_eq!(hangs.code(), &Code::DeadlineExceeded);
    assert!(since.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn time_in_a_layer_is_time_of_the_call() {
    let (nats, _server) = guarded().await;
    let slow = from_fn(|mut request: Request, next: Next| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        request.insert_header("authorization", "Bearer ada")?;
        next.run(request).await
    });
    let client = ShopClient::new(Client::new(nats.caller.clone()).layer(slow));
    let whoami = client.whoami().with_timeout(Duration::from_millis(100));
    let late = soon(whoami).await.unwrap_err();
    assert_eq!(late.code(), &Code::DeadlineExceeded);
    soon(client.whoami()).await.unwrap();
}

#[tokio::test]
async fn clients_of_one_share_a_limit_and_earlier_ones_have_none() {
    let (nats, _server) = guarded().await;
    let plain = Client::new(nats.caller.clone());
    let before = ShopClient::new(plain.clone());
    let limited = plain.layer(ConcurrencyLimitLayer::new(1));
    let (some, others) = (ShopClient::new(limited.clone()), ShopClient::new(limited));
    let _peer = nats.peer("hang.>").await;
    let hangs = some
        .with_subject_prefix("hang")
        .order(order("1"))
        .with_timeout(Duration::from_secs(60));
    let hangs = tokio::spawn(hangs.into_future());
    let waits = async {
        loop {
            let waits = others.whoami().with_timeout(Duration::from_millis(50));
            if waits.await.unwrap_err().code() == &Code::DeadlineExceeded {
                return;
            }
        }
    };
    soon(waits).await;
    let nobody = soon(before.whoami()).await.unwrap_err();
    assert_eq!(nobody.code(), &Code::Unauthenticated);
    hangs.abort();
    let _ = hangs.await;
    let nobody = soon(others.whoami()).await.unwrap_err();
    assert_eq!(nobody.code(), &Code::Unauthenticated);
}

#[tokio::test]
async fn a_layer_sends_a_request_again() {
    let (nats, _server) = guarded().await;
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    // Asks for a token when the service wants one.
    let log_in = from_fn(move |request: Request, next: Next| {
        let seen = Arc::clone(&seen);
        async move {
            let again = request.try_clone();
            let reply = next.clone().run(request).await;
            match (reply, again) {
                (Err(status), Some(mut again)) if status.code() == &Code::Unauthenticated => {
                    seen.lock().unwrap().push(again.method());
                    again.insert_header("authorization", "Bearer new")?;
                    next.run(again).await
                }
                (reply, _) => reply,
            }
        }
    });
    let client = ShopClient::new(Client::new(nats.caller.clone()).layer(log_in));
    assert_eq!(soon(client.whoami()).await.unwrap(), "new");
    let mut stream = soon(client.whoami_stream()).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap().unwrap(), "new");
    assert_eq!(*log.lock().unwrap(), ["whoami", "whoami_stream"]);
}
