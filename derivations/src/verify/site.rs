//! What this machine has to vary builds with: other places, other file
//! systems, other clocks.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_store::error::StoreError;
use kiln_store::hash::TreeId;
use kiln_store::materialise::Order;
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::store::{OpenOptions, Store};
use kiln_store::tree::Node;
use rustix::fs::statvfs;

use super::bench::now_s;
use super::factor::Factor;
use super::other_disk::OtherDisk;
use super::pressure::{Ballast, Load};
use crate::build::Job;
use crate::build::setting::{Copies, Setting};
use crate::derivation::{Exec, Role};
use crate::sandbox::{InputName, MountPoint, Variation};

/// What the caller offers.
#[derive(Debug, Clone)]
pub struct Offers {
    /// A directory for scratch stores; made, and removed at the end.
    pub scratch: PathBuf,
    /// Directories that may lie on another file system, a tmpfs at best.
    pub other_disks: Vec<PathBuf>,
    /// A root with libfaketime for the build platform, or why there is none.
    pub clock: Result<PathBuf, String>,
    /// A directory with compiled locales for it, or why there is none.
    pub locale: Result<PathBuf, String>,
}

/// This machine, made ready to build things again on it.
pub struct Site {
    offers: Offers,
    /// Where everything is built that is not to be elsewhere.
    scratch: Store,
    elsewhere: Store,
    other_disk: Result<OtherDisk, String>,
    random: PathBuf,
    processors: Vec<usize>,
    opened_s: i64,
    /// It was tried, and there are no time namespaces for kiln.
    clocks_stay: AtomicBool,
}

/// Room that a build gets on another file system beyond its inputs.
const ROOM_BYTES: u64 = 64 << 20;
/// How much random data is held ready; each reader starts at the beginning.
const RANDOM_BYTES: u64 = 16 << 20;
const RANDOM_CONTEXT: &str = "kiln 2026-11 verify random bytes v1";

/// The name of a store that is at another place than builds are.
const ELSEWHERE: &str = "another-place-for-builds";
const OTHER_ID: u32 = 4321;
const PROCESSES_BEFORE: u32 = 300;
const UPTIME_AHEAD_S: u32 = 40 * 86400;
/// The locale that is compiled for this: `z` sorts before `t`.
const OTHER_LOCALE: &str = "et_EE.UTF-8";
const CLOCK_AT: &str = "kiln-clock";
const LOCALE_AT: &str = "kiln-locale";

