//! Each feature under exactly the permissions that the guide lists for it, and without each single one of them.

mod buckets;
mod calls;
mod example;
mod inboxes;
mod kv;
mod objects;
mod streams;
mod trial;
mod writes;
