//! Plain lines on stderr: for logs, pipes and people who like to scroll.

use kiln_derivations::event::{Event, Listener};

use super::{bytes, seconds, title};

/// Writes a line when something starts or ends.
pub struct Plain {
    verbose: bool,
}

impl Plain {
    /// `verbose` also prints what builders log.
    pub fn new(verbose: bool) -> Self {
        Self { verbose }
    }
}

impl Listener for Plain {
    fn event(&self, event: &Event) {
        if let Some(line) = line(event, self.verbose) {
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
            "pulled  {} ({}) in {} from {from}",
            title(derivation),
            bytes(*size),
            seconds(*wall_s)
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
        Event::End { .. } => end(event),
        _ => None,
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