impl Site {
    /// Makes scratch stores. `owner` is who builders run as, if not the caller.
    pub fn open(offers: Offers, owner: Option<(u32, u32)>) -> Result<Self, StoreError> {
        let directory = offers.scratch.clone();
        let during = |source: io::Error| StoreError::Io {
            operation: "make",
            path: directory.clone(),
            source,
        };
        fs::create_dir_all(&directory).map_err(during)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).map_err(during)?;
        let options = OpenOptions {
            owner,
            ..OpenOptions::default()
        };
        let random = directory.join("random");
        write_random(&random).map_err(during)?;
        Ok(Self {
            scratch: Store::open(&directory.join("store"), &options)?,
            elsewhere: Store::open(&directory.join(ELSEWHERE), &options)?,
            other_disk: OtherDisk::find(&offers, &options, ELSEWHERE),
            random,
            processors: allowed_processors(),
            opened_s: now_s(),
            clocks_stay: AtomicBool::new(false),
            offers,
        })
    }

    /// When this was made, in seconds of UNIX time. What is compared with was
    /// built before.
    pub(super) fn opened_s(&self) -> i64 {
        self.opened_s
    }

    /// The store that everything is captured into.
    pub fn store(&self) -> &Store {
        &self.scratch
    }

    /// Whether a factor can be varied for a script; if not, why.
    pub fn can_vary(
        &self,
        objects: &dyn Objects,
        job: &Job<'_>,
        exec: &Exec,
        factor: Factor,
    ) -> Result<(), String> {
        let unset = |name: &str| match exec.env.contains_key(name) {
            true => Err(format!("the recipe sets {name} itself")),
            false => Ok(()),
        };
        match factor {
            Factor::User if exec.uid == 0 => Err("the recipe asks for uid 0".to_owned()),
            Factor::Locale => unset("LC_ALL"),
            Factor::TimeZone => unset("TZ"),
            Factor::Processors if self.processors.len() < 2 => {
                Err("this machine has only one processor to run on".to_owned())
            }
            Factor::Clock if self.clocks_stay.load(Ordering::Relaxed) => {
                self.offers.clock.clone().map(|_| ())
            }
            Factor::DirectoryOrder => self.room(objects, job, true),
            Factor::FileSystem => self.room(objects, job, false),
            _ => Ok(()),
        }
    }

    /// Time namespaces were tried, and refused.
    pub(super) fn cannot_move_clocks(&self) {
        self.clocks_stay.store(true, Ordering::Relaxed);
    }

    /// Whether a factor can be held still; if not, why.
    pub fn can_hold(&self, factor: Factor) -> Result<(), String> {
        match factor {
            Factor::Clock => self.offers.clock.clone().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// How a factor is varied on this machine.
    pub fn how(&self, factor: Factor) -> String {
        match (factor, &self.other_disk) {
            (Factor::Clock, _) => self.how_clocks_move(),
            (Factor::Locale, _) if self.offers.locale.is_err() => format!(
                "LC_ALL=C.UTF-8, which differs in characters but not in sorting ({})",
                self.offers.locale.as_ref().err().map_or("", String::as_str)
            ),
            (Factor::FileSystem, Ok(memory)) => {
                format!("{} ({})", factor.how(), memory.directory.display())
            }
            _ => factor.how().to_owned(),
        }
    }

    fn how_clocks_move(&self) -> String {
        let day = match &self.offers.clock {
            Ok(_) => "libfaketime's clock eleven years ahead".to_owned(),
            Err(why) => format!("the time of day only passes ({why})"),
        };
        let since_start = match self.clocks_stay.load(Ordering::Relaxed) {
            false => "a time namespace, in which the machine was started forty days earlier",
            true => "no time namespace (this host gives kiln none)",
        };
        format!("{day}, and {since_start}")
    }

    /// The setting in which `varied` is unlike an ordinary build, and `held` is
    /// not left to chance.
    pub fn setting(
        &self,
        exec: &Exec,
        cores: usize,
        varied: &[Factor],
        held: &[Factor],
    ) -> Setting<'_> {
        let mut setting = Setting {
            keep_failed: false,
            ..Setting::of(&self.scratch)
        };
        for &factor in varied {
            self.vary(&mut setting, exec, cores, factor);
        }
        for &factor in held {
            self.hold(&mut setting, exec, factor);
        }
        setting
    }

    fn vary<'s>(&'s self, setting: &mut Setting<'s>, exec: &Exec, cores: usize, factor: Factor) {
        let Setting {
            variation,
            environment,
            ..
        } = setting;
        let mut set = |name: &str, value: &str| {
            environment.insert(name.to_owned(), value.to_owned());
        };
        match factor {
            Factor::HostName => variation.host_name = Some("another-host".to_owned()),
            Factor::KernelRelease => variation.old_release = true,
            Factor::User => variation.id = Some(OTHER_ID),
            Factor::Umask => variation.umask = Some(0o077),
            Factor::Locale => self.other_locale(variation, environment),
            Factor::TimeZone => set("TZ", "KILN-13:45"),
            Factor::Environment => {
                set("HOME", "/tmp");
                set("USER", "another-user");
                set("KILN_NOBODY_ASKED_FOR_THIS", &"x".repeat(300));
            }
            Factor::BuildPath => variation.work_dir = Some("another-directory".to_owned()),
            Factor::ProcessIds => variation.processes_before = PROCESSES_BEFORE,
            Factor::LinkCount => match &mut setting.copies {
                Some(copies) => copies.executed = true,
                None => {
                    setting.copies = Some(Copies {
                        at: &self.scratch,
                        order: Order::Sorted,
                        executed: true,
                    });
                }
            },
            Factor::DirectoryOrder => self.reverse(setting, exec),
            Factor::FileSystem => {
                if let Some(memory) = self.other_store() {
                    setting.scratch = memory;
                }
            }
            Factor::StorePlace if setting.scratch.path() == self.scratch.path() => {
                setting.scratch = &self.elsewhere;
            }
            Factor::Jobs => setting.jobs = Some(cores + 3),
            Factor::Processors => variation.processor = self.processors.last().copied(),
            Factor::AddressSpace => variation.fixed_addresses = true,
            Factor::Clock => self.other_clock(variation, environment, exec),
            // The machine's, not the sandbox's: see `pressure`.
            Factor::Load | Factor::Memory => {}
            Factor::StorePlace | Factor::Random => {}
        }
    }

    fn hold<'s>(&'s self, setting: &mut Setting<'s>, exec: &Exec, factor: Factor) {
        match factor {
            Factor::Clock => {
                // As seconds of UNIX time: a date would be read in a time zone.
                let times = [("FAKETIME", "981173106"), ("FAKETIME_FMT", "%s")];
                self.fake_time(
                    &mut setting.variation,
                    &mut setting.environment,
                    exec,
                    &times,
                );
            }
            Factor::AddressSpace => setting.variation.fixed_addresses = true,
            Factor::Random => setting.variation.random = Some(self.random.clone()),
            Factor::Jobs => setting.jobs = Some(1),
            Factor::Processors => setting.variation.processor = self.processors.first().copied(),
            _ => {}
        }
    }

    fn reverse<'s>(&'s self, setting: &mut Setting<'s>, exec: &Exec) {
        let Some(memory) = self.other_store() else {
            return;
        };
        let executed = setting.copies.is_some_and(|copies| copies.executed);
        setting.copies = Some(Copies {
            at: memory,
            order: Order::Reversed,
            executed,
        });
        if exec.copy_source {
            setting.scratch = memory;
        }
    }

    fn other_locale(&self, variation: &mut Variation, environment: &mut BTreeMap<String, String>) {
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        let Ok(locales) = &self.offers.locale else {
            set("LC_ALL", "C.UTF-8".to_owned());
            return;
        };
        set("LC_ALL", OTHER_LOCALE.to_owned());
        set("LOCPATH", format!("/in/{LOCALE_AT}"));
        variation.mounts.push((locales.clone(), place(LOCALE_AT)));
    }

    fn other_clock(
        &self,
        variation: &mut Variation,
        environment: &mut BTreeMap<String, String>,
        exec: &Exec,
    ) {
        let stay = self.clocks_stay.load(Ordering::Relaxed);
        variation.uptime_ahead_s = (!stay).then_some(UPTIME_AHEAD_S);
        // Files keep the times that the kernel gives them: those of inputs are
        // the contract's.
        let times = [("FAKETIME", "+4018d"), ("NO_FAKE_STAT", "1")];
        self.fake_time(variation, environment, exec, &times);
    }

    fn fake_time(
        &self,
        variation: &mut Variation,
        environment: &mut BTreeMap<String, String>,
        exec: &Exec,
        times: &[(&str, &str)],
    ) {
        let Ok(root) = &self.offers.clock else {
            return;
        };
        let multiarch = format!("{}-linux-gnu", exec.platform.name());
        let library = format!("/in/{CLOCK_AT}/usr/lib/{multiarch}/faketime/libfaketime.so.1");
        // Without the last one, sleeping and waiting with a time limit end late.
        let all = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        for (name, value) in all.iter().chain(times) {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let mount = (root.clone(), place(CLOCK_AT));
        if !variation.mounts.contains(&mount) {
            variation.mounts.push(mount);
        }
    }

    fn other_store(&self) -> Option<&Store> {
        self.other_disk.as_ref().ok()?.store.as_ref()
    }

    /// Whether another file system has room for what is read, and the build.
    fn room(&self, objects: &dyn Objects, job: &Job<'_>, in_order: bool) -> Result<(), String> {
        let memory = self.other_disk.as_ref().map_err(Clone::clone)?;
        let place = memory.directory.display();
        if in_order && !memory.in_order {
            return Err(format!(
                "{place} is no tmpfs, so the order in which it lists directories cannot be chosen"
            ));
        }
        let mut needed = ROOM_BYTES;
        let inputs = job.derivation.inputs.iter().zip(&job.inputs);
        for (input, resolved) in inputs {
            if input.role == Role::Material {
                let bytes = tree_bytes(objects, &resolved.tree).map_err(|e| e.to_string())?;
                needed += 2 * bytes;
            }
        }
        let free = statvfs(&memory.directory)
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
            .map_err(|error| format!("{place}: {error}"))?;
        let free = free.min(free_memory_bytes());
        if free < needed {
            let mib = |bytes: u64| bytes >> 20;
            return Err(format!(
                "{place} has {} MiB free, and {} MiB are needed",
                mib(free),
                mib(needed)
            ));
        }
        Ok(())
    }
}

