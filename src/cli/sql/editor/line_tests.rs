//! Keys against lines that are typed.

use termion::event::Key;

use super::line::{Assist, Completion, Line, Step};

/// Texts end with `;`; the last word completes to those below.
struct Words(&'static [&'static str]);

impl Assist for Words {
    fn is_whole(&self, text: &str) -> bool {
        text.ends_with(';')
    }

    fn complete(&mut self, text: &str, at: usize) -> Completion {
        let start = text.get(..at).unwrap().rfind(' ').map_or(0, |blank| blank + 1);
        let words = self.0.iter().filter(|word| word.starts_with(text.get(start..at).unwrap()));
        Completion { start, words: words.map(|word| (*word).to_owned()).collect() }
    }
}

fn typed(line: &mut Line, keys: &[Key], history: &[&str]) -> Step {
    let history: Vec<String> = history.iter().map(|entry| (*entry).to_owned()).collect();
    let mut words = Words(&["SELECT", "severity", "series_id", "FROM"]);
    let mut last = Step::Changed;
    for key in keys {
        last = line.key(*key, &history, &mut words);
    }
    last
}

fn chars(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

#[test]
fn enter_ends_a_whole_text_and_otherwise_a_line() {
    let mut line = Line::default();
    assert_eq!(typed(&mut line, &chars("SELECT\n1;\n"), &[]), Step::Done("SELECT\n1;".to_owned()));
    assert_eq!(line.buffer().text(), "");
}

#[test]
fn tab_completes_as_far_as_the_words_agree_and_then_lists_them() {
    let mut line = Line::default();
    typed(&mut line, &chars("SEL\t s\t"), &[]);
    assert_eq!(line.buffer().text(), "SELECT se");
    let choices = typed(&mut line, &chars("\t"), &[]);
    assert_eq!(choices, Step::Choices(vec!["severity".to_owned(), "series_id".to_owned()]));
    typed(&mut line, &chars("v\t x\t"), &[]);
    assert_eq!(line.buffer().text(), "SELECT severity x");
}

#[test]
fn the_history_is_gone_through_and_back_to_what_was_typed() {
    let history = ["first;", "second\nline;"];
    let mut line = Line::default();
    typed(&mut line, &chars("typed"), &history);
    for (key, text) in [
        (Key::Up, "second\nline;"),
        (Key::Up, "second\nline;"),
        (Key::Up, "first;"),
        (Key::Up, "first;"),
        (Key::Down, "second\nline;"),
        (Key::Down, "typed"),
        (Key::Down, "typed"),
    ] {
        typed(&mut line, &[key], &history);
        assert_eq!(line.buffer().text(), text, "{key:?}");
    }
}

#[test]
fn the_history_is_searched() {
    let history = ["SELECT cpu;", "SELECT mem;", "SELECT cpu, x;", "\\d"];
    let mut line = Line::default();
    typed(&mut line, &[Key::Ctrl('r')], &history);
    typed(&mut line, &chars("cpu"), &history);
    assert_eq!((line.buffer().text(), line.wanted()), ("SELECT cpu, x;", Some("cpu")));
    typed(&mut line, &[Key::Ctrl('r')], &history);
    assert_eq!(line.buffer().text(), "SELECT cpu;");
    typed(&mut line, &[Key::Ctrl('r')], &history);
    assert_eq!(line.buffer().text(), "SELECT cpu;", "there is no older one");
    let done = typed(&mut line, &chars("\n"), &history);
    assert_eq!((done, line.wanted()), (Step::Done("SELECT cpu;".to_owned()), None));
}

#[test]
fn control_keys_end_clear_and_interrupt() {
    let mut line = Line::default();
    assert_eq!(typed(&mut line, &[Key::Ctrl('d')], &[]), Step::End);
    typed(&mut line, &chars("abc"), &[]);
    typed(&mut line, &[Key::Home, Key::Ctrl('d'), Key::Right, Key::Backspace], &[]);
    assert_eq!(line.buffer().text(), "c");
    assert_eq!(typed(&mut line, &[Key::Ctrl('l')], &[]), Step::Clear);
    assert_eq!(typed(&mut line, &[Key::Ctrl('c')], &[]), Step::Interrupted);
}
