//! Our client against services that are not ours: every form in which peers report errors, and answers that are wrong.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{Code, Response, Status};
use natsmicro_tests::common::{Nats, PATIENCE, TestResult, Text, soon, text};

#[natsmicro::service(subject_prefix = "peer")]
trait Peer {
    async fn ask(&self, request: Text) -> Result<Text, Status>;
    async fn tell(&self) -> Result<(), Status>;
}

/// What the client makes of a reply with these headers and this payload.
async fn answered(
    headers: &[(&str, &str)],
    payload: &'static [u8],
) -> Result<Response<Text>, Status> {
    let nats = Nats::start().await;
    let mut requests = nats.peer("peer.*").await;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    let client = PeerClient::new(nats.caller.clone());
    let call = client.ask(text("?")).response();
    let answer = async {
        let request = requests.next().await.unwrap();
        let reply = request.reply.unwrap();
        nats.service
            .publish_with_headers(reply, map, Bytes::from_static(payload))
            .await
            .unwrap();
    };
    soon(async { tokio::join!(call, answer).0 }).await
}

async fn failed(headers: &[(&str, &str)], payload: &'static [u8]) -> Status {
    answered(headers, payload).await.unwrap_err()
}

const ERROR: &str = "Nats-Service-Error";
const CODE: &str = "Nats-Service-Error-Code";

#[tokio::test]
async fn the_pair_of_nats_micro() {
    let status = failed(&[(ERROR, "no such user"), (CODE, "NOT_FOUND")], b"").await;
    assert_eq!(status, Status::not_found("no such user"));
}

#[tokio::test]
async fn the_pair_of_python_and_typescript() {
    let status = failed(
        &[("Status", "PERMISSION_DENIED"), ("Description", "not you")],
        b"",
    )
    .await;
    assert_eq!(status, Status::permission_denied("not you"));
}

#[tokio::test]
async fn the_pair_of_nats_micro_goes_first() {
    let headers = [
        ("Status", "INTERNAL"),
        ("Description", "b"),
        (CODE, "ABORTED"),
        (ERROR, "a"),
    ];
    assert_eq!(failed(&headers, b"").await, Status::aborted("a"));
}

#[tokio::test]
async fn a_number_is_kept_as_the_code() {
    let status = failed(&[(ERROR, "not found"), (CODE, "404")], b"").await;
    assert_eq!(status.code(), &Code::Custom("404".into()));
    assert_eq!(status.message(), "not found");
}

#[tokio::test]
async fn a_code_of_the_service_is_kept() {
    let status = failed(&[(ERROR, "locked"), (CODE, "USER_LOCKED")], b"").await;
    assert_eq!(status, Status::new("USER_LOCKED", "locked"));
}

#[tokio::test]
async fn a_code_without_a_message_is_an_error() {
    for headers in [
        &[(CODE, "NOT_FOUND")][..],
        &[(CODE, "NOT_FOUND"), (ERROR, "")],
    ] {
        let status = failed(headers, b"").await;
        assert_eq!(status.code(), &Code::NotFound);
        assert_eq!(status.message(), "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_message_without_a_code_is_no_error() {
    for headers in [
        &[(ERROR, "hm")][..],
        &[(ERROR, "hm"), (CODE, "")],
        &[("Description", "a picture")],
        &[("Status", "shipped")],
    ] {
        let response = answered(headers, b"\n\x02ok").await.unwrap();
        assert_eq!(response.get_ref(), &text("ok"));
    }
}

#[tokio::test]
async fn the_body_is_the_details() {
    for headers in [
        [(ERROR, "custom msg"), (CODE, "CUSTOM")],
        [("Description", "custom msg"), ("Status", "CUSTOM")],
    ] {
        let status = failed(&headers, b"\xffDATA").await;
        assert_eq!(&status.details()[..], b"\xffDATA");
        assert_eq!(status.message(), "custom msg");
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_decoded_is_an_internal_error() {
    let status = failed(&[], b"\xff\xff\xff").await;
    assert_eq!(status.code(), &Code::Internal);
    let message = status.message();
    assert!(
        message.starts_with("failed to decode the response: "),
        "{message}"
    );
}

#[tokio::test]
async fn an_empty_reply_is_the_default_message() {
    assert_eq!(answered(&[], b"").await.unwrap().into_inner(), text(""));
}

#[tokio::test]
async fn unknown_headers_reach_the_caller() {
    let headers = [
        ("X-Resp", "a"),
        ("X-Resp", "b"),
        ("x-resp", "c"),
        ("Nats-Stream-Inbox", "_INBOX.x"),
    ];
    let (value, headers) = answered(&headers, b"\n\x02ok").await.unwrap().into_parts();
    assert_eq!(value, text("ok"));
    let of = |name: &'static str| -> Vec<String> {
        headers.get_all(name).map(ToString::to_string).collect()
    };
    assert_eq!(of("X-Resp"), ["a", "b"]);
    assert_eq!(of("x-resp"), ["c"]);
    assert_eq!(of("Nats-Stream-Inbox"), ["_INBOX.x"]);
}

#[tokio::test]
async fn protobuf_fields_of_a_newer_peer_are_skipped() {
    // Field 2 as a varint, field 3 as bytes.
    let payload = b"\n\x02ok\x10\x07\x1a\x03abc";
    assert_eq!(
        answered(&[], payload).await.unwrap().into_inner(),
        text("ok")
    );
}

#[tokio::test]
async fn no_responders_is_unavailable_at_once() -> TestResult {
    let nats = Nats::start().await;
    let client = natsmicro::Client::new(nats.caller.clone()).with_timeout(6 * PATIENCE);
    let begin = Instant::now();
    let status = soon(PeerClient::new(client).tell().into_future())
        .await
        .unwrap_err();
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(status.code(), &Code::Unavailable);
    assert!(status.message().contains("`peer.tell`"), "{status}");
    Ok(())
}

#[tokio::test]
async fn silence_is_deadline_exceeded() -> TestResult {
    let nats = Nats::start().await;
    let mut requests = nats.peer("peer.*").await;
    let short = Duration::from_millis(50);

    let of_all_calls = natsmicro::Client::new(nats.caller.clone()).with_timeout(short);
    let of_all_calls = PeerClient::new(of_all_calls).tell();
    let client = PeerClient::new(nats.caller.clone());
    for call in [of_all_calls, client.tell().with_timeout(short)] {
        let status = call.await.unwrap_err();
        assert_eq!(status.code(), &Code::DeadlineExceeded);
        let headers = requests.next().await.unwrap().headers.unwrap();
        assert_eq!(headers.get("Natsmicro-Timeout-Ms").unwrap().as_str(), "50");
        assert_eq!(headers.len(), 1);
    }

    // One that nobody has set is not announced.
    let _call = tokio::spawn(client.tell().into_future());
    assert_eq!(requests.next().await.unwrap().headers, None);
    Ok(())
}

#[tokio::test]
async fn a_closed_connection_is_unavailable() -> TestResult {
    let nats = Nats::start().await;
    nats.caller.drain().await?;
    let client = PeerClient::new(nats.caller.clone());
    // The connection closes in the background.
    let closed = async {
        loop {
            let status = client.tell().with_timeout(PATIENCE).await.unwrap_err();
            assert_eq!(status.code(), &Code::Unavailable);
            if !status.message().contains("no instance") {
                return status;
            }
        }
    };
    let status = soon(closed).await;
    assert!(status.message().contains("`peer.tell`"), "{status}");
    Ok(())
}
