//! Plain lines on stderr: for logs, pipes and people who like to scroll.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kiln_derivations::event::{Event, Listener};

use super::speed::{Speed, rate};
use super::{bytes, seconds, title};

/// How often it is said how far a long push is.
const EVERY: Duration = Duration::from_secs(10);

/// Writes a line when something starts or ends, and now and then when something
/// goes on for long.
pub struct Plain {
    verbose: bool,
    sending: Mutex<Sending>,
}

/// What was last said of a push.
#[derive(Default)]
struct Sending {
    speed: Speed,
    said: Option<Instant>,
}

impl Plain {
    /// `verbose` also prints what builders log.
    pub fn new(verbose: bool) -> Self {
        Self {
            verbose,
            sending: Mutex::default(),
        }
    }

    /// A line of a push under way, if it is time for one.
    fn sending(&self, to: &str, done: u64, total: u64) -> Option<String> {
        let mut sending = self.sending.lock().unwrap_or_else(|e| e.into_inner());
        let shown = sending.speed.shown(done, total);
        // The first is due after a while, like all others.
        let said = *sending.said.get_or_insert_with(Instant::now);
        if said.elapsed() < EVERY {
            return None;
        }
        sending.said = Some(Instant::now());
        Some(format!("push    {shown} to {to}"))
    }
}

impl Listener for Plain {
    fn event(&self, event: &Event) {
        let line = match event {
            Event::Sending {
                to,
                bytes,
                total_bytes,
            } => self.sending(to, *bytes, *total_bytes),
            event => line(event, self.verbose),
        };
        if let Some(line) = line {
            eprintln!("{line}");
        }
    }
}

/// The line that an event is worth, if it is worth one.
pub fn line(event: &Event, verbose: bool) -> Option<String> {
    match event {
        Event::Started { derivation } if derivation.builder == "exec" => {
            Some(format!("build   {}", title(derivation)))
        }
        Event::Waiting { derivation } => Some(format!(
            "wait    {}: another kiln builds it",
            title(derivation)
        )),
        Event::CandidateFailed {
            derivation,
            url,
            why,
        } => Some(format!("retry   {}: {url}: {why}", title(derivation))),
        Event::Log { derivation, line } if verbose => Some(format!("{}> {line}", derivation.name)),
        Event::Lint {
            derivation,
            path,
            why,
        } => Some(format!("warning {}: `{path}` {why}", title(derivation))),
        Event::Built {
            derivation, wall_s, ..
        } => Some(format!(
            "{:7} {} in {}",
            done(derivation.builder),
            title(derivation),
            seconds(*wall_s)
        )),
        Event::Pulled {
            derivation,
            from,
            bytes: size,
            wall_s,
            ..
        } => Some(format!(
            "pulled  {} ({}) from {from}",
            title(derivation),
            took(*size, *wall_s)
        )),
        Event::Sent {
            to,
            trees,
            bytes: size,
            wall_s,
            ..
        } => Some(format!(
            "pushed  {trees} trees ({}) to {to}",
            took(*size, *wall_s)
        )),
        Event::PullFailed { derivation, why } => Some(format!(
            "warning {}: {why}; it is built here",
            title(derivation)
        )),
        Event::ClaimRefused { cache, why } => {
            Some(format!("warning {cache}: {why}; it does not count"))
        }
        Event::CacheSkipped { cache, why } => Some(format!("warning {cache} is skipped: {why}")),
        Event::Failed {
            derivation, class, ..
        } => Some(format!("failed  {} ({class})", title(derivation))),
        Event::BuiltAgain {
            derivation,
            varied,
            held,
            result,
            wall_s,
            ..
        } => Some(format!(
            "again   {}{}: {}, in {}",
            title(derivation),
            unusual(varied, held),
            beside_the_stored(result),
            seconds(*wall_s)
        )),
        Event::End { .. } => end(event),
        _ => None,
    }
}

/// `, umask varied, clock held still`; nothing of an ordinary build.
fn unusual(varied: &[&str], held: &[&str]) -> String {
    let told = |factors: &[&str], how: &str| match factors {
        [] => String::new(),
        [one] => format!(", {one} {how}"),
        [one, other] => format!(", {one} and {other} {how}"),
        many => format!(", {} factors {how}", many.len()),
    };
    told(varied, "varied") + &told(held, "held still")
}

/// What a build again came to. One with the clock held still differs from what was built
/// before, and may all the same be like the next: `differs` alone would seem to deny that.
fn beside_the_stored(result: &str) -> &str {
    match result {
        "differs" => "differs from what is stored",
        other => other,
    }
}

/// `1.2 MB in 3.0 s, 0.4 MB/s`.
fn took(size: u64, wall_s: f64) -> String {
    let time = Duration::try_from_secs_f64(wall_s).unwrap_or_default();
    let amount = format!("{} in {}", bytes(size), seconds(wall_s));
    match rate(size, time) {
        Some(speed) => format!("{amount}, {}/s", bytes(speed)),
        None => amount,
    }
}

fn done(builder: &str) -> &'static str {
    match builder {
        "fetch" => "fetched",
        "exec" => "built",
        _ => "made",
    }
}

/// The summary, if anything was done at all.
pub fn end(event: &Event) -> Option<String> {
    let Event::End {
        built,
        fetched,
        reused,
        failed,
        skipped,
        fetched_bytes,
        claimed,
        pulled,
        pulled_bytes,
    } = event
    else {
        return None;
    };
    if built + failed + skipped + pulled == 0 {
        let realised = reused + claimed;
        return Some(format!(
            "nothing to do: all {realised} derivations are realised"
        ));
    }
    let mut text = format!(
        "{} built, {fetched} downloaded ({}), {reused} reused",
        built - fetched,
        bytes(*fetched_bytes)
    );
    if *claimed > 0 {
        let size = bytes(*pulled_bytes);
        text.push_str(&format!(
            ", {claimed} built by others, {pulled} of them pulled ({size})"
        ));
    }
    if failed + skipped > 0 {
        text.push_str(&format!(", {failed} failed, {skipped} not tried"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_says_how_long_it_took_and_how_fast_it_was() {
        assert_eq!(took(3_000_000, 2.0), "3.0 MB in 2.0 s, 1.5 MB/s");
        assert_eq!(took(300, 0.01), "300 B in 0.0 s");
    }

    #[test]
    fn a_build_again_says_what_was_unusual_about_it() {
        assert_eq!(unusual(&[], &[]), "");
        assert_eq!(unusual(&["umask"], &[]), ", umask varied");
        assert_eq!(
            unusual(&["umask", "user"], &["clock"]),
            ", umask and user varied, clock held still"
        );
        assert_eq!(unusual(&["a", "b", "c"], &[]), ", 3 factors varied");
        assert_eq!(beside_the_stored("same"), "same");
        assert_eq!(beside_the_stored("differs"), "differs from what is stored");
    }

    #[test]
    fn a_short_push_says_nothing_before_its_end() {
        let plain = Plain::new(false);
        assert_eq!(plain.sending("here", 1, 2), None);
        // A while later.
        let mut sending = plain.sending.lock().expect("no panic");
        sending.said = sending.said.and_then(|said| said.checked_sub(EVERY));
        drop(sending);
        let line = plain.sending("here", 2, 2).expect("it is time");
        assert_eq!(line, "push    2 B of 2 B to here");
        assert_eq!(plain.sending("here", 2, 2), None);
    }
}
