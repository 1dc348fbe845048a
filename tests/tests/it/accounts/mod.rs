//! Services and callers in two accounts, and on servers that are connected in other ways than a cluster.

mod calls;
mod plain;
mod singleton;
mod streams;
