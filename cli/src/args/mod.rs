//! The command line. Doc comments here are the help texts.

mod sharing;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kiln_derivations::derivation::Target;
use kiln_derivations::verify::{Factor, UnknownFactor};
use kiln_store::cache::pace::Rate;

pub use sharing::{
    CacheArgs, CacheCommand, ExportArgs, ImportArgs, KeyArgs, KeyCommand, PullArgs, PushArgs,
};

/// Reproducible, content-addressed builds of whole Linux systems.
///
/// Exit status: 0 done; 1 a build failed; 2 a mistake on the command line, in
/// the manifest or in the lock; 3 a hash mismatch; 4 an untrusted claim; 5 a
/// build that is not reproducible; 6 the machine failed (disk, network,
/// sandbox, store); 130 interrupted.
#[derive(Parser, Debug)]
#[command(name = "kiln", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// The manifest, or the directory that has it [default: flake-like.toml in
    /// this directory or the nearest one above it]
    #[arg(
        long,
        short = 'm',
        global = true,
        value_name = "PATH",
        env = "KILN_MANIFEST"
    )]
    pub manifest: Option<PathBuf>,
    /// The store [default: $XDG_DATA_HOME/kiln; /var/lib/kiln for root]
    #[arg(long, global = true, value_name = "DIR", env = "KILN_STORE")]
    pub store: Option<PathBuf>,
    /// Print results as JSON on stdout; the format is in `kiln schema`
    #[arg(long, global = true)]
    pub json: bool,
    /// Append every event, one JSON object a line, to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Also print every line that builders log
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// How to show progress
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto)]
    pub progress: Progress,
}

/// How to show progress.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A tree on a terminal, plain lines elsewhere
    Auto,
    /// A tree that is redrawn
    Tree,
    /// Plain lines
    Plain,
}

/// What kiln does.
#[derive(Subcommand, Debug)]
pub enum Command {
    Init(InitArgs),
    Lock(LockArgs),
    Update(UpdateArgs),
    Build(BuildArgs),
    Boot(BootArgs),
    Test(TestArgs),
    Shell(ShellArgs),
    Run(RunArgs),
    Log(LogArgs),
    Gc(GcArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Graph(GraphArgs),
    Why(WhyArgs),
    Push(PushArgs),
    Pull(PullArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Key(KeyArgs),
    Cache(CacheArgs),
    Store(StoreArgs),
    Schema(SchemaArgs),
    Completions(CompletionsArgs),
}

/// Start a project: write a small manifest that builds and boots
#[derive(Args, Debug)]
pub struct InitArgs {
    /// Where; the directory is made if it is not there
    #[arg(default_value = ".")]
    pub directory: PathBuf,
    /// The flake whose recipes the new project imports (a directory)
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
}

/// Pin what the manifest names and the lock does not have yet
///
/// Debian packages are resolved from the signed archive index; sources are
/// fetched once and hashed. What is pinned already stays as it is.
#[derive(Args, Debug)]
pub struct LockArgs {
    /// Only say whether the lock fits the manifest; exit status 2 if not
    #[arg(long)]
    pub check: bool,
}

/// Pin again what the manifest names, at today's versions
#[derive(Args, Debug)]
pub struct UpdateArgs {
    /// Seeds and sources to pin again [default: all]
    pub names: Vec<String>,
}

/// Options of commands that realise derivations.
#[derive(Args, Debug, Clone)]
pub struct RealiseArgs {
    /// What it shall run on; may be given more than once [default: this
    /// machine's architecture]
    #[arg(long, short, value_name = "ARCH", value_parser = target)]
    pub target: Vec<Target>,
    /// Where builders run [default: this machine's architecture]
    #[arg(long, value_name = "ARCH", value_parser = target)]
    pub build_platform: Option<Target>,
    /// Builds at one time
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,
    /// Jobs that one build may run at a time [default: the machine's CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub cores: Option<u16>,
    /// Downloads at one time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub downloads: u16,
    /// After a failure, go on with what does not need it
    #[arg(long, short)]
    pub keep_going: bool,
    /// Use no network: what would have to be downloaded is an error
    #[arg(long)]
    pub offline: bool,
    /// Ask no cache: build everything here
    #[arg(long)]
    pub no_caches: bool,
    /// Bytes a second to and from all caches together, such as 500k or 2M
    /// [default: as many as go]
    #[arg(long, value_name = "RATE")]
    pub bandwidth: Option<Rate>,
}

/// Build packages, root file systems or images
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// What to build: names of the manifest [default: every image]
    pub names: Vec<String>,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// Copy the outputs to this directory instead of making `result`
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Make no `result`
    #[arg(long, conflicts_with = "out")]
    pub no_result: bool,
    /// Only say what would be built, downloaded, and pulled from caches
    #[arg(long)]
    pub dry_run: bool,
}

/// Build an image and boot it in an emulator
///
/// On a terminal the console is yours; how to leave it is printed. A pipe on
/// stdin is fed to the console once the guest is up; kiln ends with the guest.
#[derive(Args, Debug)]
pub struct BootArgs {
    /// The image
    pub image: String,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// Which of the image's formats to boot from
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Memory of the guest
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub memory: u32,
    /// CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u32,
    /// Whether to use KVM
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub accel: Accel,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORDS")]
    pub append: Option<String>,
    /// End the guest after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub time_limit: Option<u64>,
}

/// Whether to use KVM.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// Where a probe boots with it
    Auto,
    /// Always; an error where it does not work
    Kvm,
    /// Never
    Tcg,
}

