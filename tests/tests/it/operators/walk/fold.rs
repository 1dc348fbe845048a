//! A watch whose events are folded into a map.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use natsmicro::store::{StoreError, Watch, WatchEvent};
use natsmicro_tests::persistence::eventually;
use tokio::task::JoinHandle;

use super::Values;

pub struct Fold {
    values: Arc<Mutex<Values>>,
    /// Ends with the watch, whose error it gives.
    following: JoinHandle<StoreError>,
}

impl Fold {
    pub fn of<T: Send + 'static>(
        mut watch: Watch<T>,
        number: impl Fn(&T) -> u64 + Send + 'static,
    ) -> Self {
        let values = Arc::new(Mutex::new(Values::new()));
        let folded = Arc::clone(&values);
        let following = tokio::spawn(async move {
            loop {
                match watch.next().await.expect("an error is the end") {
                    Ok(WatchEvent::Entry(entry)) => {
                        let mut values = folded.lock().unwrap();
                        match entry.value {
                            Some(value) => {
                                values.insert(entry.key, (entry.revision, number(&value)))
                            }
                            None => values.remove(&entry.key),
                        };
                    }
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        });
        Self { values, following }
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> StoreError {
        eventually("the watch ends", || async {
            self.following.is_finished().then_some(())
        })
        .await;
        (&mut self.following).await.unwrap()
    }

    /// Waits until it has these values.
    pub async fn becomes(&self, expected: &Values, step: &str) {
        let is_equal = || async { (*self.values.lock().unwrap() == *expected).then_some(()) };
        let waited = tokio::time::timeout(
            std::time::Duration::from_secs(60),
            eventually_forever(is_equal),
        );
        if waited.await.is_err() {
            let values = self.values.lock().unwrap();
            assert_eq!(*values, *expected, "the watch after `{step}`");
        }
    }
}

impl Drop for Fold {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn eventually_forever<F: Future<Output = Option<()>>>(look: impl Fn() -> F) {
    while look().await.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
