//! Layers of a server and of its services.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use futures::StreamExt;
use natsmicro::middleware::{CallLayer, MethodKind, Next, Reply, Request, from_fn};
use natsmicro::{Client, Code, Status, Streaming};
use natsmicro_tests::common::{Nats, error_of, soon};

use super::shop::{Impl, OrderError, ShopClient, ShopServer, authenticate, code, order};

#[tokio::test]
async fn an_extension_reaches_the_handler_and_its_stream() {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(authenticate));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let _server = server.await.unwrap();
    let client = ShopClient::new(nats.caller.clone());

    let ada = client.whoami().with_header("authorization", "Bearer ada");
    assert_eq!(soon(ada).await.unwrap(), "ada");
    let bob = client
        .whoami_stream()
        .with_header("authorization", "Bearer bob");
    let mut bob = soon(bob).await.unwrap();
    assert_eq!(soon(bob.next()).await.unwrap().unwrap(), "bob");

    let nobody = soon(client.whoami()).await.unwrap_err();
    assert_eq!(nobody, Status::unauthenticated("no token"));
    let nobody = soon(client.whoami_stream()).await.unwrap_err();
    assert_eq!(nobody, Status::unauthenticated("no token"));
}

#[tokio::test]
async fn a_stream_is_refused_before_its_handshake() {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(authenticate));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let server = server.await.unwrap();
    let client = ShopClient::new(nats.caller.clone());
    let taken = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&taken);
    let orders = std::iter::repeat_with(move || {
        *counted.lock().unwrap() += 1;
        order("fine")
    });
    let refused = soon(client.trade(Streaming::iter(orders))).await;
    assert_eq!(code(&refused), "UNAUTHENTICATED");
    assert_eq!(*taken.lock().unwrap(), 0, "requests were sent");

    // What a plain caller gets is the end of the stream, and no handshake before it.
    let inbox = nats.caller.new_inbox();
    let mut messages = nats.caller.subscribe(inbox.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Reply-To", inbox.as_str());
    let request =
        nats.caller
            .publish_with_reply_and_headers("shop.trade", inbox, headers, "".into());
    request.await.unwrap();
    let first = soon(messages.next()).await.unwrap();
    assert_eq!(error_of(&first).unwrap().0, "UNAUTHENTICATED");

    let stats = server.stats();
    let trade = stats[0].endpoints.iter().find(|it| it.name == "trade");
    assert_eq!(trade.unwrap().num_errors, 2);
}

type Log = Arc<Mutex<Vec<String>>>;

fn logged(log: Log, name: &'static str) -> impl CallLayer {
    from_fn(move |request: Request, next: Next| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(format!("{name} before"));
            let reply = next.run(request).await;
            log.lock().unwrap().push(format!("{name} after"));
            reply
        }
    })
}

#[tokio::test]
async fn the_first_layer_is_the_outermost_and_those_of_the_server_surround_those_of_a_service() {
    let nats = Nats::start().await;
    let log = Log::default();
    let service = ShopServer::new(Impl)
        .layer(logged(Arc::clone(&log), "service 1"))
        .layer(logged(Arc::clone(&log), "service 2"));
    let server = nats
        .persisting()
        .layer(logged(Arc::clone(&log), "server 1"))
        .add_service(service)
        // Around the services that are there already, too.
        .layer(logged(Arc::clone(&log), "server 2"));
    let _server = server.start().await.unwrap();
    let client = ShopClient::new(nats.caller.clone());
    soon(client.order(order("fine"))).await.unwrap();
    let names = ["server 1", "server 2", "service 1", "service 2"];
    let before = names.iter().map(|name| format!("{name} before"));
    let after = names.iter().rev().map(|name| format!("{name} after"));
    let expected: Vec<_> = before.chain(after).collect();
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_request_says_what_it_is() {
    let nats = Nats::start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let layer = from_fn(move |request: Request, next: Next| {
        let record = Arc::clone(&record);
        async move {
            let said = format!(
                "{} {} {:?} {} deadline {} payload {} context {} clone {}",
                request.service(),
                request.method(),
                request.kind(),
                request.subject(),
                request.deadline().is_some(),
                request.payload().len(),
                request.context().is_some(),
                request.try_clone().is_some(),
            );
            record.lock().unwrap().push(said);
            next.run(request).await
        }
    });
    let service = ShopServer::new(Impl)
        .with_name("Store")
        .with_subject_prefix("other");
    let server = nats.persisting().layer(layer).add_service(service);
    let _server = server.start().await.unwrap();
    let client = ShopClient::new(nats.caller.clone()).with_subject_prefix("other");
    soon(client.order(order("fine"))).await.unwrap();
    drop(soon(client.follow(order("fine"))).await.unwrap());
    let orders = || Streaming::iter([order("fine")]);
    soon(client.collect(orders())).await.unwrap();
    drop(soon(client.trade(orders())).await.unwrap());
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "Shop order Unary other.order deadline true payload 19 context false clone true",
            "Shop follow ServerStreaming other.follow deadline true payload 19 context false clone true",
            "Shop collect ClientStreaming other.collect deadline true payload 0 context false clone false",
            "Shop trade Bidirectional other.trade deadline true payload 0 context false clone false",
        ]
    );
    assert!(MethodKind::Bidirectional.is_streaming());
}

/// Waits for ever before the handler, or after it.
async fn hang(request: Request, next: Next) -> Result<Reply, Status> {
    if request.header("hang") == Some("before") {
        std::future::pending::<()>().await;
    }
    let hangs = request.header("hang") == Some("after");
    let reply = next.run(request).await;
    if hangs {
        std::future::pending::<()>().await;
    }
    reply
}

