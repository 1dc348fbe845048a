//! What callers cannot do to a service, whatever they send.

mod reply_subjects;
