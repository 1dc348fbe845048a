//! Subject prefixes under which a service would be an inbox, or NATS itself, to others.

use natsmicro::StartErrorKind;
use natsmicro_tests::common::Nats;
use natsmicro_tests::trust::{Impl, TrustServer};

#[tokio::test]
async fn are_refused() {
    let nats = Nats::start().await;
    for prefix in [
        "_x.y",
        "_x",
        "_",
        "_INBOX.a",
        "_INBOX_alice",
        "_R_.a",
        "$x",
        "$JS.API",
    ] {
        let service = TrustServer::new(Impl::default()).with_subject_prefix(prefix);
        let started = nats.server().add_service(service).start().await;
        let kind = started.err().map(|error| *error.kind());
        assert_eq!(kind, Some(StartErrorKind::InvalidSettings), "`{prefix}`");
    }
}

#[tokio::test]
async fn are_taken_if_the_mark_is_elsewhere() {
    let nats = Nats::start().await;
    for prefix in ["x_.y", "x._y", "x.$y"] {
        let service = TrustServer::new(Impl::default()).with_subject_prefix(prefix);
        let started = nats.server().add_service(service).start().await;
        started.unwrap().stop().await.unwrap();
    }
}
