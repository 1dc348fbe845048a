//! Locks that ignore poisoning.
//!
//! A lock of the standard library is poisoned when a thread panics while it holds the guard. Critical sections of this crate are
//! short, and one that may panic (a codec of the user may) changes nothing before that, so the data stays sound and later holders
//! go on.
//!
//! A leaf: uses nothing of the crate.

use std::sync::{self, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// A [`std::sync::Mutex`] that ignores poisoning. Never held across an `await`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`std::sync::RwLock`] that ignores poisoning. Never held across an `await`.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_survive_a_panic_of_their_holder() {
        let (mutex, rwlock) = (Mutex::new(1), RwLock::new(2));
        let holder = std::panic::AssertUnwindSafe(|| {
            let _guards = (mutex.lock(), rwlock.write());
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(std::panic::catch_unwind(holder).is_err());
        assert_eq!((*mutex.lock(), *rwlock.read()), (1, 2));
    }
}
