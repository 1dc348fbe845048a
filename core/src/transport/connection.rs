//! What a connection needs beyond async-nats: its epoch, unique ids, and a round trip to the server.

use std::time::Duration;

use futures::StreamExt;

/// A new unique id: the last token of a new inbox.
pub(crate) fn unique_id(nats: &async_nats::Client) -> String {
    let inbox = nats.new_inbox();
    inbox.rsplit('.').next().unwrap_or_default().to_owned()
}

/// Counts the connections of a client. It changes with every reconnect, so a different value means that messages on the old
/// connection may be lost.
pub(crate) fn connection_epoch(nats: &async_nats::Client) -> u64 {
    let statistics = nats.statistics();
    statistics
        .connects
        .load(std::sync::atomic::Ordering::Relaxed)
}

/// Sends a message to itself and waits for it: then the server has processed everything that was sent on this connection before, and
/// everything that the server had sent has been received. `flush` only waits for the socket.
pub(crate) async fn round_trip(nats: &async_nats::Client, timeout: Duration) -> Result<(), String> {
    let inbox = nats.new_inbox();
    let trip = async {
        let mut echo = nats
            .subscribe(inbox.clone())
            .await
            .map_err(|error| error.to_string())?;
        nats.publish(inbox, bytes::Bytes::new())
            .await
            .map_err(|error| error.to_string())?;
        echo.next()
            .await
            .map(drop)
            .ok_or_else(|| "the connection is closed".to_owned())
    };
    tokio::time::timeout(timeout, trip)
        .await
        .unwrap_or_else(|_| Err(format!("the NATS server did not answer within {timeout:?}")))
}
