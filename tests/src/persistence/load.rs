//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use natsmicro::Status;
use tokio::task::JoinHandle;

use super::eventually;

/// Callers that go on until they are told to stop, whatever becomes of their calls.
pub struct Load<R> {
    callers: Vec<JoinHandle<Vec<Result<R, Status>>>>,
    answered: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

impl<R: Send + 'static> Load<R> {
    /// `call` gets a key that no other call has.
    pub fn start<C>(callers: usize, call: impl Fn(String) -> C + Clone + Send + 'static) -> Self
    where
        C: Future<Output = Result<R, Status>> + Send,
    {
        let (answered, enough) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let callers = (0..callers).map(|caller| {
            let (call, answered, enough) = (call.clone(), answered.clone(), enough.clone());
            tokio::spawn(async move {
                let mut results = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    let result = call(format!("{caller}-{}", results.len())).await;
                    if result.is_ok() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        // Between two attempts of a caller; nothing waits for it.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    results.push(result);
                }
                results
            })
        });
        Self {
            callers: callers.collect(),
            answered,
            enough,
        }
    }

    /// Waits for this many more answers.
    pub async fn more(&self, calls: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + calls;
        eventually("calls are answered", || async {
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    pub async fn end(self) -> Vec<Result<R, Status>> {
        self.enough.store(true, Ordering::Relaxed);
        let mut results = Vec::new();
        for caller in self.callers {
            results.extend(caller.await.unwrap());
        }
        results
    }
}
