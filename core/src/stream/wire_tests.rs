use proptest::prelude::*;

use super::*;
use crate::stream::delivery::next_of_batch;

fn received(headers: &[(&str, &str)], payload: impl Into<Bytes>) -> Received {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    read(Message {
        subject: "inbox".into(),
        reply: None,
        payload: payload.into(),
        headers: (!headers.is_empty()).then_some(map),
        status: None,
        description: None,
        length: 0,
    })
}

#[test]
fn the_kind_of_a_message() {
    assert!(matches!(received(&[], "x"), Received::Response(_)));
    assert!(matches!(
        received(&[("X-User", "1")], "x"),
        Received::Response(_)
    ));
    assert!(matches!(
        received(&[("Nats-Stream-Seq", "3")], "x"),
        Received::Messages(
            Arrival {
                first: 3,
                count: 1,
                leading_bytes: 0,
                last_bytes: 1
            },
            _
        )
    ));
    assert!(matches!(
        received(&[("Nats-Stream-End", "true")], ""),
        Received::End {
            status: None,
            announced: None,
            ..
        }
    ));
    let returned = received(&[("Natsmicro-Returned", "true")], "");
    assert!(matches!(
        returned,
        Received::Control(Control { returned: true, .. })
    ));
    let state = received(&[("Natsmicro-Credit", "1 1")], "");
    assert!(matches!(
        state,
        Received::Control(Control {
            returned: false,
            ..
        })
    ));
    let failed = [
        ("Nats-Stream-End", "true"),
        ("Nats-Service-Error-Code", "NOT_FOUND"),
        ("Nats-Service-Error", "gone"),
        ("Natsmicro-Count", "2"),
    ];
    let Received::End {
        status: Some(status),
        announced: Some(2),
        ..
    } = received(&failed, "why")
    else {
        panic!("not the end of a failed stream");
    };
    assert_eq!(status, Status::not_found("gone").with_details("why"));
    // The other pair of headers.
    let failed = [
        ("Nats-Stream-End", "true"),
        ("Status", "NOT_FOUND"),
        ("Description", "gone"),
    ];
    assert!(matches!(
        received(&failed, ""),
        Received::End {
            status: Some(_),
            ..
        }
    ));
    let refused = [
        ("Nats-Service-Error-Code", "NOT_FOUND"),
        ("Nats-Stream-Inbox", "_INBOX.x"),
    ];
    assert!(matches!(received(&refused, ""), Received::Response(_)));
}

#[test]
fn malformed_messages() {
    for headers in [
        &[("Nats-Stream-Seq", "")][..],
        &[("Nats-Stream-Seq", "-1")],
        &[("Nats-Stream-Seq", "99999999999999999999")],
        &[("Nats-Stream-Seq", "1"), ("Nats-Stream-End", "true")],
        &[("Nats-Stream-Seq", "1"), ("Natsmicro-Batch", "x")],
        &[("Nats-Stream-Seq", "1"), ("Natsmicro-Batch", "0")],
        &[("Nats-Stream-Seq", "1"), ("Natsmicro-Batch", "2")],
    ] {
        let received = received(headers, "\u{1}a");
        assert!(matches!(received, Received::Malformed(_)), "{headers:?}");
    }
    let lengths_do_not_fit = received(
        &[("Nats-Stream-Seq", "1"), ("Natsmicro-Batch", "1")],
        "\u{5}a",
    );
    assert!(matches!(lengths_do_not_fit, Received::Malformed(_)));
}

#[test]
fn a_batch_keeps_to_the_payload_limit() {
    let mut batch = Batch::new(1, Bytes::from(vec![0; 300]), 1024);
    assert!(batch.push(Bytes::from(vec![0; 200])).is_ok());
    assert!(batch.push(Bytes::from(vec![0; 200])).is_err());
    assert_eq!(batch.count, 2);
}

proptest! {
    #[test]
    fn a_batch_is_split_into_its_messages(
        sizes in prop::collection::vec(prop_oneof![0_usize..3, 120_usize..140, 16_000_usize..17_000], 1..40),
        first in 1_u64..1000,
    ) {
        let mut messages = sizes.iter().enumerate().map(|(at, size)| Bytes::from(vec![at.to_le_bytes()[0]; *size]));
        let mut sent = vec![messages.next().unwrap()];
        let mut batch = Batch::new(first, sent[0].clone(), 1024 * 1024);
        for message in messages {
            if !batch.has_room() || batch.push(message.clone()).is_err() {
                break;
            }
            sent.push(message);
        }
        let mut headers = HeaderMap::new();
        let payload = batch.finish(&mut headers);
        let message = Message {
            subject: "inbox".into(),
            reply: None,
            payload: payload.clone(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        };
        let Received::Messages(arrival, _) = read(message) else {
            panic!("not a batch");
        };
        let bytes: usize = sent.iter().map(Bytes::len).sum();
        prop_assert_eq!(arrival.first, first);
        prop_assert_eq!(arrival.count, sent.len() as u64);
        prop_assert_eq!(arrival.leading_bytes + arrival.last_bytes, bytes as u64);
        if sent.len() == 1 {
            prop_assert_eq!(payload, sent[0].clone());
        } else {
            let mut batch = payload;
            let messages = std::iter::from_fn(|| next_of_batch(&mut batch));
            prop_assert_eq!(messages.collect::<Vec<_>>(), sent);
        }
    }

    /// No message of a peer makes the reader panic.
    #[test]
    fn any_message_can_be_read(payload in prop::collection::vec(any::<u8>(), 0..64), seq in ".{0,8}", batch in "[0-9]{0,20}") {
        if let Ok(seq) = seq.parse::<HeaderValue>() {
            let headers = [("Nats-Stream-Seq", seq.as_str()), ("Natsmicro-Batch", &batch)];
            let _ = received(&headers, payload);
        }
    }
}
