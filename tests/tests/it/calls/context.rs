//! Calls: headers both ways, what a handler knows of its call, and deadlines.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{Code, Context, Status};
use natsmicro_tests::common::{
    Nats, OnDrop, PATIENCE, TestResult, Text, code_of, error_of, soon, text,
};
use tokio::sync::mpsc;

#[natsmicro::service(subject_prefix = "test.calls", name = "Calls-1")]
trait Calls {
    /// Answers with the `X-` headers of the request, as an error if the text is not empty.
    async fn echo(&self, cx: &Context, request: Text) -> Result<Text, Status>;

    #[endpoint(name = "who")]
    async fn who_am_i(&self, cx: &Context) -> natsmicro::Result<Text>;

    /// Never answers, and tells when it starts and when it is dropped.
    async fn hang(&self, request: Text) -> Result<(), Status>;

    #[endpoint(timeout = "50ms")]
    async fn limited(&self, cx: &Context) -> Result<Text, Status>;

    /// Puts a header under the name and value in the text.
    async fn header(&self, cx: &Context, request: Text) -> Result<Text, Status>;
}

struct Service {
    started: mpsc::UnboundedSender<()>,
    dropped: mpsc::UnboundedSender<()>,
}

impl Calls for Service {
    async fn echo(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        for (name, values) in cx.headers().iter() {
            let name: &str = name.as_ref();
            if name.starts_with("X-") {
                for value in values {
                    cx.append_response_header(name, value.as_str())?;
                }
            }
        }
        match request.text.as_str() {
            "" => Ok(text("ok")),
            message => Err(Status::aborted(message)),
        }
    }

    async fn who_am_i(&self, cx: &Context) -> natsmicro::Result<Text> {
        let remaining = cx.remaining().map(|left| left.as_secs());
        Ok(text(format!(
            "{} {} {} {remaining:?}",
            cx.service(),
            cx.endpoint(),
            cx.subject()
        )))
    }

    async fn hang(&self, _request: Text) -> Result<(), Status> {
        let _on_drop = OnDrop(self.dropped.clone());
        let _ = self.started.send(());
        std::future::pending().await
    }

    async fn limited(&self, cx: &Context) -> Result<Text, Status> {
        let _on_drop = OnDrop(self.dropped.clone());
        assert!(cx.remaining().unwrap() <= Duration::from_millis(50));
        std::future::pending().await
    }

    async fn header(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        let (name, value) = request.text.split_once('|').unwrap();
        cx.insert_response_header(name, value)?;
        Ok(text("set"))
    }
}

struct Env {
    nats: Nats,
    _server: natsmicro::RunningServer,
    client: CallsClient,
    started: mpsc::UnboundedReceiver<()>,
    dropped: mpsc::UnboundedReceiver<()>,
}

async fn env() -> Env {
    let nats = Nats::start().await;
    let (started_tx, started) = mpsc::unbounded_channel();
    let (dropped_tx, dropped) = mpsc::unbounded_channel();
    let service = Service {
        started: started_tx,
        dropped: dropped_tx,
    };
    let server = nats.server().add_service(CallsServer::new(service));
    Env {
        _server: server.start().await.unwrap(),
        client: CallsClient::new(nats.caller.clone()),
        nats,
        started,
        dropped,
    }
}

fn values(headers: &HeaderMap, name: &'static str) -> Vec<String> {
    headers.get_all(name).map(ToString::to_string).collect()
}

#[tokio::test]
async fn headers_travel_both_ways() -> TestResult {
    let Env { client, .. } = &env().await;
    let response = client
        .echo(text(""))
        .with_header("X-Many", "a")
        .with_header("X-Many", "b, c")
        .with_header("x-lower", "not echoed")
        .with_header("X-Empty", "")
        .response()
        .await?;
    assert_eq!(response.get_ref(), &text("ok"));
    let headers = response.headers();
    assert_eq!(values(headers, "X-Many"), ["a", "b, c"]);
    assert_eq!(values(headers, "X-Empty"), [""]);
    assert_eq!(headers.len(), 2);
    Ok(())
}

#[tokio::test]
async fn headers_travel_with_errors() -> TestResult {
    let Env { nats, .. } = &env().await;
    let mut headers = HeaderMap::new();
    headers.append("X-Many", "a");
    headers.append("X-Many", "b");
    let reply = nats
        .ask_with("test.calls.echo", headers, text("stop").bytes())
        .await;
    assert_eq!(error_of(&reply), Some(("ABORTED", "stop")));
    let headers = reply.headers.unwrap();
    assert_eq!(values(&headers, "X-Many"), ["a", "b"]);
    assert_eq!(headers.len(), 3);
    Ok(())
}

