//! Whether a server works, for those who decide if it gets requests, or a new start.

use crate::context::Names;
use crate::server::running::ServerState;

/// Whether a server works; see [`ServerHandle::health`](crate::ServerHandle::health).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether it can go on by itself. If not, only a new start helps: the connection is lost for good, the server has ended, a dispatcher
    /// has panicked, or NATS does not permit a subscription any more.
    pub live: bool,
    /// Whether it serves requests now. A server that is not live is not ready either.
    pub ready: bool,
    /// Why it is not live or not ready, one sentence each, for a person; empty if all is well.
    pub reasons: Vec<String>,
}

impl Health {
    /// The health of a server in this state, of whose endpoints these have lost their dispatchers, and to which NATS refuses these
    /// subscriptions: NATS makes none of them again, whatever it permits later.
    pub(crate) fn of<'a>(
        state: ServerState,
        panicked: impl Iterator<Item = &'a Names>,
        refused: impl Iterator<Item = String>,
    ) -> Self {
        let mut reasons: Vec<_> = panicked
            .map(|Names { service, endpoint }| {
                format!("the dispatcher of `{service}.{endpoint}` has panicked")
            })
            .collect();
        reasons.extend(
            refused.map(|subject| format!("NATS does not permit the subscription to `{subject}`")),
        );
        let live = state != ServerState::Closed && reasons.is_empty();
        reasons.extend(match state {
            ServerState::Serving => None,
            ServerState::Draining => Some("the server is stopping".to_owned()),
            ServerState::Disconnected => Some("the connection to NATS is interrupted".to_owned()),
            ServerState::Closed => Some("the server has ended".to_owned()),
        });
        Self {
            live,
            ready: reasons.is_empty(),
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(state: ServerState, panicked: &[Names]) -> (bool, bool, usize) {
        let health = Health::of(state, panicked.iter(), std::iter::empty());
        (health.live, health.ready, health.reasons.len())
    }

    #[test]
    fn a_probe_is_told_what_helps() {
        assert_eq!(health(ServerState::Serving, &[]), (true, true, 0));
        assert_eq!(health(ServerState::Draining, &[]), (true, false, 1));
        assert_eq!(health(ServerState::Disconnected, &[]), (true, false, 1));
        assert_eq!(health(ServerState::Closed, &[]), (false, false, 1));
        let panicked = [Names {
            service: "users".to_owned(),
            endpoint: "save".to_owned(),
        }];
        assert_eq!(health(ServerState::Serving, &panicked), (false, false, 1));
        assert_eq!(health(ServerState::Closed, &panicked), (false, false, 2));
    }
}
