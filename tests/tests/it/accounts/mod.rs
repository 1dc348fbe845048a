//! Services and callers in two accounts, and on servers that are connected in other ways than a cluster.

mod calls;
mod cluster;
mod gateways;
mod large_answers;
mod leaf_nodes;
mod plain;
mod singleton;
mod streams;
