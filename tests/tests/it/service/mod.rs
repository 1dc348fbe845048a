//! A service as a whole: names, discovery, statistics, its end.

mod discovery;
mod names;
mod stats;
mod stop;
mod without_jetstream;
