//! A context that outlives its handler: in tasks, in streams, and at the stop of its server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{Code, Context, InvalidHeader, Status, Streaming};
use natsmicro_tests::common::{Nats, TestResult, Text, soon, text};
use tokio::sync::{Notify, mpsc};

#[natsmicro::service(subject_prefix = "lifetime")]
pub trait Lifetime {
    /// Ends when the server is told to stop.
    async fn ticks(&self, cx: &Context) -> Result<Streaming<Text>, Status>;
    /// Does not end.
    async fn endless(&self) -> Result<Streaming<Text>, Status>;
    /// Waits until the server is told to stop.
    async fn wait(&self, cx: &Context) -> Result<Text, Status>;
    /// Sets a header from a task, before and after the reply.
    async fn late(&self, cx: &Context) -> Result<Text, Status>;
    /// Sets a header from within the stream.
    async fn late_stream(&self, cx: &Context) -> Result<Streaming<Text>, Status>;
    /// Calls `seen` from a task.
    async fn relay(&self, cx: &Context) -> Result<Text, Status>;
    /// Calls `seen` from within the stream.
    async fn relay_stream(&self, cx: &Context) -> Result<Streaming<Text>, Status>;
    /// The trace headers of the request, and whether it has a deadline.
    async fn seen(&self, cx: &Context) -> Result<Text, Status>;
}

#[derive(Clone)]
struct Impl {
    replied: Arc<Notify>,
    late: mpsc::UnboundedSender<Result<(), InvalidHeader>>,
    client: LifetimeClient,
}

fn ticks() -> impl futures::Stream<Item = Result<Text, Status>> + Send {
    futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok(text("tick")), ()))
    })
}

impl Lifetime for Impl {
    async fn ticks(&self, cx: &Context) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::new(ticks().take_until(cx.stopping())))
    }
    async fn endless(&self) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::new(ticks()))
    }
    async fn wait(&self, cx: &Context) -> Result<Text, Status> {
        cx.stopping().await;
        Ok(text("stopping"))
    }
    async fn late(&self, cx: &Context) -> Result<Text, Status> {
        cx.insert_response_header("X-Early", "1")?;
        let (cx, late, replied) = (cx.clone(), self.late.clone(), self.replied.clone());
        tokio::spawn(async move {
            replied.notified().await;
            late.send(cx.insert_response_header("X-Late", "1")).unwrap();
            late.send(cx.append_response_header("X-Late", "1")).unwrap();
        });
        Ok(text("done"))
    }
    async fn late_stream(&self, cx: &Context) -> Result<Streaming<Text>, Status> {
        cx.insert_response_header("X-Early", "1")?;
        let (cx, late) = (cx.clone(), self.late.clone());
        Ok(Streaming::new(futures::stream::once(async move {
            late.send(cx.insert_response_header("X-Late", "1")).unwrap();
            Ok(text("done"))
        })))
    }
    async fn relay(&self, cx: &Context) -> Result<Text, Status> {
        let (cx, client) = (cx.clone(), self.client.clone());
        let task = tokio::spawn(async move { client.seen().with_context(&cx).await });
        task.await.unwrap()
    }
    async fn relay_stream(&self, cx: &Context) -> Result<Streaming<Text>, Status> {
        let (cx, client) = (cx.clone(), self.client.clone());
        Ok(Streaming::new(futures::stream::once(async move {
            client.seen().with_context(&cx).await
        })))
    }
    async fn seen(&self, cx: &Context) -> Result<Text, Status> {
        let traces = cx.headers().get_all("traceparent");
        let traces: Vec<_> = traces.map(|it| it.as_str().to_owned()).collect();
        let has_deadline = cx.deadline().is_some();
        Ok(text(format!("{} {has_deadline}", traces.join(","))))
    }
}

struct Env {
    nats: Nats,
    server: natsmicro::RunningServer,
    client: LifetimeClient,
    replied: Arc<Notify>,
    late: mpsc::UnboundedReceiver<Result<(), InvalidHeader>>,
}

async fn env() -> Env {
    let nats = Nats::start().await;
    let (late_sender, late) = mpsc::unbounded_channel();
    let service = Impl {
        replied: Arc::default(),
        late: late_sender,
        client: LifetimeClient::new(nats.caller.clone()),
    };
    let replied = Arc::clone(&service.replied);
    let server = nats.server().with_drain_timeout(Duration::from_secs(8));
    let server = server.add_service(LifetimeServer::new(service)).start();
    Env {
        server: server.await.unwrap(),
        client: LifetimeClient::new(nats.caller.clone()),
        nats,
        replied,
        late,
    }
}

#[tokio::test]
async fn what_watches_the_stop_ends_soon_and_well() -> TestResult {
    let Env {
        server,
        client,
        nats: _nats,
        ..
    } = env().await;
    let mut ticks = soon(client.ticks()).await?;
    assert_eq!(soon(ticks.next()).await.unwrap()?, text("tick"));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.wait().await }
    });
    soon(async {
        // Both are running when the first of the next calls is answered.
        client.seen().await
    })
    .await?;
    let begin = Instant::now();
    soon(server.stop()).await?;
    assert!(begin.elapsed() < Duration::from_secs(8));
    assert_eq!(soon(waiting).await??, text("stopping"));
    // The stream ends as the handler ended it, without an error.
    let rest: Vec<_> = soon(ticks.collect()).await;
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_counts_as_stopping() -> TestResult {
    let Env {
        server,
        client,
        nats: _nats,
        ..
    } = env().await;
    let mut ticks = soon(client.ticks()).await?;
    assert_eq!(soon(ticks.next()).await.unwrap()?, text("tick"));
    drop(server);
    let rest: Vec<_> = soon(ticks.collect()).await;
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    Ok(())
}

