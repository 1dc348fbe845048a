//! What callers cannot do to a service, whatever they send.

mod inboxes;
mod lost_callers;
mod reply_subjects;
