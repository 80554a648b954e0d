//! What a key does to the line that is typed.

use termion::event::Key;

use crate::cli::sql::editor::buffer::Buffer;

/// What the line's surroundings know.
pub(crate) trait Assist {
    /// Whether Enter ends the text, rather than its line.
    fn is_whole(&self, text: &str) -> bool;

    /// What the word before the cursor may become.
    fn complete(&mut self, text: &str, at: usize) -> Completion;
}

/// What a word may become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Where the word begins.
    pub(crate) start: usize,
    /// What may stand there instead.
    pub(crate) words: Vec<String>,
}

/// What came of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The line looks different.
    Changed,
    /// The line is done.
    Done(String),
    /// Words to choose from.
    Choices(Vec<String>),
    /// The line is to be forgotten.
    Interrupted,
    /// No line will come.
    End,
    /// The screen is to be blank.
    Clear,
}

/// The line that is typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    buffer: Buffer,
    /// The entry of the history that is shown, counted from the newest one, and what was typed before.
    place: Option<(usize, String)>,
    search: Option<Search>,
}

/// A search in the history.
#[derive(Clone, Debug, Default)]
struct Search {
    wanted: String,
    /// The entry that was found, counted from the newest one.
    place: usize,
}

impl Line {
    /// The text and cursor.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// What is searched for, while it is.
    pub(crate) fn wanted(&self) -> Option<&str> {
        self.search.as_ref().map(|search| search.wanted.as_str())
    }

    /// Acts on a key.
    pub(crate) fn key(&mut self, key: Key, history: &[String], assist: &mut dyn Assist) -> Step {
        if self.search.is_some() && self.search_key(key, history) {
            return Step::Changed;
        }
        let buffer = &mut self.buffer;
        match key {
            Key::Char('\n') => return self.enter(assist),
            Key::Char('\t') => return self.complete(assist),
            Key::Char(c) => buffer.insert(c.encode_utf8(&mut [0; 4])),
            Key::Backspace | Key::Ctrl('h') => buffer.backspace(),
            Key::Ctrl('d') if buffer.text().is_empty() => return Step::End,
            Key::Delete | Key::Ctrl('d') => buffer.delete(),
            Key::Left | Key::Ctrl('b') => buffer.left(),
            Key::Right | Key::Ctrl('f') => buffer.right(),
            Key::Home | Key::Ctrl('a') => buffer.home(),
            Key::End | Key::Ctrl('e') => buffer.end(),
            Key::CtrlLeft | Key::AltLeft | Key::Alt('b') => buffer.word_left(),
            Key::CtrlRight | Key::AltRight | Key::Alt('f') => buffer.word_right(),
            Key::Ctrl('k') => buffer.cut_to_end(),
            Key::Ctrl('u') => buffer.cut_to_start(),
            Key::Ctrl('w') => buffer.cut_word(),
            Key::Ctrl('y') => buffer.paste(),
            Key::Up if !buffer.up() => self.older(history),
            Key::Down if !buffer.down() => self.newer(history),
            Key::Ctrl('p') => self.older(history),
            Key::Ctrl('n') => self.newer(history),
            Key::Ctrl('r') => self.search = Some(Search::default()),
            Key::Ctrl('l') => return Step::Clear,
            Key::Ctrl('c') => return Step::Interrupted,
            _ => {}
        }
        Step::Changed
    }

    fn enter(&mut self, assist: &dyn Assist) -> Step {
        if assist.is_whole(self.buffer.text()) {
            return Step::Done(self.buffer.take());
        }
        self.buffer.insert("\n");
        Step::Changed
    }

    fn complete(&mut self, assist: &mut dyn Assist) -> Step {
        let Completion { start, words } = assist.complete(self.buffer.text(), self.buffer.at());
        let typed = self.buffer.before().get(start..).unwrap_or_default().len();
        match words.as_slice() {
            [] => Step::Changed,
            [word] => {
                self.buffer.replace_from(start, word);
                Step::Changed
            }
            words => {
                let common = common_prefix(words);
                if common.len() > typed {
                    self.buffer.replace_from(start, common);
                    return Step::Changed;
                }
                Step::Choices(words.to_vec())
            }
        }
    }

    fn older(&mut self, history: &[String]) {
        let place = self.place.as_ref().map_or(0, |(place, _)| place + 1);
        let Some(entry) = history.iter().rev().nth(place) else { return };
        let typed = match self.place.take() {
            Some((_, typed)) => typed,
            None => self.buffer.text().to_owned(),
        };
        self.place = Some((place, typed));
        self.buffer.set(entry);
    }

    fn newer(&mut self, history: &[String]) {
        let Some((place, typed)) = self.place.take() else { return };
        match place.checked_sub(1).and_then(|place| Some((place, history.iter().rev().nth(place)?)))
        {
            Some((place, entry)) => {
                self.buffer.set(entry);
                self.place = Some((place, typed));
            }
            None => self.buffer.set(&typed),
        }
    }

    /// A key while the history is searched; `false` where it ends the search and is to act.
    fn search_key(&mut self, key: Key, history: &[String]) -> bool {
        let Some(search) = &mut self.search else { return false };
        match key {
            Key::Char(c) if !c.is_control() => {
                search.wanted.push(c);
                search.place = 0;
            }
            Key::Backspace | Key::Ctrl('h') => {
                search.wanted.pop();
                search.place = 0;
            }
            Key::Ctrl('r') => search.place += 1,
            Key::Esc | Key::Ctrl('g') => {
                self.search = None;
                return true;
            }
            _ => {
                self.search = None;
                return false;
            }
        }
        let found = history.iter().rev().enumerate().skip(search.place);
        let mut found = found.filter(|(_, entry)| entry.contains(&search.wanted));
        match found.next() {
            Some((place, entry)) if !search.wanted.is_empty() => {
                search.place = place;
                self.buffer.set(entry);
            }
            // The one that was found last stays.
            _ => search.place = search.place.saturating_sub(1),
        }
        true
    }
}

/// What all words begin with.
fn common_prefix(words: &[String]) -> &str {
    let Some((first, others)) = words.split_first() else { return "" };
    let mut length = first.len();
    for word in others {
        let same = first.char_indices().zip(word.chars()).find(|((_, a), b)| a != b);
        length = length.min(same.map_or(word.len(), |((at, _), _)| at));
    }
    first.get(..length).unwrap_or_default()
}
