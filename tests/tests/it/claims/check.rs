//! Responses that are too large for a reply: stored as objects, and fetched by our client as if nothing were special about them.

use std::time::Duration;

use futures::future::join_all;
use natsmicro::{Code, Context};
use natsmicro_tests::claims::{
    JsonReportsClient, LARGE, REFERENCE, Reports, ReportsClient, ask, header, large, response,
    serve,
};
use natsmicro_tests::persistence::{Nats, Save, TestResult, persistence};
use prost::Message as _;

#[tokio::test]
async fn a_call_gives_the_response_whatever_its_size() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let client = ReportsClient::new(nats.client());
    let json = JsonReportsClient::new(nats.client());
    for size in [100, LARGE] {
        let request = Save::number(format!("size-{size}"), size);
        let expected = response(&request);
        assert!(client.report(request.clone()).await? == expected, "{size}");
        assert!(json.report(request).await? == expected, "{size}, JSON");
    }
    let error = client.report(Save::new("*", "")).await.unwrap_err();
    assert_eq!(error.code(), &Code::InvalidArgument, "{error}");

    // The statistics know nothing special of it.
    let stats = server.stats();
    let endpoint = &stats[0].endpoints[0];
    assert_eq!((endpoint.num_requests, endpoint.num_errors), (3, 1));
    server.stop().await?;
    let stored = client
        .get_report_from_object_store("report.size-100")
        .await?;
    assert_eq!(stored.unwrap().encoded_len(), 100);
    Ok(())
}

#[tokio::test]
async fn the_headers_of_the_response_arrive_and_no_others() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let client = ReportsClient::new(nats.client());
    let mut request = Save::new("a", "header yearly");
    request.n = LARGE;
    let reply = client.report(request.clone()).response().await?;
    assert!(*reply.get_ref() == response(&request));
    let headers: Vec<_> = reply.headers().iter().collect();
    assert_eq!(headers.len(), 1, "{headers:?}");
    assert_eq!(reply.headers().get("Report").unwrap().as_str(), "yearly");

    // Called as the service that it is a client of.
    let cx = Context::new().with_timeout(Duration::from_secs(20));
    let result = Reports::report(&client, &cx, request.clone()).await;
    assert!(result? == response(&request));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn others_get_an_error_that_names_the_object() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let reply = ask(&nats, &large("big")).await;
    assert_eq!(
        header(&reply, "Nats-Service-Error-Code"),
        Some("RESOURCE_EXHAUSTED")
    );
    let message = header(&reply, "Nats-Service-Error").unwrap();
    for part in ["3145728", "1048576", "`report.big`", "`reports`"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(reply.payload.is_empty());
    // At once, without a stop of the server.
    let bucket = nats.js.get_object_store("reports").await?;
    let info = bucket.info("report.big").await?;
    assert_eq!(
        header(&reply, REFERENCE).unwrap(),
        format!("reports 3145728 {} report.big", info.digest.unwrap())
    );
    assert_eq!(server.stats()[0].endpoints[0].num_errors, 0);

    // A client of ours has to be able to read the bucket.
    let client = ReportsClient::new(nats.nats.clone());
    let error = client.report(large("big")).await.unwrap_err();
    assert_eq!(error.code(), &Code::ResourceExhausted);
    for part in ["`report.big`", "with_jetstream"] {
        assert!(error.message().contains(part), "{error}");
    }
    // And to hold the response.
    let client = ReportsClient::new(nats.client().with_max_response_size(3145727));
    let error = client.report(large("big")).await.unwrap_err();
    assert_eq!(error.code(), &Code::ResourceExhausted);
    for part in ["`report.big`", "3145727", "with_max_response_size"] {
        assert!(error.message().contains(part), "{error}");
    }
    let client = ReportsClient::new(nats.client().with_max_response_size(3145728));
    client.report(large("big")).await?;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_too_large_is_known_to_the_byte() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let client = ReportsClient::new(nats.client());
    let max = nats.nats.max_payload();
    let headers = "NATS/1.0\r\nReport: yearly\r\n\r\n".len();
    for (text, fits) in [("", max), ("header yearly", max - headers)] {
        for (size, is_reference) in [(fits - 1, false), (fits, false), (fits + 1, true)] {
            let mut request = Save::new("a", text);
            request.n = size as u64;
            let reply = ask(&nats, &request).await;
            assert_eq!(
                header(&reply, REFERENCE).is_some(),
                is_reference,
                "{text} {size}"
            );
            assert_eq!(reply.payload.len(), if is_reference { 0 } else { size });
            assert!(client.report(request.clone()).await? == response(&request));
        }
    }
    server.stop().await?;
    Ok(())
}

/// What is not stored cannot be fetched.
#[tokio::test]
async fn without_an_object_there_is_no_reference() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let mut request = large("a");
    request.text = "unstored".to_owned();
    let reply = ask(&nats, &request).await;
    assert_eq!(header(&reply, REFERENCE), None);
    let client = ReportsClient::new(nats.client());
    for result in [
        client.report(request).await,
        client.unstored(large("a")).await,
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), &Code::ResourceExhausted);
        assert!(!error.message().contains("object"), "{error}");
    }
    // A response whose key is none has nowhere to go.
    let mut request = large("a");
    request.text = " ".to_owned();
    let error = client.unnamed(request).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert_eq!(client.get_report_from_object_store("report.a").await?, None);
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 1);
    Ok(())
}

/// It is a success, whose other writes are made like those of any.
#[tokio::test]
async fn a_bucket_that_cannot_hold_the_response() -> TestResult {
    let nats = Nats::start().await;
    let server = serve(&nats).await;
    let client = ReportsClient::new(nats.client());
    assert!(client.both(large("a")).await? == response(&large("a")));
    let error = client.both_first(large("a")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert!(error.message().contains("`summaries`"), "{error}");
    let stats = persistence(&server, "both_first");
    assert_eq!((stats.persisted, stats.persist_failed), (1, 1), "{stats:?}");
    let error = server.stop().await.unwrap_err();
    let lost: Vec<_> = error.lost_writes().iter().collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(
        lost.iter().all(|lost| lost.bucket == "summaries"),
        "{lost:?}"
    );
    Ok(())
}

/// By two instances, which write to the same names.
#[tokio::test]
async fn many_large_calls_at_once() -> TestResult {
    let nats = Nats::start().await;
    let servers = [serve(&nats).await, serve(&nats).await];
    let client = ReportsClient::new(nats.client().with_timeout(Duration::from_secs(60)));
    let call = |key: String, text: &str| {
        let mut request = large(&key);
        text.clone_into(&mut request.text);
        let client = &client;
        async move { (response(&request), client.report(request).await) }
    };

    let names = join_all((0..8).map(|n| call(n.to_string(), &n.to_string())));
    let one_response = join_all((0..8).map(|_| call("same".to_owned(), "same")));
    let (names, one_response) = futures::join!(names, one_response);
    for (expected, result) in names.into_iter().chain(one_response) {
        assert!(result? == expected);
    }

    let different = (0..8).map(|n| call("different".to_owned(), &n.to_string()));
    let mut given = 0;
    for (expected, result) in join_all(different).await {
        match result {
            Ok(response) => {
                assert!(response == expected);
                given += 1;
            }
            Err(error) => assert_eq!(error.code(), &Code::Aborted, "{error}"),
        }
    }
    assert!(given > 0, "nobody replaces the last one");
    for server in servers {
        server.stop().await?;
    }
    Ok(())
}