/// What is done to the machine while a builder runs.
pub(super) struct Pressure {
    _load: Option<Load>,
    _ballast: Option<Ballast>,
}

impl Pressure {
    /// As `varied` wants it.
    pub(super) fn start(varied: &[Factor]) -> Self {
        let processors = allowed_processors().len();
        let load = varied.contains(&Factor::Load);
        let ballast = varied.contains(&Factor::Memory);
        Self {
            _load: load.then(|| Load::start(processors)),
            _ballast: ballast.then(|| Ballast::take(free_memory_bytes())),
        }
    }
}

fn place(name: &str) -> MountPoint {
    MountPoint::In(InputName::new(name).expect("a constant that was tried"))
}

fn write_random(path: &Path) -> io::Result<()> {
    let mut bytes = blake3::Hasher::new_derive_key(RANDOM_CONTEXT).finalize_xof();
    let mut file = fs::File::create(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut left = RANDOM_BYTES;
    while left > 0 {
        bytes.fill(&mut buffer);
        file.write_all(&buffer)?;
        left -= buffer.len() as u64;
    }
    file.set_permissions(fs::Permissions::from_mode(0o444))
}

/// The processors that this process may run on.
fn allowed_processors() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None);
    let set = set.map(|set| {
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|&processor| set.is_set(processor))
            .collect()
    });
    set.unwrap_or_else(|_| vec![0])
}

/// What the kernel says could be had without swapping; 0 if it does not say.
fn free_memory_bytes() -> u64 {
    let mut text = String::new();
    let read = fs::File::open("/proc/meminfo").and_then(|mut file| file.read_to_string(&mut text));
    if read.is_err() {
        return 0;
    }
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The size of all files of a tree together.
fn tree_bytes(objects: &dyn Objects, tree: &TreeId) -> Result<u64, ObjectError> {
    let mut bytes = 0;
    let mut left = vec![*tree];
    while let Some(tree) = left.pop() {
        for entry in objects.directory(&tree)?.entries() {
            match &entry.node {
                Node::File { size, .. } => bytes += size,
                Node::Directory { tree } => left.push(*tree),
                Node::Symlink { .. } => {}
            }
        }
    }
    Ok(bytes)
}
