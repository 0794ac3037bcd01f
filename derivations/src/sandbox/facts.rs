//! What a build ran on: the free variables that are recorded with its result.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Command;

use super::probe::Works;
use super::request::Emulator;

/// Facts of the host. A result must not depend on them; when two results
/// differ, they say where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// As `uname -r`.
    pub kernel_release: String,
    /// As `uname -m`.
    pub machine: String,
    /// Bytes.
    pub page_bytes: u64,
    /// The processor's name, empty where the kernel gives none.
    pub cpu_model: String,
    /// Features that every processor has, sorted.
    pub cpu_features: Vec<String>,
    /// Processors that this process may use.
    pub cpus: u64,
    /// Main memory.
    pub memory_bytes: u64,
    /// As bubblewrap calls itself.
    pub bwrap_version: String,
}

impl Facts {
    /// Asks the kernel; `works` is what [`super::probe::check`] found.
    pub fn of_this_host(works: &Works) -> Facts {
        let uname = rustix::system::uname();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Facts {
            kernel_release: text(uname.release()),
            machine: text(uname.machine()),
            page_bytes: rustix::param::page_size() as u64,
            cpu_model: first(&cpuinfo, "model name").unwrap_or_default().into(),
            cpu_features: features(&cpuinfo),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory_bytes: memory_bytes(&meminfo),
            bwrap_version: works.version.clone(),
        }
    }
}

impl Facts {
    /// As a realisation records them: sorted by name.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let pairs = [
            ("bwrap", self.bwrap_version.clone()),
            ("cpu-features", self.cpu_features.join(" ")),
            ("cpu-model", self.cpu_model.clone()),
            ("cpus", self.cpus.to_string()),
            ("kernel", self.kernel_release.clone()),
            ("machine", self.machine.clone()),
            ("memory-bytes", self.memory_bytes.to_string()),
            ("page-bytes", self.page_bytes.to_string()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// What is recorded of the emulator that a build ran in, sorted by name: what it
/// calls itself, the BLAKE3 digest of the program, and which programs were made
/// resident by which library.
pub fn of_emulator(emulator: &Emulator) -> io::Result<Vec<(String, String)>> {
    let program = &emulator.interpreter;
    let digest = blake3::hash(&fs::read(program)?).to_hex().to_string();
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.lines().next().unwrap_or_default().trim();
    if !output.status.success() || version.is_empty() {
        let text = format!("{} --version says nothing", program.display());
        return Err(io::Error::other(text));
    }
    let mut pairs = vec![
        ("emulator", version.to_owned()),
        ("emulator-blake3", digest),
    ];
    if let Some(resident) = &emulator.resident {
        let server = blake3::hash(&fs::read(&resident.server)?);
        pairs.push(("emulator-resident", resident.programs.join(" ")));
        pairs.push(("emulator-resident-blake3", server.to_hex().to_string()));
    }
    let owned = pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Ok(owned.collect())
}

/// The value of the first `key : value` line.
fn first<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    all(text, key).next()
}

fn all<'a>(text: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// x86 says `flags`, Arm `Features`, once for each processor.
fn features(cpuinfo: &str) -> Vec<String> {
    let sets = all(cpuinfo, "flags").chain(all(cpuinfo, "Features"));
    let sets = sets.map(|line| line.split_whitespace().collect::<BTreeSet<_>>());
    let common = sets.reduce(|one, other| one.intersection(&other).copied().collect());
    common
        .unwrap_or_default()
        .into_iter()
        .map(String::from)
        .collect()
}

fn memory_bytes(meminfo: &str) -> u64 {
    let kib = first(meminfo, "MemTotal").and_then(|value| value.strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_every_processor() {
        let x86 = "processor\t: 0\nflags\t\t: sse fpu avx\n\nprocessor\t: 1\nflags\t\t: fpu sse\n";
        assert_eq!(features(x86), ["fpu", "sse"]);
        assert_eq!(features("Features\t: fp asimd\n"), ["asimd", "fp"]);
        assert_eq!(features(""), Vec::<String>::new());
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(
            memory_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            16 * 1024
        );
        assert_eq!(memory_bytes(""), 0);
    }

    #[test]
    fn this_host_has_facts() {
        let facts = Facts::of_this_host(&Works {
            version: "bubblewrap 1".into(),
        });
        assert!(!facts.kernel_release.is_empty() && !facts.cpu_features.is_empty());
        assert!(facts.page_bytes >= 4096 && facts.memory_bytes > 0 && facts.cpus > 0);
    }
}
