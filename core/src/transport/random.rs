//! Tokens that nobody can guess: of inboxes, of instances, of messages that are stored once.

use std::hash::{BuildHasher, RandomState};

use ring::rand::{SecureRandom, SystemRandom};

/// The letters of a token: 22 of 62 hold 128 bits.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN_LEN: usize = 22;

/// 128 random bits as a token of a subject.
pub(crate) fn random_token() -> String {
    let mut bytes = [0; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // The operating system gives none now. The standard library has asked it before, for the keys of its hash maps.
        let halves = [RandomState::new(), RandomState::new()];
        for (half, state) in bytes.chunks_mut(8).zip(halves) {
            half.copy_from_slice(&state.hash_one(std::time::Instant::now()).to_le_bytes());
        }
    }
    let mut rest = u128::from_le_bytes(bytes);
    let letters = (0..TOKEN_LEN).map(|_| {
        let letter = ALPHABET[(rest % 62) as usize];
        rest /= 62;
        char::from(letter)
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike() {
        let tokens: std::collections::HashSet<_> = (0..1_000).map(|_| random_token()).collect();
        assert_eq!(tokens.len(), 1_000);
        assert!(tokens.iter().all(|token| token.len() == TOKEN_LEN));
    }
}
