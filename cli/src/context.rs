//! What commands share: where the manifest and the store are, and who may stop
//! them. Only here are the environment and the home directory looked at.

use std::env;
use std::path::{Path, PathBuf};

use kiln_derivations::cancel::Cancel;
use kiln_derivations::derivation::Target;
use kiln_derivations::event::Listener;
use kiln_derivations::manifest::evaluate::Disk;
use kiln_derivations::manifest::{self, Evaluation, Lock, Manifest, Request, Wanted};
use kiln_store::store::{OpenOptions, Store};

use crate::args::{Global, RealiseArgs};
use crate::checkout::GitCheckout;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::progress;

/// The uid and gid under which root's builders run, unless `KILN_BUILD_UID`
/// says another: at the upper end of what Debian gives to ordinary users, so
/// that hardly any machine has it.
const BUILD_UID: u32 = 59_137;

/// What every command is given.
pub struct Context {
    /// The global options.
    pub global: Global,
    /// Set by Ctrl-C and SIGTERM.
    pub cancel: Cancel,
}

impl Context {
    /// The manifest that is meant.
    pub fn manifest_path(&self) -> Result<PathBuf, CliError> {
        match &self.global.manifest {
            Some(path) if path.is_dir() => Ok(path.join(manifest::MANIFEST_FILE)),
            Some(path) => Ok(path.clone()),
            None => self.search_manifest(),
        }
    }

    fn search_manifest(&self) -> Result<PathBuf, CliError> {
        let here = env::current_dir()
            .map_err(|error| CliError::machine(format!("the working directory: {error}")))?;
        manifest::find(&here).ok_or_else(|| {
            CliError::usage(format!(
                "no {} in {} or above it",
                manifest::MANIFEST_FILE,
                here.display()
            ))
            .with_hint("`kiln init` writes one; `--manifest PATH` names one elsewhere")
        })
    }

    /// Reads the manifest with all it includes.
    pub fn manifest(&self) -> Result<Manifest, CliError> {
        let path = self.manifest_path()?;
        manifest::load(&path, &GitCheckout(self)).map_err(CliError::manifest)
    }

    /// Reads the lock beside the manifest; an absent one pins nothing.
    pub fn lock(&self) -> Result<Lock, CliError> {
        manifest::load::load_lock(&self.lock_path()?).map_err(CliError::manifest)
    }

    /// Where the lock is.
    pub fn lock_path(&self) -> Result<PathBuf, CliError> {
        Ok(self.manifest_path()?.with_file_name(manifest::LOCK_FILE))
    }

    /// Where the store is.
    pub fn store_path(&self) -> Result<PathBuf, CliError> {
        if let Some(path) = &self.global.store {
            return std::path::absolute(path)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())));
        }
        if is_root() {
            return Ok(PathBuf::from("/var/lib/kiln"));
        }
        data_home().map(|home| home.join("kiln")).ok_or_else(|| {
            CliError::usage("neither XDG_DATA_HOME nor HOME says where the store is")
                .with_hint("set KILN_STORE, or give --store DIR")
        })
    }

    /// Opens the store, and makes it if it is not there.
    pub fn store(&self) -> Result<Store, CliError> {
        self.open_store(false)
    }

    /// Opens the store; with `rebuild_index` its index is made anew first.
    pub fn open_store(&self, rebuild_index: bool) -> Result<Store, CliError> {
        let options = OpenOptions {
            create: true,
            owner: builder_user()?,
            rebuild_index,
        };
        let path = self.store_path()?;
        let store = Store::open(&path, &options)?;
        if options.owner.is_some() {
            refuse_closed_ancestors(&store)?;
        }
        Ok(store)
    }

    /// Evaluates names of the manifest; all images if there are none.
    pub fn evaluate_names(
        &self,
        manifest: &Manifest,
        names: &[String],
        realise: &RealiseArgs,
    ) -> Result<Evaluation, CliError> {
        let lock = self.lock()?;
        let request = self.request(wanted(manifest, names)?, realise)?;
        manifest::evaluate(manifest, &lock, &request, &Disk).map_err(CliError::manifest)
    }

    fn request(&self, want: Vec<Wanted>, realise: &RealiseArgs) -> Result<Request, CliError> {
        let host = host()?;
        Ok(Request {
            build_platform: realise.build_platform.unwrap_or(host),
            targets: match realise.target.as_slice() {
                [] => vec![host],
                targets => targets.to_vec(),
            },
            want,
        })
    }

    /// Who listens to events, as the global options say.
    pub fn listener(&self) -> Result<Vec<Box<dyn Listener + Send>>, CliError> {
        progress::listeners(&self.global)
    }
}

/// What names on the command line mean; all images if there are none.
fn wanted(manifest: &Manifest, names: &[String]) -> Result<Vec<Wanted>, CliError> {
    let names = match names {
        [] => manifest
            .images
            .keys()
            .map(|image| image.to_string())
            .collect(),
        names => names.to_vec(),
    };
    if names.is_empty() {
        return Err(CliError::usage("the manifest has no image to build")
            .with_hint("name a package: `kiln build NAME`"));
    }
    Ok(names
        .iter()
        .map(|name| match name.parse() {
            Ok(wanted) => wanted,
            Err(never) => match never {},
        })
        .collect())
}

/// The machine's own architecture.
pub fn host() -> Result<Target, CliError> {
    Target::host().ok_or_else(|| {
        CliError::plain(
            ExitStatus::Infrastructure,
            format!(
                "kiln builds on x86_64 and aarch64, and this is {}",
                env::consts::ARCH
            ),
        )
    })
}

/// Whether kiln runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// As root: the unused uid and gid that builders run under.
pub fn builder_user() -> Result<Option<(u32, u32)>, CliError> {
    if !is_root() {
        return Ok(None);
    }
    let uid = match env::var("KILN_BUILD_UID") {
        Ok(text) => text.parse().ok().filter(|&uid| uid != 0).ok_or_else(|| {
            CliError::usage(format!(
                "KILN_BUILD_UID is `{text}`; expected a uid that is not 0 and that nobody has"
            ))
        })?,
        Err(_) => BUILD_UID,
    };
    match account_of(uid) {
        Some(name) => Err(CliError::usage(format!(
            "builders would run as uid {uid}, which is the account `{name}` on this machine"
        ))
        .with_hint("set KILN_BUILD_UID to a uid that nobody has")),
        None => Ok(Some((uid, uid))),
    }
}

fn account_of(uid: u32) -> Option<String> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?;
    line.split(':').next().map(str::to_owned)
}

/// Root's builders run as another user, who has to get to the store.
fn refuse_closed_ancestors(store: &Store) -> Result<(), CliError> {
    let closed = store.untraversable_ancestors()?;
    let Some(directory) = closed.first() else {
        return Ok(());
    };
    Err(CliError::usage(format!(
        "the store {} is below {}, which the builders' user cannot enter",
        store.path().display(),
        directory.display()
    ))
    .with_hint(format!(
        "`chmod o+x {}`, or set KILN_STORE to another place",
        directory.display()
    )))
}

fn data_home() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))
}

/// A file of the user's configuration. `KILN_CONFIG` names another directory
/// for all of them.
pub fn config_file(name: &str) -> Option<PathBuf> {
    if let Some(directory) = env::var_os("KILN_CONFIG").filter(|it| !it.is_empty()) {
        return Some(PathBuf::from(directory).join(name));
    }
    let absolute = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let home = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(home?.join("kiln").join(name))
}

/// A path as it is shown: relative to the working directory where that is
/// shorter.
pub fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .unwrap_or(path)
        .display()
        .to_string()
}
