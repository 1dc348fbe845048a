//! A service in one account, and its callers in another.

use async_nats::ConnectOptions;
use natsmicro::testing::{NatsServer, NatsServerBuilder};

use crate::common::Nats;

/// The users `service` and `caller`, each in an account of its own. The caller imports what the services of the tests answer on. It gets
/// their replies by `response_type`, and those of discovery by `stream`.
pub fn accounts(response_type: &str) -> String {
    format!(
        r#"
accounts {{
    SERVICE {{
        users: [{{ user: service, password: "" }}]
        exports: [
            {{ service: "s.>", response_type: {response_type} }}
            {{ service: "trust.>", response_type: {response_type} }}
            {{ service: "calls.>", response_type: {response_type} }}
            {{ service: "$SRV.>", response_type: stream }}
        ]
    }}
    CALLER {{
        users: [{{ user: caller, password: "" }}]
        imports: [
            {{ service: {{ account: SERVICE, subject: "s.>" }} }}
            {{ service: {{ account: SERVICE, subject: "trust.>" }} }}
            {{ service: {{ account: SERVICE, subject: "calls.>" }}, to: "remote.calls.>" }}
            {{ service: {{ account: SERVICE, subject: "$SRV.>" }} }}
        ]
    }}
}}
"#
    )
}

pub async fn connect(server: &NatsServer, user: &str) -> async_nats::Client {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), String::new());
    server.connect_with(options).await.unwrap()
}

/// A server whose connections for the service and for its callers are in two accounts.
pub async fn nats(response_type: &str) -> Nats {
    on(NatsServer::builder().config(accounts(response_type))).await
}

pub async fn on(builder: NatsServerBuilder) -> Nats {
    let server = builder.jetstream(false).start().await.unwrap();
    Nats {
        service: connect(&server, "service").await,
        caller: connect(&server, "caller").await,
        server,
    }
}
