//! Checks the settings of services before a server starts.
//!
//! Only what can be set at run time or differ between services is checked; the macro has checked the rest. No connection is needed.

use std::collections::HashMap;

use crate::server::service_server::{AddedService, ServiceSettings};
use crate::server::{StartError, StartErrorKind};
use crate::transport::subject::{ReplySubjects, check_subject_prefix};

/// Checks services and patterns of reply subjects; gives the subjects to which replies go.
pub(crate) fn check(
    services: &[AddedService],
    reply_subjects: Vec<String>,
) -> Result<ReplySubjects, StartError> {
    let mut subjects = HashMap::new();
    for AddedService {
        settings, routes, ..
    } in services
    {
        check_service(settings)?;
        for route in routes {
            let subject = format!("{}.{}", settings.subject_prefix, route.settings.name);
            if let Some(other) = subjects.insert(subject.clone(), &settings.name) {
                return Err(StartError::new(
                    StartErrorKind::DuplicateSubject,
                    format!(
                        "services `{other}` and `{}` both answer on `{subject}`: give one of them another subject prefix with \
                         `with_subject_prefix`",
                        settings.name
                    ),
                ));
            }
        }
    }
    let subjects: Vec<_> = subjects.into_keys().collect();
    ReplySubjects::new(reply_subjects, &subjects)
        .map_err(|wrong| StartError::new(StartErrorKind::InvalidSettings, wrong))
}

fn check_service(settings: &ServiceSettings) -> Result<(), StartError> {
    let ServiceSettings {
        name,
        version,
        subject_prefix,
        timeout,
        metadata,
        ..
    } = settings;
    let wrong = if !is_name(name) {
        format!(
            "`{}` cannot be the name of a service: use at most {MAX_NAME_LEN} letters, digits, `-` and `_`",
            shown(name)
        )
    } else if semver::Version::parse(version).is_err() {
        format!(
            "`{}` is not a semantic version: write three numbers, such as \"1.0.0\"",
            shown(version)
        )
    } else if let Err(reason) = check_subject_prefix(subject_prefix) {
        format!(
            "`{}` cannot be a subject prefix: {reason}",
            shown(subject_prefix)
        )
    } else if metadata.contains_key("") {
        "a metadata key cannot be empty".to_owned()
    } else if let Some(key) = metadata.keys().find(|key| key.starts_with("_nats")) {
        format!("`{key}` cannot be a metadata key: `_nats` is reserved")
    } else if timeout.is_some_and(|timeout| timeout.is_zero()) {
        "the timeout of a service cannot be zero".to_owned()
    } else {
        return Ok(());
    };
    Err(StartError::new(StartErrorKind::InvalidSettings, wrong))
}

/// The longest name of a service in bytes: that of a bucket, so that all names have one bound.
const MAX_NAME_LEN: usize = 251;

/// A text for an error message: escaped, and at most 80 characters of it.
fn shown(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_LEN
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_keys() {
        let settings = |key: &str| ServiceSettings {
            name: "users".to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
            subject_prefix: "api".to_owned(),
            timeout: None,
            metadata: [(key.to_owned(), "value".to_owned())].into(),
            queue_group: None,
        };
        assert!(check_service(&settings("team")).is_ok());
        for (key, reason) in [("", "empty"), ("_nats.x", "reserved")] {
            let error = check_service(&settings(key)).unwrap_err();
            assert_eq!(error.kind(), &StartErrorKind::InvalidSettings);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
