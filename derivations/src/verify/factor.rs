//! What can differ between two builds of one derivation, one factor at a time.

use std::fmt;
use std::str::FromStr;

/// Something that a builder can observe and that must not reach its output.
///
/// The order is that in which causes are looked for: what is more specific
/// comes before what also changes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Factor {
    /// The host name.
    HostName,
    /// What the kernel calls its release.
    KernelRelease,
    /// The uid and gid that the builder sees as its own.
    User,
    /// The file mode creation mask.
    Umask,
    /// `LC_ALL`, with a locale that sorts in another way.
    Locale,
    /// `TZ`.
    TimeZone,
    /// `HOME`, and variables that nobody asked for.
    Environment,
    /// The working directory.
    BuildPath,
    /// The numbers that processes get.
    ProcessIds,
    /// Where on the host `/build` and `/out` lie.
    StorePlace,
    /// How many links files of inputs have.
    LinkCount,
    /// The order in which directories of inputs are listed.
    DirectoryOrder,
    /// The file system of `/build` and `/out`.
    FileSystem,
    /// `KILN_JOBS`.
    Jobs,
    /// How many processors there are to run on.
    Processors,
    /// Whether addresses are randomised.
    AddressSpace,
    /// The time of day, and the time since the machine started.
    Clock,
    /// What else the processors have to do.
    Load,
    /// How much memory is free.
    Memory,
    /// Random numbers. No build gets those of another, so they are never
    /// varied; they can be held still.
    Random,
}

/// All that can be told of a factor.
struct Entry {
    factor: Factor,
    name: &'static str,
    how: &'static str,
    mend: &'static str,
}

const fn entry(factor: Factor, name: &'static str, how: &'static str, mend: &'static str) -> Entry {
    Entry {
        factor,
        name,
        how,
        mend,
    }
}

use Factor::{
    AddressSpace, BuildPath, Clock, DirectoryOrder, Environment, FileSystem, HostName, Jobs,
    KernelRelease, LinkCount, Load, Locale, Memory, ProcessIds, Processors, Random, StorePlace,
    TimeZone, Umask, User,
};

#[rustfmt::skip]
const ENTRIES: [Entry; 20] = [
    entry(HostName, "host-name", "another host name in the sandbox",
        "set the name the build records, such as KBUILD_BUILD_HOST or --build-host, to a constant"),
    entry(KernelRelease, "kernel-release", "the kernel's UNAME26 personality: uname says 2.6",
        "take versions from the sources or from /sysroot, never from `uname -r`"),
    entry(User, "user", "another uid and gid in the sandbox",
        "write owners as numbers that the recipe chooses: tar --owner=0 --group=0 --numeric-owner, ar with D"),
    entry(Umask, "umask", "umask 077 in place of 022",
        "set modes with `install -m` or `chmod`, or begin the script with `umask 022`"),
    entry(Locale, "locale", "LC_ALL of a locale that sorts and cases otherwise",
        "sort and compare with LC_ALL=C set at that command"),
    entry(TimeZone, "time-zone", "TZ thirteen hours and three quarters east",
        "print times with `date -u` or TZ=UTC, and only those of SOURCE_DATE_EPOCH"),
    entry(Environment, "environment", "another HOME, and variables nobody asked for",
        "do not record the environment; pass what is needed by name"),
    entry(BuildPath, "build-path", "the working directory is one below /build",
        "-ffile-prefix-map=$PWD=. for compilers, relative paths elsewhere, no `pwd` in outputs"),
    entry(ProcessIds, "process-ids", "some hundred processes start and end before the builder",
        "name temporary things by mktemp and remove them, or by their content; no $$ in outputs"),
    entry(StorePlace, "store-place", "/build and /out lie elsewhere on the host",
        "do not record mounts; /proc/self/mountinfo names places of the host"),
    entry(LinkCount, "link-count", "inputs are copies and not links of the store's files",
        "tell archivers not to look for hard links: tar --hard-dereference, cpio with renumbered inodes"),
    entry(DirectoryOrder, "directory-order", "inputs lie on a tmpfs, made in the reverse order of their names",
        "sort what a directory lists: `find … | LC_ALL=C sort`, tar --sort=name, $(sort $(wildcard …))"),
    entry(FileSystem, "file-system", "/build and /out lie on another type of file system",
        "sort directory listings; do not record inode numbers, block counts or sizes of directories"),
    entry(Jobs, "jobs", "another KILN_JOBS",
        "make the result independent of the order in which parallel work ends: write to files of their own and join them sorted"),
    entry(Processors, "processors", "one processor to run on",
        "use KILN_JOBS for parallelism and record neither; split work by a constant"),
    entry(AddressSpace, "address-space", "no address is randomised",
        "do not print, hash or sort by addresses of objects"),
    entry(Clock, "clock", "libfaketime's clock eleven years ahead, and a time namespace",
        "use SOURCE_DATE_EPOCH in place of the time, `touch -d @$SOURCE_DATE_EPOCH` before archiving, gzip -n, ar with D"),
    entry(Load, "load", "every processor is kept busy from outside",
        "wait for what is needed and not for a time; no timing in outputs"),
    entry(Memory, "memory", "a part of the free memory is taken from outside",
        "do not size things by the free memory"),
    entry(Random, "random", "random bytes come from a file that is always the same",
        "give a constant seed: -frandom-seed=NAME for gcc, PYTHONHASHSEED=0, PERL_HASH_SEED=0, a UUID from KILN_SEED_UUID"),
];

