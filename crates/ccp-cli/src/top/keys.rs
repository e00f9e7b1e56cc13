//! What keys mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::flows::Sort;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// To end.
    Quit,
    /// That it stands still, or goes on.
    Pause,
    /// Another order.
    Sort(Sort),
    /// The next order.
    NextSort,
    /// Another quantity in the trend.
    NextTrend,
    /// Flows further down (or up).
    Scroll(i32),
    /// The first flow.
    Top,
    /// To type words to filter by.
    Type,
    /// One more letter.
    Letter(char),
    /// One letter less.
    Back,
    /// What was typed counts.
    Accept,
    /// What was typed does not count; while nothing is typed, no filter does.
    Cancel,
}

/// What `key` means; while words are `typed`, letters are letters.
pub(super) fn action(key: KeyEvent, typed: bool) -> Option<Action> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let action = match key.code {
        KeyCode::Char('c' | 'q') if control => Action::Quit,
        _ if control => return None,
        KeyCode::Esc => Action::Cancel,
        KeyCode::Enter if typed => Action::Accept,
        KeyCode::Backspace if typed => Action::Back,
        KeyCode::Char(letter) if typed => Action::Letter(letter),
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('t') => Action::NextTrend,
        KeyCode::Char('/') => Action::Type,
        KeyCode::Char('c') => Action::Sort(Sort::Cwnd),
        KeyCode::Char('r') => Action::Sort(Sort::Rate),
        KeyCode::Char('R') => Action::Sort(Sort::Rtt),
        KeyCode::Char('l') => Action::Sort(Sort::Loss),
        KeyCode::Char('n') => Action::Sort(Sort::Reports),
        KeyCode::Char('f') => Action::Sort(Sort::Faults),
        KeyCode::Char('y') => Action::Sort(Sort::Youngest),
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::PageDown => Action::Scroll(20),
        KeyCode::PageUp => Action::Scroll(-20),
        KeyCode::Home | KeyCode::Char('g') => Action::Top,
        _ => return None,
    };
    Some(action)
}
