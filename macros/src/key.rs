//! The template of a store key, such as `user.<id>`.
//!
//! Assumes a string literal. Guarantees that the characters around the placeholders can stand in a key, that no token of the key is
//! empty whatever the placeholders become, and that each placeholder is a name rustc takes for a field. Whether the request has that
//! field, and whether its type can be part of a key, is for rustc to say: see `expand::store`.
//!
//! A template with mistakes still yields its placeholders, so that the functions generated from it keep their arguments.

use proc_macro2::Span;
use syn::{Ident, LitStr};

use crate::diag::{error, error_with_help};

/// A checked template and the literal it was written as.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) lit: LitStr,
    pub(crate) parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text that stands in every key.
    Literal(String),
    /// A field of a message, written `<id>`, `{id}` or `<response.id>`.
    Field(Source, String),
}

/// The message that has the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Request,
    Response,
}

impl Template {
    /// Reads a template; every mistake goes to `errors`.
    pub(crate) fn parse(lit: &LitStr, errors: &mut Vec<syn::Error>) -> Self {
        let text = lit.value();
        let mut parser = Parser {
            lit,
            text: &text,
            errors,
        };
        let parts = parser.parts();
        parser.check_tokens(&parts);
        Self {
            lit: lit.clone(),
            parts,
        }
    }

    /// The placeholders of one message in the order of the template, repeated ones included.
    pub(crate) fn fields(&self, of: Source) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(move |part| match part {
            Part::Field(source, name) if *source == of => Some(name.as_str()),
            _ => None,
        })
    }

    /// All placeholders in the order of the template, repeated ones included.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = (Source, &str)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(source, name) => Some((*source, name.as_str())),
            Part::Literal(_) => None,
        })
    }

    /// Whether a placeholder is a whole token of the key wherever it stands, so that a pattern can leave it open.
    pub(crate) fn is_token(&self, placeholder: (Source, &str)) -> bool {
        self.parts.iter().enumerate().all(|(at, part)| {
            let is_it = matches!(part, Part::Field(source, name) if (*source, name.as_str()) == placeholder);
            let before = at.checked_sub(1).and_then(|before| self.parts.get(before));
            let after = self.parts.get(at + 1);
            !is_it
                || (before.is_none_or(|part| matches!(part, Part::Literal(text) if text.ends_with('.')))
                    && after.is_none_or(|part| matches!(part, Part::Literal(text) if text.starts_with('.'))))
        })
    }

    /// Stands in for a template that was reported and cannot be read at all.
    pub(crate) fn missing(span: Span) -> Self {
        Self {
            lit: LitStr::new("", span),
            parts: Vec::new(),
        }
    }

    /// Whether there is no template to speak of, which was reported.
    pub(crate) fn is_missing(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn is_constant(&self) -> bool {
        self.placeholders().next().is_none()
    }

    /// Whether two templates make the same keys, however their placeholders are written.
    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        !self.is_missing() && self.parts == other.parts
    }
}

/// The identifier of a field that a placeholder names; a keyword becomes a raw identifier.
pub(crate) fn field_ident(name: &str, span: Span) -> Ident {
    match syn::parse_str::<Ident>(name) {
        // Keywords of later editions are raw on every edition: the same field either way.
        Ok(_) if name != "gen" => Ident::new(name, span),
        _ => Ident::new_raw(name, span),
    }
}

/// The longest key in bytes, as the runtime has it.
const MAX_KEY_LEN: usize = 1024;

struct Parser<'a> {
    lit: &'a LitStr,
    text: &'a str,
    errors: &'a mut Vec<syn::Error>,
}

