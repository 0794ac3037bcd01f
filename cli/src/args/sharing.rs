//! The commands that share what was built. Doc comments here are help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::RealiseArgs;

/// Share what was built here through a cache
///
/// What was built is signed and sent with all it was built from: the claims of
/// everything, the bytes of what is not merely fetched. Nothing is built for it.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// What to share: names of the manifest [default: every image]
    pub names: Vec<String>,
    /// To which cache: a name of the manifest or the configuration, or a URL
    #[arg(long, value_name = "CACHE")]
    pub to: Option<String>,
    /// Sign with this key [default: `key` beside the configuration]
    #[arg(long, value_name = "FILE", env = "KILN_KEY")]
    pub key: Option<PathBuf>,
    /// Also send what others can fetch from where it came
    #[arg(long)]
    pub sources: bool,
    #[command(flatten)]
    pub realise: RealiseArgs,
}

/// Get what others built, and build nothing
#[derive(Args, Debug)]
pub struct PullArgs {
    /// What to get: names of the manifest [default: every image]
    pub names: Vec<String>,
    #[command(flatten)]
    pub realise: RealiseArgs,
    /// Copy the outputs to this directory instead of making `result`
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Make no `result`
    #[arg(long, conflicts_with = "out")]
    pub no_result: bool,
}

/// Write what was built here, with all it was built from, to one file
///
/// For machines without a network: `kiln import` reads it there. It holds a cache
/// as `kiln push` fills it, so it is believed no more than one: the claims in it
/// are signed, and every byte is checked.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The file, such as `system.tar.zst`; must not exist
    pub file: PathBuf,
    /// What to export: names of the manifest [default: every image]
    pub names: Vec<String>,
    /// Sign with this key [default: `key` beside the configuration]
    #[arg(long, value_name = "FILE", env = "KILN_KEY")]
    pub key: Option<PathBuf>,
    /// Also what others can fetch from where it came
    #[arg(long)]
    pub sources: bool,
    #[command(flatten)]
    pub realise: RealiseArgs,
}

/// Get what others built from a file that `kiln export` wrote
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file
    pub file: PathBuf,
    #[command(flatten)]
    pub pull: PullArgs,
}

/// Make and show the keys that claims are signed with
#[derive(Args, Debug)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Make a new key, and print its public half
    Generate {
        /// Where [default: `key` beside the configuration]
        file: Option<PathBuf>,
    },
    /// Print the public half of a key, for a policy
    Show {
        /// The key [default: `key` beside the configuration]
        #[arg(env = "KILN_KEY")]
        file: Option<PathBuf>,
    },
    /// Say in a cache that another key follows this one: who trusts the old one
    /// then trusts claims of both
    Rotate {
        /// The key that is followed [default: `key` beside the configuration]
        #[arg(long, value_name = "FILE", env = "KILN_KEY")]
        key: Option<PathBuf>,
        /// The public key that follows it, as `kiln key show` prints it
        successor: String,
        /// In which cache: a name of the manifest or the configuration, or a URL
        #[arg(long, value_name = "CACHE")]
        to: Option<String>,
    },
    /// Say in a cache that no claim of this key counts any more
    Revoke {
        /// The key [default: `key` beside the configuration]
        #[arg(long, value_name = "FILE", env = "KILN_KEY")]
        key: Option<PathBuf>,
        /// In which cache: a name of the manifest or the configuration, or a URL
        #[arg(long, value_name = "CACHE")]
        to: Option<String>,
    },
}

/// Look after a cache
#[derive(Args, Debug)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What can be done with a cache.
#[derive(Subcommand, Debug)]
pub enum CacheCommand {
    /// List the caches that count here, and whom the policy trusts
    List,
    /// Make a cache, and say what its place can do
    ///
    /// A file of kiln's own is written there, read whole and in part, listed and
    /// removed again. Where there is a cache already nothing is changed.
    Init {
        /// Where: a URL, a directory that is made if it is not there, or a name of
        /// the manifest or the configuration
        cache: String,
    },
    /// Say what a cache can do, what it holds, and whose claims
    Info {
        /// Which: a name of the manifest or the configuration, or a URL
        cache: String,
    },
    /// Serve a directory cache over HTTP, to be read, until Ctrl-C
    ///
    /// With --verbose each request is a line on stderr. There is no TLS and there
    /// are no logins: a reverse proxy has both.
    Serve {
        /// The directory
        directory: PathBuf,
        /// The address; port 0 is any that is free
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8420")]
        listen: std::net::SocketAddr,
    },
    /// Read all that a cache has, and say what is damaged or missing
    ///
    /// Exit status 3 says that something is.
    Check {
        /// Which: a name of the manifest or the configuration, or a URL
        cache: String,
    },
    /// Remove packs that no tree needs
    ///
    /// Only what has been unused for longer than the grace period, and was seen to
    /// be by an earlier run: a push may be at work on the rest.
    Gc {
        /// Which: a name of the manifest or the configuration, or a URL
        cache: String,
        /// How long; at least 8
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(8..=8760))]
        grace: u64,
    },
}
