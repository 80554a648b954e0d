//! `tidewatch top` on a terminal: what it shows, and how it gives the terminal back.

use std::process::Command;

use crate::people::TYPIST;
use crate::server::{Home, program, tell};

/// What a terminal shows of `top` and what comes after it: at the end the shell tells the exit code, and whether
/// the terminal reads lines again. `None` without Python.
fn shown(url: &str, before: &str, steps: &[(&str, &str)]) -> Option<String> {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        tell("python3 is not there: the view on a terminal is not tested");
        return None;
    }
    let steps = steps.iter().flat_map(|(wanted, typed)| [*wanted, *typed]);
    let command = format!("{before} {} top --every 200ms --url {url}", program());
    let shell = format!("{command}; echo code=$?; stty -a | grep -o ' .icanon\\| icanon'");
    let mut typist = Command::new("python3");
    typist.args(["-c", TYPIST]).args(steps).args(["--", "sh", "-c", &shell]);
    let output = typist.env_remove("NO_COLOR").env("TERM", "xterm").output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The view took the screen and gave it back, and the terminal is as it was.
fn check_given_back(shown: &str, code: u8) {
    let (open, close) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    assert!(shown.contains(open), "{shown:?}");
    let rest = shown.rsplit_once(close).map(|(_, rest)| rest);
    let rest = rest.unwrap_or_else(|| panic!("the screen is not given back: {shown:?}"));
    assert!(rest.contains(&format!("code={code}\r\n icanon")), "{rest:?}");
}

#[test]
fn the_view_renews_itself_and_gives_the_terminal_back_at_a_key_and_at_a_signal() {
    let home = Home::new();
    let server = home.serve();
    assert_eq!(server.post("/write", "cpu value=1").status, 204);
    for key in ["q", "\\x1b", "\\x03"] {
        // Blanks that stand on the screen already are not written again.
        let steps = [("durable LSN", ""), ("HTTP", ""), ("firing", key)];
        let Some(shown) = shown(&server.url(), "", &steps) else { return };
        check_given_back(&shown, 0);
    }
    let ended = shown(&server.url(), "timeout --foreground -s TERM 8", &[]);
    // 124 is what `timeout` says of a command that it has ended.
    check_given_back(&ended.expect("python3 is there"), 124);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_server_that_is_away_is_told_in_the_view_and_asked_on() {
    let home = Home::new();
    let server = home.serve();
    let url = server.url();
    assert_eq!(server.stop(), 0);
    let steps = [("no answer for", ""), (", and goes on trying", "q")];
    let Some(shown) = shown(&url, "", &steps) else { return };
    check_given_back(&shown, 0);
}
