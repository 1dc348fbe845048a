use proptest::prelude::*;

use super::*;

fn arrival(first: u64, sizes: &[u64]) -> Arrival {
    let (last, leading) = sizes.split_last().unwrap();
    Arrival {
        first,
        count: sizes.len() as u64,
        leading_bytes: leading.iter().sum(),
        last_bytes: *last,
    }
}

const PLENTY: Credit = Credit::UNLIMITED;

#[test]
fn credit_travels_as_two_numbers() {
    let credit = Credit {
        messages: 7,
        bytes: 1024,
    };
    assert_eq!(credit.to_string(), "7 1024");
    assert_eq!("7 1024".parse(), Ok(credit));
    for bad in ["", "7", "7 ", " 7", "7 x", "-1 2", "7  8", "7 8 9"] {
        assert!(bad.parse::<Credit>().is_err(), "{bad:?}");
    }
}

#[test]
fn the_last_message_may_be_of_any_size() {
    let mut outbound = Outbound::new(Credit {
        messages: 10,
        bytes: 100,
    });
    assert_eq!(outbound.send(99), 1);
    assert!(outbound.may_send());
    assert_eq!(outbound.send(1_000_000), 2);
    assert!(!outbound.may_send());
}

#[test]
fn a_late_grant_takes_nothing_back() {
    let mut outbound = Outbound::new(Credit {
        messages: 2,
        bytes: 10,
    });
    outbound.grant(Credit {
        messages: 1,
        bytes: 20,
    });
    outbound.send(10);
    assert!(outbound.may_send());
}

#[test]
fn lost_and_repeated_messages_are_faults() {
    let mut inbound = Inbound::default();
    assert_eq!(inbound.receive(arrival(1, &[1, 2, 3]), PLENTY), Ok(true));
    let gap = Fault::Gap {
        expected: 4,
        got: 5,
    };
    assert_eq!(inbound.receive(arrival(5, &[1]), PLENTY), Err(gap));
    let repeated = Fault::Repeated { number: 3 };
    assert_eq!(inbound.receive(arrival(3, &[1]), PLENTY), Err(repeated));
    let repeated = Fault::Repeated { number: 0 };
    assert_eq!(inbound.receive(arrival(0, &[1]), PLENTY), Err(repeated));
    let truncated = Fault::Truncated {
        announced: 4,
        received: 3,
    };
    assert_eq!(inbound.end(Some(4)), Err(truncated));
}

#[test]
fn messages_after_the_end_are_ignored() {
    let mut inbound = Inbound::default();
    assert_eq!(inbound.end(Some(0)), Ok(true));
    assert_eq!(inbound.end(Some(9)), Ok(false));
    assert_eq!(inbound.receive(arrival(7, &[1]), PLENTY), Ok(false));
}

#[test]
fn counts_that_overflow_are_refused() {
    let mut inbound = Inbound::default();
    let hostile = Arrival {
        first: 1,
        count: u64::MAX,
        leading_bytes: u64::MAX,
        last_bytes: u64::MAX,
    };
    let granted = Credit {
        messages: 10,
        bytes: 10,
    };
    assert_eq!(inbound.receive(hostile, granted), Err(Fault::Overrun));
}

/// A step of a sender and a receiver with a network between them.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    /// One of the grants in transit arrives.
    Grant(prop::sample::Index),
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_usize..400).prop_map(Step::Send),
        1 => any::<prop::sample::Index>().prop_map(Step::Grant),
        2 => Just(Step::Read),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    /// Whatever the order and the delay of the grants: the receiver accepts all that the sender may send, and never holds more than the
    /// window and one message.
    #[test]
    fn the_window_holds(steps in steps(), messages in 1_u64..20, bytes in 1_u64..1000) {
        let window = Credit { messages, bytes };
        let mut outbound = Outbound::new(window);
        let mut inbound = Inbound::default();
        let mut granted = window;
        let mut in_transit = vec![window];
        let mut held = std::collections::VecDeque::new();
        let mut consumed = Credit::default();
        for step in steps {
            match step {
                Step::Send(size) if outbound.may_send() => {
                    let number = outbound.send(size);
                    let arrived = inbound.receive(arrival(number, &[size as u64]), granted);
                    prop_assert_eq!(arrived, Ok(true));
                    held.push_back(size as u64);
                }
                Step::Send(_) => {}
                Step::Grant(which) => outbound.grant(*which.get(&in_transit)),
                Step::Read => {
                    if let Some(size) = held.pop_front() {
                        consumed.messages += 1;
                        consumed.bytes += size;
                        granted = window.after(consumed);
                        in_transit.push(granted);
                    }
                }
            }
            prop_assert!(held.len() as u64 <= messages);
            let all_but_last: u64 = held.iter().rev().skip(1).sum();
            prop_assert!(all_but_last < bytes.max(1));
        }
        // No deadlock: when all messages are read and the last grant has arrived, the sender has credit.
        outbound.grant(window.after(Credit {
            messages: consumed.messages + held.len() as u64,
            bytes: consumed.bytes + held.iter().sum::<u64>(),
        }));
        prop_assert!(outbound.may_send());
    }

    /// A receiver accepts the complete sequence and no other, however it is split into batches.
    #[test]
    fn only_the_whole_sequence_is_accepted(
        batches in prop::collection::vec(prop::collection::vec(0_u64..50, 1..5), 1..20),
        broken in any::<prop::sample::Index>(),
        repeat in any::<bool>(),
    ) {
        let broken = broken.index(batches.len());
        let mut inbound = Inbound::default();
        let mut next = 1;
        for (at, batch) in batches.iter().enumerate() {
            let count = batch.len() as u64;
            if at == broken {
                let wrong = if repeat { next - 1 } else { next + 1 };
                prop_assert!(inbound.receive(arrival(wrong, batch), PLENTY).is_err());
            }
            prop_assert_eq!(inbound.receive(arrival(next, batch), PLENTY), Ok(true));
            next += count;
        }
        prop_assert_eq!(inbound.end(Some(next - 1)), Ok(true));
    }
}