impl Parser<'_> {
    fn help(&mut self, message: String, help: &str) {
        self.errors.push(error_with_help(self.lit, message, help));
    }

    fn parts(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = self.text;
        let mut reported_char = false;
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '<' | '{' => {
                    let (field, remainder) = self.placeholder(c, after);
                    rest = remainder;
                    if let Some(field) = field {
                        if !literal.is_empty() {
                            parts.push(Part::Literal(std::mem::take(&mut literal)));
                        }
                        parts.push(field);
                    }
                    continue;
                }
                '>' | '}' => {
                    let form = if c == '>' { "<name>" } else { "{name}" };
                    let message = format!(
                        "`{c}` closes nothing in the key `{}`",
                        self.text.escape_debug()
                    );
                    self.help(message, &format!("a field is written `{form}`"));
                }
                c if c.is_ascii_alphanumeric() || "-/_=.".contains(c) => literal.push(c),
                c if !reported_char => {
                    reported_char = true;
                    self.help(
                        format!("`{}` is not allowed in a key", c.escape_debug()),
                        "use letters, digits and any of `-`, `/`, `_`, `=` and `.`",
                    );
                }
                _ => {}
            }
            rest = after;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        parts
    }

    /// Reads what follows an opening `<` or `{`; gives the placeholder and the text after it.
    fn placeholder<'t>(&mut self, open: char, rest: &'t str) -> (Option<Part>, &'t str) {
        let (close, form) = if open == '<' {
            ('>', "<name>")
        } else {
            ('}', "{name}")
        };
        let end = rest.find(|c| "<>{}".contains(c)).unwrap_or(rest.len());
        let (inside, after) = rest.split_at(end);
        let other = if open == '<' { '}' } else { '>' };
        if let Some(after) = after.strip_prefix(other) {
            self.help(
                format!(
                    "`{open}` is closed by `{other}` in the key `{}`",
                    self.text.escape_debug()
                ),
                &format!("a field is written `{form}`"),
            );
            let field = is_field(inside).then(|| Part::Field(Source::Request, inside.to_owned()));
            return (field, after);
        }
        let Some(after) = after.strip_prefix(close) else {
            let message = format!(
                "`{open}` is never closed in the key `{}`",
                self.text.escape_debug()
            );
            self.help(message, &format!("a field is written `{form}`"));
            // What looks like the name is taken for it, to keep the arguments of the generated functions.
            let end = inside
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(inside.len());
            let (name, after) = rest.split_at(end);
            return (
                is_field(name).then(|| Part::Field(Source::Request, name.to_owned())),
                after,
            );
        };
        (self.field(open, close, inside), after)
    }

    fn field(&mut self, open: char, close: char, inside: &str) -> Option<Part> {
        let (source, path) = match inside.split_once('.') {
            Some(("response", field)) => (Source::Response, field),
            _ => (Source::Request, inside),
        };
        let path = path.strip_prefix("r#").unwrap_or(path);
        if is_field(path) {
            return Some(Part::Field(source, path.to_owned()));
        }
        let shown = format!("{open}{}{close}", inside.escape_debug());
        let nested: Vec<&str> = path.split('.').collect();
        let last = nested
            .last()
            .copied()
            .filter(|_| nested.len() > 1 && nested.iter().all(|part| is_field(part)));
        match (last, nested.first()) {
            (Some(last), Some(&"request")) if nested.len() == 2 => {
                let message = format!("`{shown}` names the request, which a key does by itself");
                self.help(message, &format!("write `{open}{last}{close}`"));
            }
            (Some(last), Some(&("output" | "reply" | "res" | "resp" | "result")))
                if nested.len() == 2 =>
            {
                let help = format!(
                    "a field of the response is written `{open}response.{last}{close}`, one of the request `{open}{last}{close}`"
                );
                self.help(format!("`{shown}` reaches into a nested message"), &help);
            }
            (Some(_), _) => {
                let message = match source {
                    Source::Request => {
                        "only a field of the request itself can be part of a key; copy the value to a top-level field"
                    }
                    Source::Response => {
                        "only a field of the response itself can be part of a key; copy the value to a top-level field"
                    }
                };
                self.help(format!("`{shown}` reaches into a nested message"), message);
            }
            (None, _) => {
                let help = match source {
                    Source::Request => {
                        format!("put the name of a request field between `{open}` and `{close}`")
                    }
                    Source::Response => format!(
                        "put the name of a response field between `{open}response.` and `{close}`"
                    ),
                };
                self.help(format!("`{shown}` does not name a field"), &help);
            }
        }
        Some(Part::Field(source, last?.to_owned()))
    }

    /// The rules for the key as a whole, as far as its literal parts decide them.
    fn check_tokens(&mut self, parts: &[Part]) {
        let shown = self.text.escape_debug().to_string();
        if self.text.is_empty() {
            self.help(
                "a key cannot be empty".to_owned(),
                "`key = \"user.<id>\"` names the entry of the request's `id`",
            );
            return;
        }
        let starts = matches!(parts.first(), Some(Part::Literal(text)) if text.starts_with('.'));
        let ends = matches!(parts.last(), Some(Part::Literal(text)) if text.ends_with('.'));
        let inside = parts
            .iter()
            .any(|part| matches!(part, Part::Literal(text) if text.contains("..")));
        if self.errors.is_empty() && (starts || ends || inside) {
            self.help(
                format!("the key `{shown}` has an empty token"),
                "a key cannot start or end with `.` or contain `..`",
            );
        }
        if matches!(parts.first(), Some(Part::Literal(text)) if text.starts_with("_kv")) {
            self.errors.push(error(
                self.lit,
                "a key cannot start with `_kv`, which NATS keeps for itself",
            ));
        }
        let literal = parts.iter().map(|part| match part {
            Part::Literal(text) => text.len(),
            Part::Field(..) => 0,
        });
        if literal.sum::<usize>() > MAX_KEY_LEN {
            let message = format!("a key cannot have more than {MAX_KEY_LEN} bytes");
            self.errors.push(error(self.lit, message));
        }
    }
}

/// Whether a text can be the name of a field, keywords included.
fn is_field(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    starts && goes_on && !matches!(text, "_" | "self" | "Self" | "super" | "crate")
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
