//! A round trip to the NATS server: what was sent before it has been processed, and what had been sent to this connection has arrived.
//!
//! async-nats offers none: its `flush` waits for the socket. So a message is sent to an inbox of this connection, and it or the notice that
//! nobody gets it (with `no_echo`) comes back. A connection that may publish replies alone can do neither.

use std::time::Duration;

use async_nats::Subject;
use async_nats::connection::State;
use futures::StreamExt;

use crate::transport::backlog::Lane;
use crate::transport::gate::Gate;
use crate::transport::outgoing::{Outgoing, PublishError};

/// How long an echo is waited for on a connection that has had none before.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the connection is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What is known after a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundTrip {
    /// The NATS server has processed everything.
    Proven,
    /// The NATS server answers, and had a second. It does not let this connection publish to itself, so that more cannot be known.
    Likely,
}

/// Makes a round trip. Fails if the NATS server does not answer in time.
pub(crate) async fn round_trip(gate: &Gate, timeout: Duration) -> Result<RoundTrip, String> {
    let answered = tokio::time::timeout(timeout, async {
        // A connection that was answered before is waited for: the NATS server may be slow.
        let patience = if gate.has_echo() { timeout } else { PATIENCE };
        match tokio::time::timeout(patience, echo(gate)).await {
            Ok(echo) => echo.map(|()| RoundTrip::Proven),
            Err(_) => ping(gate).await.map(|()| RoundTrip::Likely),
        }
    });
    answered
        .await
        .unwrap_or_else(|_| Err(format!("the NATS server did not answer within {timeout:?}")))
}

/// Sends a message to itself, and waits for it or for the report that it may not be sent: the NATS server handles the messages of a
/// connection in their order. After a reconnect it is sent again, since it may be lost.
async fn echo(gate: &Gate) -> Result<(), String> {
    let inbox = gate.new_inbox();
    let mut violations = gate.violations();
    let subscribed = gate.subscribe(inbox.clone()).await;
    let mut echo = subscribed.map_err(|error| error.to_string())?;
    let mut refused = std::pin::pin!(async { while *violations.next().await.subject != *inbox {} });
    loop {
        let connection = gate.connection_epoch();
        let message = Outgoing::to(inbox.as_str()).with_reply(Subject::from(inbox.as_str()));
        let sent = gate.publish(Lane::Reply, message).await;
        sent.map_err(|error| error.to_string())?;
        tokio::select! {
            message = echo.next() => return message.map(|_| gate.record_echo()).ok_or_else(closed),
            () = &mut refused => return Ok(()),
            () = reconnected(gate, connection) => {}
        }
    }
}

/// Waits until the connection is another one than that of this epoch.
async fn reconnected(gate: &Gate, connection: u64) {
    while gate.connection_epoch() == connection {
        tokio::time::sleep(POLL).await;
    }
}

/// Makes async-nats send a ping, and waits until the connection has received anything after it.
async fn ping(gate: &Gate) -> Result<(), String> {
    let subscribed = gate.subscribe(gate.new_inbox()).await;
    let mut silent = subscribed.map_err(|error| error.to_string())?;
    let before = gate.received_bytes();
    // The one command of async-nats that sends a ping.
    silent.drain().await.map_err(|_| closed())?;
    while gate.received_bytes() == before || gate.connection_state() != State::Connected {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn closed() -> String {
    PublishError::Closed.to_string()
}