/// Names and values that no header can have, or that only the protocol may use.
const REFUSED: [(&str, &str); 11] = [
    ("", "x"),
    ("a b", "x"),
    ("a:b", "x"),
    ("a\n", "x"),
    ("ä", "x"),
    ("a", "x\r\nNats-Service-Error-Code: FAKE"),
    ("Nats-Service-Error-Code", "x"),
    ("nats-rollup", "all"),
    ("Natsmicro-Timeout-Ms", "1"),
    ("Status", "x"),
    ("Description", "x"),
];

#[tokio::test]
async fn a_header_that_cannot_travel_fails_the_call() -> TestResult {
    let Env { client, .. } = &env().await;
    for (name, value) in REFUSED {
        let call = client.echo(text("")).with_header(name, value);
        assert_eq!(code_of(call.await), "INVALID_ARGUMENT", "{name:?}");
    }
    for (name, value) in [("Reply-To", "x"), ("traceparent", "x"), ("Statuses", "é")] {
        client.echo(text("")).with_header(name, value).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_response_header_that_cannot_travel_is_an_error_of_the_handler() -> TestResult {
    let Env { client, .. } = &env().await;
    for (name, value) in REFUSED {
        let call = client.header(text(format!("{name}|{value}")));
        assert_eq!(code_of(call.await), "INTERNAL", "{name:?}");
    }
    let response = client.header(text("a|  x y  ")).response().await?;
    assert_eq!(values(response.headers(), "a"), ["x y"]);
    Ok(())
}

#[tokio::test]
async fn a_handler_knows_its_call() -> TestResult {
    let Env { client, .. } = &env().await;
    assert_eq!(
        client.who_am_i().await?.text,
        "Calls-1 who test.calls.who None"
    );
    let call = client.who_am_i().with_timeout(Duration::from_secs(7200));
    let answer = call.await?.text;
    assert_eq!(answer, "Calls-1 who test.calls.who Some(7199)");
    Ok(())
}

#[tokio::test]
async fn a_timeout_is_announced_in_milliseconds() -> TestResult {
    let nats = Nats::start().await;
    let mut requests = nats.peer("test.calls.*").await;
    let client = CallsClient::new(nats.caller.clone());
    for (timeout, announced) in [
        (Duration::from_millis(10), "10"),
        (Duration::from_micros(10_001), "11"),
        (Duration::from_nanos(1), "1"),
    ] {
        let call = client.who_am_i().with_timeout(timeout);
        assert_eq!(code_of(call.await), "DEADLINE_EXCEEDED");
        let headers = soon(requests.next()).await.unwrap().headers.unwrap();
        assert_eq!(values(&headers, "Natsmicro-Timeout-Ms"), [announced]);
        assert_eq!(headers.len(), 1);
    }
    let call = client.who_am_i().with_timeout(Duration::ZERO);
    assert_eq!(code_of(call.await), "DEADLINE_EXCEEDED");
    Ok(())
}

#[tokio::test]
async fn the_longest_timeout_is_no_timeout() -> TestResult {
    let Env { client, .. } = &env().await;
    for timeout in [Duration::MAX, Duration::from_millis(u64::MAX)] {
        let answer = soon(client.who_am_i().with_timeout(timeout).into_future()).await?;
        assert!(answer.text.starts_with("Calls-1 who "), "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_handler_is_dropped_at_the_callers_deadline() -> TestResult {
    let Env {
        client,
        nats,
        started,
        dropped,
        ..
    } = &mut env().await;
    let call = client
        .hang(text(""))
        .with_timeout(Duration::from_millis(100));
    assert_eq!(code_of(call.await), "DEADLINE_EXCEEDED");
    soon(started.recv()).await.unwrap();
    soon(dropped.recv()).await.unwrap();

    let brief = natsmicro::Client::new(nats.caller.clone());
    let brief = brief.with_timeout(Duration::from_millis(100));
    let call = CallsClient::new(brief).hang(text(""));
    assert_eq!(code_of(call.await), "DEADLINE_EXCEEDED");
    soon(started.recv()).await.unwrap();
    soon(dropped.recv()).await.unwrap();

    // The service itself answers a caller that still waits.
    let mut headers = HeaderMap::new();
    headers.insert("Natsmicro-Timeout-Ms", "30");
    let reply = nats.ask_with("test.calls.hang", headers, "").await;
    assert_eq!(error_of(&reply).unwrap().0, "DEADLINE_EXCEEDED");
    soon(dropped.recv()).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_deadline_that_has_passed_runs_no_handler() -> TestResult {
    let Env { nats, started, .. } = &mut env().await;
    let mut headers = HeaderMap::new();
    headers.insert("Natsmicro-Timeout-Ms", "0");
    let reply = nats.ask_with("test.calls.hang", headers, "").await;
    assert_eq!(error_of(&reply).unwrap().0, "DEADLINE_EXCEEDED");
    assert!(started.try_recv().is_err());
    Ok(())
}

#[tokio::test]
async fn an_announcement_that_is_no_number_is_ignored() -> TestResult {
    let Env { nats, .. } = &env().await;
    for value in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
        let mut headers = HeaderMap::new();
        headers.insert("Natsmicro-Timeout-Ms", value);
        let reply = nats.ask_with("test.calls.who", headers, "").await;
        let answer = text("Calls-1 who test.calls.who None").bytes();
        assert_eq!(
            (error_of(&reply), &reply.payload),
            (None, &answer),
            "{value}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoints_own_timeout_ends_a_call() -> TestResult {
    let Env {
        nats,
        client,
        dropped,
        ..
    } = &mut env().await;
    let reply = nats.ask("test.calls.limited", "").await;
    assert_eq!(error_of(&reply).unwrap().0, "DEADLINE_EXCEEDED");
    soon(dropped.recv()).await.unwrap();
    // A caller cannot have more than that.
    let status = client.limited().with_timeout(PATIENCE).await.unwrap_err();
    assert_eq!(status.code(), &Code::DeadlineExceeded);
    assert!(!status.message().contains("test.calls"), "{status}");
    soon(dropped.recv()).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_message_without_a_reply_subject_is_handled_and_not_answered() -> TestResult {
    let Env {
        nats,
        client,
        started,
        ..
    } = &mut env().await;
    let caller = &nats.caller;
    caller.publish("test.calls.hang", Bytes::new()).await?;
    soon(started.recv()).await.unwrap();
    caller.publish("test.calls.who", "\u{ff}".into()).await?;
    caller
        .publish("test.calls.echo", text("fail").bytes())
        .await?;
    assert_eq!(client.echo(text("")).await?, text("ok"));
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_no_such_message_is_refused() -> TestResult {
    let Env { nats, started, .. } = &mut env().await;
    let reply = nats.ask("test.calls.hang", &b"\xff\xff"[..]).await;
    let (code, message) = error_of(&reply).unwrap();
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(
        message.starts_with("failed to decode request: "),
        "{message}"
    );
    assert!(started.try_recv().is_err());
    Ok(())
}

#[tokio::test]
async fn a_call_through_the_trait_hands_on_deadline_and_trace() -> TestResult {
    let nats = Nats::start().await;
    let mut requests = nats.peer("test.calls.*").await;
    let client = CallsClient::new(nats.caller.clone());
    let cx = Context::new()
        .with_header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )?
        .with_header("tracestate", "a=b")?
        .with_header("X-Secret", "of the first caller")?
        .with_timeout(Duration::from_secs(5));

    let answer = async {
        let request = requests.next().await.unwrap();
        let reply = request.reply.unwrap();
        nats.service
            .publish(reply, text("hi").bytes())
            .await
            .unwrap();
        request.headers.unwrap()
    };
    let (called, headers) =
        soon(async { tokio::join!(Calls::who_am_i(&client, &cx), answer) }).await;
    assert_eq!(called?, text("hi"));
    assert_eq!(headers.len(), 3, "{headers:?}");
    assert_eq!(headers.get("tracestate").unwrap().as_str(), "a=b");
    assert_eq!(headers.get("traceparent").unwrap().as_str().len(), 55);
    let left: u64 = headers
        .get("Natsmicro-Timeout-Ms")
        .unwrap()
        .as_str()
        .parse()?;
    assert!((1..=5_000).contains(&left), "{left}");

    // With nothing to hand on, nothing is sent.
    let cx = Context::new();
    let call = Calls::who_am_i(&client, &cx);
    let headers = async {
        let request = requests.next().await.unwrap();
        let reply = request.reply.unwrap();
        nats.service.publish(reply, Bytes::new()).await.unwrap();
        request.headers
    };
    let (called, headers) = soon(async { tokio::join!(call, headers) }).await;
    assert_eq!((called?, headers), (text(""), None));

    // A deadline that has passed sends nothing.
    let late = Context::new().with_timeout(Duration::ZERO);
    assert_eq!(
        code_of(Calls::who_am_i(&client, &late).await),
        "DEADLINE_EXCEEDED"
    );
    nats.caller.publish("test.calls.next", Bytes::new()).await?;
    assert_eq!(
        requests.next().await.unwrap().subject.as_str(),
        "test.calls.next"
    );
    Ok(())
}
