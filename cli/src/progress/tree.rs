//! A tree that is redrawn: what runs now, each with its newest log line, and
//! above it what is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kiln_derivations::event::{Event, Listener, Subject};
use kiln_store::hash::ActionKey;

use super::{bytes, plain, title};

/// How often a bar is redrawn while nothing happens.
const TICK: Duration = Duration::from_millis(120);

/// Shows running builders as bars.
pub struct Tree {
    screen: MultiProgress,
    bars: Mutex<HashMap<ActionKey, ProgressBar>>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self {
            screen: MultiProgress::new(),
            bars: Mutex::default(),
        }
    }

    fn start(&self, subject: &Subject) {
        let bar = self.screen.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {prefix:.bold} {elapsed} {wide_msg:.dim}"));
        bar.set_prefix(title(subject));
        bar.enable_steady_tick(TICK);
        let mut bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        bars.insert(subject.action, bar);
    }

    fn with(&self, subject: &Subject, act: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(bar) = bars.get(&subject.action) {
            act(bar);
        }
    }

    fn stop(&self, subject: &Subject) {
        let mut bars = self.bars.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(bar) = bars.remove(&subject.action) {
            bar.finish_and_clear();
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
            Event::Log { derivation, line } => {
                return self.with(derivation, |bar| bar.set_message(line.clone()));
            }
            Event::Downloaded {
                derivation,
                bytes: done,
                total_bytes,
            } => {
                let text = format!("{} of {}", bytes(*done), bytes(*total_bytes));
                return self.with(derivation, |bar| bar.set_message(text));
            }
            Event::Built { derivation, .. } | Event::Failed { derivation, .. } => {
                self.stop(derivation);
            }
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
