//! What callers cannot do to a service, whatever they send.

mod inboxes;
mod logs;
mod long_replies;
mod lost_callers;
mod prefixes;
mod reply_subjects;
mod settings;