#[tokio::test]
async fn a_layer_that_hangs_is_cut_off_at_the_deadline() {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(hang));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let server = server.await.unwrap();
    let client = ShopClient::new(nats.caller.clone());
    for hang in ["before", "after"] {
        let since = Instant::now();
        let unary = client.order(order("fine")).with_header("hang", hang);
        assert_eq!(code(&soon(unary).await), "DEADLINE_EXCEEDED");
        let stream = client.follow(order("fine")).with_header("hang", hang);
        assert_eq!(code(&soon(stream).await), "DEADLINE_EXCEEDED");
        let orders = Streaming::iter([order("fine")]);
        let stream = client.collect(orders).with_header("hang", hang);
        assert_eq!(code(&soon(stream).await), "DEADLINE_EXCEEDED");
        assert!(since.elapsed() >= Duration::from_millis(3000));
    }
    // The calls are over, and count as errors.
    soon(server.stop()).await.unwrap();
}

#[tokio::test]
async fn a_layer_that_panics_fails_its_call() {
    let nats = Nats::start().await;
    let layer = from_fn(|request: Request, next: Next| {
        assert!(request.header("panic") != Some("at once"), "a layer");
        async move {
            let panics = request.header("panic").is_some();
            let mut reply = next.run(request).await?;
            assert!(!panics, "a layer");
            reply.on_end(|_| panic!("told"));
            Ok(reply)
        }
    });
    let server = nats.persisting().layer(layer);
    let server = server.add_service(ShopServer::new(Impl)).start();
    let _server = server.await.unwrap();
    let client = ShopClient::new(nats.caller.clone());
    for when in ["at once", "later"] {
        let call = client.order(order("fine")).with_header("panic", when);
        assert_eq!(code(&soon(call).await), "INTERNAL");
        let call = client.follow(order("fine")).with_header("panic", when);
        assert_eq!(code(&soon(call).await), "INTERNAL");
    }
    soon(client.order(order("fine"))).await.unwrap();
}

/// Answers some calls itself, and changes others.
async fn changing(mut request: Request, next: Next) -> Result<Reply, Status> {
    match request.header("do") {
        Some("answer") => {
            let mut reply = Reply::new(r#"{"id":"of the layer","n":7}"#);
            reply.insert_header("X-Layer", "yes")?;
            return Ok(reply);
        }
        Some("request") => {
            request.set_payload(r#"{"id":"changed","n":8}"#);
            request.insert_header("authorization", "Bearer layer")?;
            request.remove_header("do")?;
        }
        Some("reserved") => request.insert_header("Nats-Msg-Id", "1")?,
        _ => {}
    }
    let changes_reply = request.header("do") == Some("reply");
    let mut reply = next.run(request).await?;
    if changes_reply {
        reply.set_payload(r#"{"id":"replaced","n":9}"#);
        reply.append_header("X-Handler", "and the layer")?;
    }
    Ok(reply)
}

#[tokio::test]
async fn a_layer_answers_and_changes() {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(changing));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let _server = server.await.unwrap();
    let client = ShopClient::new(nats.caller.clone());
    let call = |what: &str| client.order(order("fine")).with_header("do", what);
    let answered = soon(call("answer").response()).await.unwrap();
    assert_eq!(answered.get_ref().id, "of the layer");
    let header = answered.headers().get("X-Layer").unwrap();
    assert_eq!(header.as_str(), "yes");
    assert!(answered.headers().get("X-Handler").is_none());
    assert_eq!(soon(call("request")).await.unwrap().id, "changed");
    let replaced = soon(call("reply").response()).await.unwrap();
    assert_eq!(replaced.get_ref().id, "replaced");
    let values = replaced.headers().get_all("X-Handler");
    assert_eq!(values.count(), 2);
    assert_eq!(code(&soon(call("reserved")).await), "INTERNAL");

    // A stream that a layer answers has that one message.
    let stream = client.follow(order("fine")).with_header("do", "answer");
    let stream: Vec<_> = soon(stream).await.unwrap().collect().await;
    assert_eq!(stream.len(), 1);
    assert_eq!(stream[0].as_ref().unwrap().id, "of the layer");
    let collected = client
        .collect(Streaming::iter([order("fine")]))
        .with_header("do", "answer");
    assert_eq!(soon(collected).await.unwrap().n, 7);
}

/// Fails after the handler.
async fn refuse_reply(request: Request, next: Next) -> Result<Reply, Status> {
    next.run(request).await?;
    Err(Status::aborted("after the handler"))
}

#[tokio::test]
async fn response_headers_travel_with_the_error_of_a_handler() {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(hang));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let _server = server.await.unwrap();
    let reply = nats.ask("shop.order", r#"{"id":"sold out","n":1}"#).await;
    assert_eq!(error_of(&reply).unwrap().0, "SOLD_OUT");
    let header = reply.headers.unwrap();
    assert_eq!(header.get("X-Handler").unwrap().as_str(), "yes");
}

#[tokio::test]
async fn an_error_of_a_layer_takes_nothing_back() {
    let nats = Nats::start().await;
    let server = nats.persisting().layer(from_fn(refuse_reply));
    let server = server.add_service(ShopServer::new(Impl)).start();
    let _server = server.await.unwrap();
    let client = Client::new(nats.caller.clone()).with_jetstream(nats.jetstream());
    let client = ShopClient::new(client);
    let refused = soon(client.keep(order("1"))).await.unwrap_err();
    assert_eq!(refused.code(), &Code::Aborted);
    assert!(client.get_keep_from_kv("order.1").await.unwrap().is_some());
    let refused = soon(client.follow(order("fine"))).await.unwrap_err();
    assert_eq!(
        refused,
        OrderError::Other(Status::aborted("after the handler"))
    );
}
