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
//! repetitions; durations are nanoseconds. Between quotes, `\\`, `\"` and `\n` stand for a backslash,
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
    line(&mut out, "when", &[&rule.condition]);
    line(&mut out, "for", &[&rule.for_nanos]);
    line(&mut out, "keep_firing", &[&rule.keep_firing_nanos]);
    line(&mut out, "priority", &[&quoted(&rule.priority)]);
    out
}

/// The rules that a canonical text spells, before they are checked.
pub(crate) fn parse(text: &str) -> Result<Vec<RuleConfig>, RuleTextError> {
    let count = text.split_terminator('\n').count();
    let mut lines = text.split_terminator('\n').enumerate().peekable();
    let mut rules = Vec::new();
    while let Some((index, line)) = lines.next() {
        let name = one(line, "rule ", index)?;
        let mut rule = RuleConfig { name, ..RuleConfig::default() };
        while let Some((index, line)) = lines.next_if(|(_, line)| line.starts_with("match ")) {
            rule.matchers.push(pair(line, index)?);
        }
        let mut field = |prefix: &str| {
            let (index, line) = lines.next().unwrap_or((count, ""));
            Ok((index, line.strip_prefix(prefix).ok_or(RuleTextError::Syntax { line: index + 1 })?))
        };
        let (_, when) = field("when ")?;
        when.clone_into(&mut rule.when);
        rule.for_nanos = number(field("for ")?)?;
        rule.keep_firing_nanos = number(field("keep_firing ")?)?;
        let (index, priority) = field("priority ")?;
        rule.priority = one(priority, "", index)?;
        rules.push(rule);
    }
    Ok(rules)
}

fn line(out: &mut String, word: &str, fields: &[&dyn std::fmt::Display]) {
    out.push_str(word);
    for field in fields {
        write!(out, " {field}").expect("writing to memory does not fail");
    }
    out.push('\n');
}

fn quoted(text: &str) -> String {
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
fn unquote(input: &mut &str) -> Option<String> {
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

fn one(line: &str, prefix: &str, index: usize) -> Result<String, RuleTextError> {
    let read = || {
        let mut rest = line.strip_prefix(prefix)?;
        unquote(&mut rest).filter(|_| rest.is_empty())
    };
    read().ok_or(RuleTextError::Syntax { line: index + 1 })
}

fn pair(line: &str, index: usize) -> Result<(String, String), RuleTextError> {
    let read = || {
        let mut rest = line.strip_prefix("match ")?;
        let label = unquote(&mut rest)?;
        let mut rest = rest.strip_prefix(' ')?;
        let pattern = unquote(&mut rest)?;
        rest.is_empty().then_some((label, pattern))
    };
    read().ok_or(RuleTextError::Syntax { line: index + 1 })
}

fn number((index, text): (usize, &str)) -> Result<i64, RuleTextError> {
    text.parse().map_err(|_not_a_number| RuleTextError::Syntax { line: index + 1 })
}
