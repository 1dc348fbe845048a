//! The description of a service, from the documentation of its trait.
//!
//! Assumes attributes as they were written. Guarantees plain text in one line: the first paragraph, as rustdoc would show it.

use std::fs;

use pulldown_cmark::{BrokenLink, CowStr, Event, Options, Parser, Tag, TagEnd};
use syn::{Attribute, Expr, ExprLit, ExprMacro, Lit, LitStr};

/// What the documentation says of a service.
#[derive(Debug, Default)]
pub(crate) struct Documentation {
    /// Its first paragraph.
    pub(crate) description: Option<LitStr>,
    /// What stands there instead of a text that the macro can see.
    pub(crate) unreadable: Option<Expr>,
}

/// Reads the doc comments and the `#[doc = ..]` of a trait.
pub(crate) fn of_trait(attrs: &[Attribute]) -> Documentation {
    let mut lines = Vec::new();
    let mut unreadable = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("doc")) {
        let Ok(pair) = attr.meta.require_name_value() else {
            continue;
        };
        match text(&pair.value) {
            Some(text) => lines.extend(without_stars(&text)),
            None => unreadable = unreadable.or_else(|| Some(pair.value.clone())),
        }
    }
    let description = first_paragraph(&unindented(&lines));
    Documentation {
        // What could not be read may have been the first paragraph, if there is none else.
        unreadable: unreadable.filter(|_| description.is_none()),
        description: description.map(|text| LitStr::new(&text, proc_macro2::Span::call_site())),
    }
}

/// The text of a `#[doc = ..]`, also that of a file.
fn text(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.value()),
        Expr::Group(group) => text(&group.expr),
        Expr::Macro(ExprMacro { mac, .. }) if is_include(&mac.path) => {
            let path: LitStr = mac.parse_body().ok()?;
            included(&path)
        }
        _ => None,
    }
}

fn is_include(path: &syn::Path) -> bool {
    let last = path.segments.last();
    last.is_some_and(|last| last.ident == "include_str")
}

/// The text of a file whose path is relative to the file that names it. rustc reads it too, for rustdoc, and so knows that what was
/// compiled depends on it.
#[cfg(not(test))]
fn included(path: &LitStr) -> Option<String> {
    let source = path.span().unwrap().local_file()?;
    fs::read_to_string(source.parent()?.join(path.value())).ok()
}

/// Outside a compiler a token stands in no file.
#[cfg(test)]
fn included(path: &LitStr) -> Option<String> {
    fs::read_to_string(path.value()).ok()
}

/// The lines of a fragment of documentation, without the column of stars of a block comment.
fn without_stars(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split('\n').collect();
    let is_starred = |line: &&str| line.trim_start().starts_with('*');
    let (first, others) = lines.split_first().unwrap_or((&"", &[]));
    let written: Vec<&&str> = others
        .iter()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if written.is_empty() || !written.iter().all(|line| is_starred(line)) {
        return lines.into_iter().map(ToOwned::to_owned).collect();
    }
    let bare = |line: &&str| {
        let line = line.trim_start();
        line.strip_prefix('*').unwrap_or(line).to_owned()
    };
    let first = std::iter::once((*first).to_owned());
    first.chain(others.iter().map(bare)).collect()
}

/// The lines without the space that stands before all of them: ` Stores users.` of `/// Stores users.`
fn unindented(lines: &[String]) -> String {
    let indent = |line: &String| line.len() - line.trim_start_matches(' ').len();
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let common = written.map(indent).min().unwrap_or_default();
    let lines = lines
        .iter()
        .map(|line| line.get(common..).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first paragraph of a text in Markdown as plain text; the first text of another kind if there is no paragraph.
fn first_paragraph(markdown: &str) -> Option<String> {
    // A link to an item, [`User`], has no definition.
    let mut to_item = |link: BrokenLink<'_>| {
        let of_paths = |c: char| c.is_alphanumeric() || "`_:<>()!&".contains(c);
        let is_item =
            link.reference.chars().all(of_paths) && link.reference.chars().any(char::is_alphabetic);
        is_item.then_some((CowStr::Borrowed(""), CowStr::Borrowed("")))
    };
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_with_broken_link_callback(markdown, options, Some(&mut to_item));
    let (mut other, mut text) = (None, String::new());
    let (mut depth, mut images) = (0_usize, 0_usize);
    for event in events {
        match event {
            Event::Start(Tag::Image { .. }) => images += 1,
            Event::End(TagEnd::Image) => images = images.saturating_sub(1),
            Event::Text(_) | Event::Code(_) if images > 0 => {}
            Event::Text(words) | Event::Code(words) => text.push_str(&words),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            Event::Start(tag) if is_block(tag.to_end()) => {
                depth += 1;
                text.clear();
            }
            Event::End(tag) if is_block(tag) => {
                depth -= 1;
                let words: Vec<&str> = text.split_whitespace().collect();
                let found = Some(words.join(" ")).filter(|text| !text.is_empty());
                match tag {
                    TagEnd::Paragraph if depth == 0 && found.is_some() => return found,
                    TagEnd::CodeBlock => {}
                    _ => other = other.or(found),
                }
                text.clear();
            }
            _ => {}
        }
    }
    other
}

fn is_block(tag: TagEnd) -> bool {
    !matches!(
        tag,
        TagEnd::Emphasis
            | TagEnd::Strong
            | TagEnd::Strikethrough
            | TagEnd::Link
            | TagEnd::Image
            | TagEnd::Superscript
            | TagEnd::Subscript
    )
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
