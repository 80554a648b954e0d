//! The canonical text of rules: what the log holds and what gives a rule its version.
//!
//! ```text
//! rule "checkout slow"
//! match "metric" "= latency_ms"
//! match "region" "~ eu-.*"
//! when severity > 6
//! for 300000000000
//! keep_firing 120000000000
//! priority "page"
//! ```
//!
//! Rules stand in the order of their names, matchers in that of label, operator and text without
//! repetitions; durations are nanoseconds. A rule with a budget has the line `budget 2` behind `keep_firing`. Between quotes, `\\`, `\"` and `\n` stand for a backslash,
//! a quote and the end of a line. Each line ends with a line feed, and there is no other white space.

use std::fmt::Write;

use crate::rule::Rule;
use crate::{RuleConfig, RuleTextError};

/// The canonical text of one rule.
pub(crate) fn text_of(rule: &Rule) -> String {
    let mut out = String::with_capacity(160);
    line(&mut out, "rule", &[&quoted(&rule.name)]);
    for matcher in &rule.matchers {
        line(&mut out, "match", &[&quoted(&matcher.label), &quoted(&matcher.pattern())]);
    }
    line(&mut out, "when", &[&rule.when]);
    line(&mut out, "for", &[&rule.for_nanos]);
    line(&mut out, "keep_firing", &[&rule.keep_firing_nanos]);
    if let Some(budget) = &rule.budget {
        line(&mut out, "budget", &[&budget.per_week()]);
    }
    line(&mut out, "priority", &[&quoted(&rule.priority)]);
    out
}

/// The rules that a canonical text spells, before they are checked.
pub(crate) fn parse(text: &str) -> Result<Vec<RuleConfig>, RuleTextError> {
    let mut lines = Lines::new(text, 0);
    let mut rules = Vec::new();
    while !lines.is_empty() {
        let mut rule = RuleConfig { name: lines.quoted("rule ")?, ..RuleConfig::default() };
        while lines.next_is("match ") {
            rule.matchers.push(lines.quoted_pair("match ")?);
        }
        lines.rest("when ")?.clone_into(&mut rule.when);
        rule.for_nanos = lines.number("for ")?;
        rule.keep_firing_nanos = lines.number("keep_firing ")?;
        if lines.next_is("budget ") {
            rule.budget = Some(lines.parsed("budget ", |rest| rest.parse().ok())?);
        }
        rule.priority = lines.quoted("priority ")?;
        rules.push(rule);
    }
    Ok(rules)
}

/// What stands before the first line that begins with `first`, and the rest.
pub(crate) fn split<'a>(text: &'a str, first: &str) -> (&'a str, &'a str) {
    // Ends of lines do not occur within quotes.
    let begin = if text.starts_with(first) {
        Some(0)
    } else {
        text.find(&format!("\n{first}")).map(|before| before + 1)
    };
    begin.and_then(|begin| text.split_at_checked(begin)).unwrap_or((text, ""))
}

/// The lines of a canonical text, taken one after the other; each begins with a word.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    rest: std::iter::Peekable<std::str::SplitTerminator<'a, char>>,
    /// Of the line that is taken next, from 0.
    index: usize,
}

impl<'a> Lines<'a> {
    /// The lines of `text`, of which the first one has the number `index`.
    pub(crate) fn new(text: &'a str, index: usize) -> Self {
        Self { rest: text.split_terminator('\n').peekable(), index }
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.rest.peek().is_none()
    }

    /// Whether the next line begins with `prefix`.
    pub(crate) fn next_is(&mut self, prefix: &str) -> bool {
        self.rest.peek().is_some_and(|line| line.starts_with(prefix))
    }

    /// What stands behind `prefix` in the next line.
    pub(crate) fn rest(&mut self, prefix: &str) -> Result<&'a str, RuleTextError> {
        self.parsed(prefix, Some)
    }

    pub(crate) fn number(&mut self, prefix: &str) -> Result<i64, RuleTextError> {
        self.parsed(prefix, |rest| rest.parse().ok())
    }

    /// Numbers with one space between them.
    pub(crate) fn numbers(&mut self, prefix: &str) -> Result<Vec<f64>, RuleTextError> {
        self.parsed(prefix, |rest| rest.split(' ').map(|number| number.parse().ok()).collect())
    }

    /// A text in quotes.
    pub(crate) fn quoted(&mut self, prefix: &str) -> Result<String, RuleTextError> {
        self.parsed(prefix, |mut rest| unquote(&mut rest).filter(|_| rest.is_empty()))
    }

    /// Two texts in quotes with a space between them.
    pub(crate) fn quoted_pair(&mut self, prefix: &str) -> Result<(String, String), RuleTextError> {
        self.parsed(prefix, |mut rest| {
            let first = unquote(&mut rest)?;
            let mut rest = rest.strip_prefix(' ')?;
            let second = unquote(&mut rest)?;
            rest.is_empty().then_some((first, second))
        })
    }

    /// What `read` makes of the text behind `prefix`.
    pub(crate) fn parsed<T>(
        &mut self,
        prefix: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, RuleTextError> {
        self.index += 1;
        let line = self.rest.next().unwrap_or_default();
        let found = line.strip_prefix(prefix).and_then(read);
        found.ok_or(RuleTextError::Syntax { line: self.index })
    }
}

pub(crate) fn line(out: &mut String, word: &str, fields: &[&dyn std::fmt::Display]) {
    out.push_str(word);
    for field in fields {
        write!(out, " {field}").expect("writing to memory does not fail");
    }
    out.push('\n');
}

pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Takes a quoted text from the front of `input`.
pub(crate) fn unquote(input: &mut &str) -> Option<String> {
    let mut chars = input.strip_prefix('"')?.chars();
    let mut out = String::new();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                c @ ('\\' | '"') => out.push(c),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    *input = chars.as_str();
    Some(out)
}
