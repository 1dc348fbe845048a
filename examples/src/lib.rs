//! The examples are in the files next to `src/`. Here is only what makes the samples of the README part of the tests.

#![cfg_attr(doctest, doc = include_str!("../../README.md"))]
