//! A tree that is redrawn: what runs now, each with its newest log line or with
//! how far it is, and above it what is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kiln_derivations::event::{Event, Listener, Subject};
use kiln_store::hash::ActionKey;

use super::speed::Speed;
use super::{plain, title};

/// How often a bar is redrawn while nothing happens.
const TICK: Duration = Duration::from_millis(120);

/// Shows what runs as bars.
pub struct Tree {
    screen: MultiProgress,
    bars: Mutex<HashMap<What, Bar>>,
}

/// What a bar is of.
#[derive(PartialEq, Eq, Hash)]
enum What {
    /// A derivation that is built or had from others.
    Derivation(ActionKey),
    /// A push to the cache of this name.
    Push(String),
}

struct Bar {
    line: ProgressBar,
    speed: Speed,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self {
            screen: MultiProgress::new(),
            bars: Mutex::default(),
        }
    }

    fn new_bar(&self, title: String) -> Bar {
        let line = self.screen.add(ProgressBar::new_spinner());
        line.set_style(style("{spinner} {prefix:.bold} {elapsed} {wide_msg:.dim}"));
        line.set_prefix(title);
        line.enable_steady_tick(TICK);
        Bar {
            line,
            speed: Speed::default(),
        }
    }

    fn start(&self, subject: &Subject) {
        let bar = self.new_bar(title(subject));
        let mut bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        bars.insert(What::Derivation(subject.action), bar);
    }

    fn say(&self, subject: &Subject, line: &str) {
        let bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(bar) = bars.get(&What::Derivation(subject.action)) {
            bar.line.set_message(line.to_owned());
        }
    }

    /// Says how far it is. What nobody said the start of starts here.
    fn moved(&self, what: What, title: impl FnOnce() -> String, done: u64, total: u64) {
        let mut bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        let bar = bars.entry(what).or_insert_with(|| self.new_bar(title()));
        bar.line.set_message(bar.speed.shown(done, total));
    }

    fn stop(&self, what: &What) {
        let mut bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(bar) = bars.remove(what) {
            bar.line.finish_and_clear();
        }
    }
}

/// Templates are fixed texts; one that does not parse shows as indicatif's own.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Listener for Tree {
    fn event(&self, event: &Event) {
        match event {
            Event::Started { derivation } => return self.start(derivation),
            Event::Log { derivation, line } => return self.say(derivation, line),
            Event::Downloaded {
                derivation,
                bytes,
                total_bytes,
            } => {
                let what = What::Derivation(derivation.action);
                return self.moved(what, || title(derivation), *bytes, *total_bytes);
            }
            Event::Sending {
                to,
                bytes,
                total_bytes,
            } => {
                let what = What::Push(to.clone());
                return self.moved(what, || format!("push to {to}"), *bytes, *total_bytes);
            }
            Event::Built { derivation, .. }
            | Event::Failed { derivation, .. }
            | Event::Pulled { derivation, .. }
            | Event::PullFailed { derivation, .. } => {
                self.stop(&What::Derivation(derivation.action));
            }
            Event::Sent { to, .. } => self.stop(&What::Push(to.clone())),
            _ => {}
        }
        let is_small =
            matches!(event, Event::Built { derivation, .. } if derivation.builder == "fetch");
        if let Some(line) = plain::line(event, false)
            && !is_small
        {
            // A terminal that is gone is no reason to end a build.
            let _ = self.screen.println(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_there_while_something_moves_and_gone_after() {
        let tree = Tree::new();
        let sending = |bytes| Event::Sending {
            to: "here".to_owned(),
            bytes,
            total_bytes: 2000,
        };
        tree.event(&sending(500));
        tree.event(&sending(1000));
        let bars = tree.bars.lock().expect("no panic");
        let bar = bars.get(&What::Push("here".to_owned())).expect("it moves");
        assert_eq!(bar.line.prefix(), "push to here");
        assert!(bar.line.message().starts_with("1.0 kB of 2.0 kB"));
        drop(bars);
        tree.event(&Event::Sent {
            to: "here".to_owned(),
            trees: 1,
            claims: 1,
            bytes: 900,
            wall_s: 1.0,
        });
        assert!(tree.bars.lock().expect("no panic").is_empty());
    }
}
