//! References to responses that are not there, or that no service of ours makes.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::Code;
use natsmicro_tests::claims::{LARGE, REFERENCE, ReportsClient, ask, large, response, serve};
use natsmicro_tests::persistence::{Nats, Save, TestResult};
use prost::Message as _;
use tokio::io::AsyncReadExt;

/// Client of a service that answers every request with this.
async fn answered(nats: &Nats, headers: HeaderMap, payload: impl Into<Bytes>) -> ReportsClient {
    let (nats, payload) = (&nats.nats, payload.into());
    let prefix = nats.new_inbox().replace(['_', '.'], "");
    let mut requests = nats.subscribe(format!("{prefix}.report")).await.unwrap();
    let peer = nats.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let (to, headers) = (request.reply.unwrap(), headers.clone());
            let sent = peer.publish_with_headers(to, headers, payload.clone());
            sent.await.unwrap();
        }
    });
    let jetstream = async_nats::jetstream::new(nats.clone());
    let client = natsmicro::Client::new(nats.clone()).with_jetstream(jetstream);
    ReportsClient::new(client).with_subject_prefix(prefix)
}

fn reference(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error", "it is too large");
    headers.insert("Nats-Service-Error-Code", "RESOURCE_EXHAUSTED");
    headers.insert(REFERENCE, text);
    headers
}

#[tokio::test]
async fn the_response_of_another_call_is_never_given() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let reply = ask(&nats, &large("a")).await;
    let client = answered(&nats, reply.headers.unwrap(), "").await;
    let expected = response(&large("a"));
    assert!(client.report(large("a")).await? == expected);

    // Of another call with the same response.
    ask(&nats, &large("a")).await;
    assert!(client.report(large("a")).await? == expected);

    let store = client.report_object_store();
    let mut other = large("a");
    other.text = "y".to_owned();
    store.put("report.a", &response(&other)).await?;
    let error = client.report(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Aborted, "{error}");
    assert!(error.message().contains("`report.a`"), "{error}");
    store.delete("report.a").await?;
    let error = client.report(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Aborted, "{error}");

    store.put("report.a", &expected).await?;
    assert!(client.report(large("a")).await? == expected);
    let stream = nats.js.get_stream("OBJ_reports").await?;
    stream.purge().filter("$O.reports.C.>").await?;
    let error = client.report(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::DataLoss, "{error}");
    store.delete_bucket().await?;
    let error = client.report(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable, "{error}");
    assert!(error.message().contains("no bucket"), "{error}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_service_sends_its_callers_to_its_own_bucket_only() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let digest = "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=";
    let long = "x".repeat(5_000);
    for (text, code, part) in [
        (format!("secrets 0 {digest} a"), Code::Internal, "`secrets`"),
        (format!("reports 0 {digest} "), Code::Internal, "refers"),
        (
            format!("reports 0 {digest} {long}"),
            Code::Internal,
            "refers",
        ),
        (format!("reports -1 {digest} a"), Code::Internal, "refers"),
        ("reports 0 MD5=x a".to_owned(), Code::Internal, "refers"),
        ("reports 0".to_owned(), Code::Internal, "refers"),
        (String::new(), Code::Internal, "refers"),
        (
            format!("reports {} {digest} a", u64::MAX),
            Code::ResourceExhausted,
            "with_max_response_size",
        ),
        (
            format!("reports {} {digest} a", (256 << 20) + 1),
            Code::ResourceExhausted,
            "with_max_response_size",
        ),
        // The largest that is asked for, if there were one.
        (
            format!("reports {} {digest} a", 256 << 20),
            Code::Aborted,
            "`a`",
        ),
        (format!("reports 0 {digest} a"), Code::Aborted, "`a`"),
        (format!("reports 0 {digest} \u{e9} * >"), Code::Aborted, "*"),
    ] {
        let client = answered(&nats, reference(&text), "").await;
        let error = client.report(large("a")).await.unwrap_err();
        assert_eq!(error.code(), &code, "{text}: {error}");
        assert!(error.message().contains(part), "{text}: {error}");
    }

    // In any other reply the header means nothing.
    let mut headers = reference("secrets");
    headers.insert("Nats-Service-Error-Code", "NOT_FOUND");
    let client = answered(&nats, headers, "").await;
    let error = client.report(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::NotFound);
    let mut headers = HeaderMap::new();
    headers.insert(REFERENCE, "secrets");
    let small = response(&Save::number("a", 100));
    let client = answered(&nats, headers, small.encode_to_vec()).await;
    assert_eq!(client.report(large("a")).await?, small);
    server.stop().await?;
    Ok(())
}

/// Nobody has to hold more than the metadata announces.
#[tokio::test]
async fn a_reader_stops_where_the_object_should_end() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let reply = ask(&nats, &large("a")).await;
    let client = answered(&nats, reply.headers.unwrap(), "").await;
    let stream = nats.js.get_stream("OBJ_reports").await?;
    let meta = "$O.reports.M.cmVwb3J0LmE=";
    let stored = stream.get_last_raw_message_by_subject(meta).await?;
    let mut stored: serde_json::Value = serde_json::from_slice(&stored.payload)?;
    let chunks = format!("$O.reports.C.{}", stored["nuid"].as_str().unwrap());
    for _ in 0..2 {
        nats.js
            .publish(chunks.clone(), vec![b'x'; 1 << 19].into())
            .await?
            .await?;
    }
    stored["chunks"] = 26.into();
    let payload = serde_json::to_vec(&stored)?.into();
    nats.js.publish(meta, payload).await?.await?;
    let store = client.report_object_store();
    let mut reader = store.reader("report.a").await?.unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read.len(), LARGE as usize);
    let error = client.report(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::DataLoss, "{error}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_timeout_of_a_call_is_that_of_the_fetch_too() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    // Whoever asks there hears nothing.
    let _silence = nats.nats.subscribe("silent.>").await?;
    let silent = async_nats::jetstream::with_prefix(nats.nats.clone(), "silent");
    let client = natsmicro::Client::new(nats.nats.clone()).with_jetstream(silent);
    let client = ReportsClient::new(client);
    let call = client.report(large("a"));
    let error = call.with_timeout(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.code(), &Code::DeadlineExceeded);
    assert!(error.message().contains("`report.a`"), "{error}");
    server.stop().await?;
    Ok(())
}