impl Factor {
    /// Every factor, in order.
    pub fn all() -> impl Iterator<Item = Factor> {
        ENTRIES.iter().map(|entry| entry.factor)
    }

    /// Those that two builds can be made to differ in.
    pub fn varied() -> impl Iterator<Item = Factor> {
        Self::all().filter(|factor| *factor != Random)
    }

    /// Those that differ between any two builds and can be held still, in the
    /// order in which they are suspected.
    pub const HELD: [Factor; 5] = [Clock, AddressSpace, Random, Jobs, Processors];

    fn entry(self) -> &'static Entry {
        // The table is in the order of the enumeration; a test holds it to that.
        &ENTRIES[self as usize]
    }

    /// What changes too when this is varied: once one of those is known to
    /// change an output, this cannot be judged.
    pub const fn implies(self) -> &'static [Factor] {
        match self {
            LinkCount | FileSystem => &[StorePlace],
            DirectoryOrder => &[StorePlace, LinkCount],
            // An address changes with all that lies below it in memory.
            KernelRelease | Locale | TimeZone | Environment | BuildPath | ProcessIds | Jobs
            | Processors | Clock | User => &[AddressSpace],
            _ => &[],
        }
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// How it is varied (or held).
    pub fn how(self) -> &'static str {
        self.entry().how
    }

    /// What usually mends an output that depends on it.
    pub fn mend(self) -> &'static str {
        self.entry().mend
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Factor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A text that names no factor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown factor `{name}`: expected one of {expected}")]
pub struct UnknownFactor {
    /// The text.
    pub name: String,
    /// All names there are.
    pub expected: String,
}

impl FromStr for Factor {
    type Err = UnknownFactor;

    fn from_str(text: &str) -> Result<Self, UnknownFactor> {
        let found = Self::varied().find(|factor| factor.name() == text);
        found.ok_or_else(|| UnknownFactor {
            name: text.to_owned(),
            expected: Self::varied()
                .map(Self::name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_factors() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.factor as usize, index, "{}", entry.name);
        }
        assert_eq!("umask".parse(), Ok(Umask));
        let unknown = "random".parse::<Factor>().unwrap_err();
        assert!(unknown.to_string().contains("host-name"), "{unknown}");
    }
}