/// Run the manifest's boot checks
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Which checks [default: all]
    pub names: Vec<String>,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// Keep the consoles' transcripts in this directory
    #[arg(long, value_name = "DIR")]
    pub transcripts: Option<PathBuf>,
}

/// Open a shell in the sandbox of a build
#[derive(Args, Debug)]
pub struct ShellArgs {
    /// Whose sandbox
    pub name: String,
    /// Open the last failed build of it, with the tree as it was left
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// Run this instead of an interactive shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Run a program of a package in a sandbox
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The package
    pub name: String,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// The program and its arguments [default: the only program it has]
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Show the log of a build
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Whose log: a name of the manifest, or an action key
    pub name: String,
    /// Its target
    #[arg(long, short, value_name = "ARCH", value_parser = target)]
    pub target: Option<Target>,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    pub tail: Option<usize>,
}

/// Remove what nothing uses
///
/// In use is what a live kiln has leased, what a root reaches, and what was
/// used within the keep window. Roots are all derivations of what was built
/// from a manifest, so an image keeps its toolchain.
#[derive(Args, Debug)]
pub struct GcArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Keep what was used in the last days
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub keep_days: u32,
    /// List the roots instead
    #[arg(long)]
    pub list_roots: bool,
    /// Forget these roots first
    #[arg(long, value_name = "ROOT")]
    pub forget: Vec<String>,
    /// Remove damaged objects, so that the next build makes them anew
    #[arg(long)]
    pub damaged: bool,
}

/// Rehash what is stored, or build it again and compare
///
/// Without further options what is stored is rehashed: are these still the
/// bytes that were built? With --rebuild it is built again in a scratch store
/// and compared; with --perturb once more with everything varied that must not
/// matter: host name, user, clock, jobs, file system and so on. What differs is
/// shown with the place in the file, and the factor that causes it is searched
/// for. Nothing in the store is replaced. Exit status 5 says that a build is
/// not reproducible, 1 that it failed, 3 that stored bytes are damaged.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Names of the manifest, or a file with --against [default: the whole store]
    pub names: Vec<String>,
    /// Compare the file with what this image or package has under its name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["rebuild", "perturb", "each", "factor"])]
    pub against: Option<String>,
    /// Also everything it was built from, what is needed first; ends at the
    /// first that differs unless --keep-going is given
    #[arg(long)]
    pub closure: bool,
    /// Of the closure, build again only derivations of this name, as `kiln graph`
    /// shows it; may be given more than once
    #[arg(long, value_name = "NAME", requires = "closure")]
    pub only: Vec<String>,
    /// Build again in a scratch store, and compare
    #[arg(long)]
    pub rebuild: bool,
    /// Also build with everything varied that must not matter
    #[arg(long)]
    pub perturb: bool,
    /// Vary one thing at a time instead of all together; implies --perturb
    #[arg(long)]
    pub each: bool,
    /// Vary only this; may be given more than once, or as a list with commas
    #[arg(long, value_name = "FACTOR", value_delimiter = ',', value_parser = factor)]
    pub factor: Vec<Factor>,
    /// Compare what was built here, and all it was built from, with what the
    /// trusted keys claim in the caches
    #[arg(long, conflicts_with_all = ["rebuild", "perturb", "each", "factor", "against", "closure"])]
    pub caches: bool,
    /// Where outputs that differ are kept [default: verify/kept in the store]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    #[command(flatten)]
    pub realise: RealiseArgs,
}

impl VerifyArgs {
    /// Whether anything is to be built again.
    pub fn builds_again(&self) -> bool {
        self.rebuild || self.perturb || self.each || !self.factor.is_empty()
    }
}

fn factor(text: &str) -> Result<Factor, UnknownFactor> {
    text.parse()
}

/// Say what this machine lacks, and how to mend it
#[derive(Args, Debug)]
pub struct DoctorArgs {}

/// Show what is built from what
#[derive(Args, Debug)]
pub struct GraphArgs {
    /// Of what [default: every image]
    pub names: Vec<String>,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// As a Graphviz file
    #[arg(long, conflicts_with = "json")]
    pub dot: bool,
    /// Also the downloads
    #[arg(long)]
    pub all: bool,
}

/// Say why something is not had from caches
///
/// Its recipe key is compared, field by field, with the nearest one that a key
/// which counts here has claimed; what differs because of an input is followed
/// into that input. Nothing is built or fetched for it.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// What is asked about: why it would be built, and not pulled
    #[arg(long = "not-cached", value_name = "NAME", required = true)]
    pub name: String,
    #[command(flatten)]
    pub realise: RealiseArgs,
}

/// Look after the store
#[derive(Args, Debug)]
pub struct StoreArgs {
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What can be done with a store.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Make the index anew from the realisations
    Rebuild,
    /// Say where the store is and what it holds
    Info,
    /// Copy a tree out of the store
    Export {
        /// The tree's digest
        tree: String,
        /// Where; must not exist
        directory: PathBuf,
    },
}

/// Print the JSON Schema of a format
#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Of which
    #[arg(value_enum, default_value_t = SchemaKind::Manifest)]
    pub kind: SchemaKind,
}

/// Which schema.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// `flake-like.toml`
    Manifest,
    /// What `--json` prints
    Json,
}

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl Default for RealiseArgs {
    /// What the command line gives when nothing is said.
    fn default() -> Self {
        Self {
            target: Vec::new(),
            build_platform: None,
            jobs: 1,
            cores: None,
            downloads: 8,
            keep_going: false,
            offline: false,
            no_caches: false,
            bandwidth: None,
        }
    }
}

fn target(text: &str) -> Result<Target, String> {
    text.parse().map_err(|error| format!("{error}"))
}