/// A context that no server has made is never stopping.
#[tokio::test]
async fn outside_a_server_nothing_stops() {
    let stopping = Context::new().stopping();
    let waited = tokio::time::timeout(Duration::from_millis(50), stopping).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn a_stream_that_is_cut_off_says_that_the_service_stops() -> TestResult {
    let Env {
        nats,
        server,
        client,
        ..
    } = env().await;
    let mut stream = soon(client.endless()).await?;
    assert!(soon(stream.next()).await.unwrap().is_ok());
    // A peer that sees the headers of the end.
    let inbox = nats.caller.new_inbox();
    let mut messages = nats.caller.subscribe(inbox.clone()).await?;
    let mut headers = HeaderMap::new();
    headers.insert("Reply-To", inbox.as_str());
    let subject = "lifetime.endless";
    nats.caller
        .publish_with_headers(subject, headers, Bytes::new())
        .await?;
    soon(messages.next()).await.unwrap();
    let stopped = tokio::spawn(server.stop());
    let end = loop {
        let message = tokio::time::timeout(Duration::from_secs(20), messages.next());
        let headers = message.await?.unwrap().headers.unwrap();
        if headers.get("Nats-Stream-End").is_some() {
            break headers;
        }
    };
    assert_eq!(end.get("Natsmicro-Stopping").unwrap().as_str(), "1");
    assert_eq!(
        end.get("Nats-Service-Error-Code").unwrap().as_str(),
        "UNAVAILABLE"
    );
    let items: Vec<_> = soon(stream.collect()).await;
    let last = items.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.code(), &Code::Unavailable);
    let error = soon(stopped).await?.unwrap_err();
    assert_eq!(error.unfinished_calls()[0].calls, 2);
    Ok(())
}

#[tokio::test]
async fn headers_that_come_too_late_are_refused() -> TestResult {
    let Env {
        client,
        replied,
        late,
        ..
    } = &mut env().await;
    let response = soon(client.late().response()).await?;
    assert_eq!(response.headers().get("X-Early").unwrap().as_str(), "1");
    replied.notify_one();
    for _ in 0..2 {
        let refused = soon(late.recv()).await.unwrap().unwrap_err();
        assert!(refused.to_string().contains("have left"), "{refused}");
    }
    let response = soon(client.late_stream().response()).await?;
    assert_eq!(response.headers().get("X-Early").unwrap().as_str(), "1");
    let items: Vec<_> = soon(response.into_inner().collect()).await;
    assert_eq!(items.len(), 1);
    let refused = soon(late.recv()).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("have left"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn deadline_and_trace_go_on_from_tasks_and_streams() -> TestResult {
    let Env { client, .. } = &env().await;
    let traced = |call: natsmicro::Call<Text, Status>| {
        call.with_header("traceparent", "00-a-b-01")
            .with_timeout(Duration::from_secs(5))
    };
    assert_eq!(soon(traced(client.relay())).await?, text("00-a-b-01 true"));
    let stream = client
        .relay_stream()
        .with_header("traceparent", "00-a-b-01")
        .with_timeout(Duration::from_secs(5));
    let mut stream = soon(stream).await?;
    assert_eq!(soon(stream.next()).await.unwrap()?, text("00-a-b-01 true"));
    Ok(())
}

#[tokio::test]
async fn a_trace_header_of_the_call_wins_and_travels_once() -> TestResult {
    let Env { client, .. } = &env().await;
    let cx = Context::new().with_header("traceparent", "00-context-1-01")?;
    let own = "00-own-1-01";
    let before = client
        .seen()
        .with_header("traceparent", own)
        .with_context(&cx);
    assert_eq!(soon(before).await?, text("00-own-1-01 false"));
    let after = client
        .seen()
        .with_context(&cx)
        .with_header("traceparent", own);
    assert_eq!(soon(after).await?, text("00-own-1-01 false"));
    let twice = client.seen().with_context(&cx).with_context(&cx);
    assert_eq!(soon(twice).await?, text("00-context-1-01 false"));
    Ok(())
}

#[test]
fn a_clone_is_the_same_context() -> TestResult {
    let cx = Context::new().with_header("X-A", "1")?;
    let clone = cx.clone();
    clone.insert_response_header("X-B", "2")?;
    clone.do_not_store();
    assert_eq!(cx.response_headers().get("X-B").unwrap().as_str(), "2");
    assert!(!cx.stores_response());
    // The builders of tests make another one of a shared context.
    let other = cx.clone().with_header("X-A", "3")?;
    assert_eq!(other.headers().get_all("X-A").count(), 2);
    assert_eq!(cx.headers().get_all("X-A").count(), 1);
    Ok(())
}
