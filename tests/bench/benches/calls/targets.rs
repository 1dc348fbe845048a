//! What the ratios should be.

use natsmicro_bench::{By, Target};

use crate::calls::{COMPUTE, IS_IN_PLACE, OURS, SHAPES, SPAWNS, WAIT};
use crate::stores::{
    AFTER, AFTER_BATCHED, AWAITED, BEFORE, BEFORE_BATCHED, CACHE, NOT_STORED, PUT_LARGE, READ,
    READ_IN_TURN, STORED, THEIRS,
};

pub(crate) fn all() -> Vec<Target> {
    let target = |group, case, against, at_least| Target {
        group,
        case,
        against,
        by: By::Rate,
        at_least,
    };
    let [one, _, many, ..] = SHAPES.map(|(group, ..)| group);
    vec![
        Target {
            by: By::Median,
            ..target(one, OURS, SPAWNS, 0.95)
        },
        target(many, OURS, SPAWNS, 1.5),
        target(many, OURS, IS_IN_PLACE, 1.0),
        target(WAIT, OURS, SPAWNS, 1.0),
        target(COMPUTE, OURS, SPAWNS, 0.95),
        target(STORED, AFTER, NOT_STORED, 0.55),
        target(STORED, BEFORE, NOT_STORED, 0.40),
        target(STORED, AFTER_BATCHED, NOT_STORED, 0.55),
        target(STORED, BEFORE_BATCHED, NOT_STORED, 0.40),
        target(STORED, AFTER, AWAITED, 8.0),
        target(READ, OURS, THEIRS, 1.0),
        target(READ_IN_TURN, CACHE, OURS, 1000.0),
        target(PUT_LARGE, OURS, THEIRS, 2.0),
    ]
}
