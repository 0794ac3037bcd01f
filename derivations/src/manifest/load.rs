//! Finds and reads the files of a manifest. Everything else is
//! [`super::assemble`]'s.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::assemble::{Assembly, Imported, Manifest, normalise};
use super::lock::Lock;
use super::problem::{ManifestError, Problem};
use super::schema::Import;
use super::span::At;
use super::{LOCK_FILE, MANIFEST_FILE};

/// Where the files of an imported git repository are.
pub trait Checkout {
    /// A folder with the tree of `commit` of the repository at `url`.
    fn checkout(&self, url: &str, commit: &str) -> io::Result<PathBuf>;
}

/// For whoever cannot fetch: an import by git is an error.
#[derive(Clone, Copy, Debug)]
pub struct NoCheckout;

impl Checkout for NoCheckout {
    fn checkout(&self, _: &str, _: &str) -> io::Result<PathBuf> {
        Err(io::Error::other("git imports are not fetched here"))
    }
}

/// The manifest that holds for `start`: in that folder or the nearest above.
pub fn find(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .map(|folder| folder.join(MANIFEST_FILE))
        .find(|path| path.is_file())
}

/// Reads the manifest at `path` with all that it includes and imports.
pub fn load(path: &Path, checkout: &dyn Checkout) -> Result<Manifest, ManifestError> {
    let path = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    let mut loader = Loader {
        checkout,
        loading: Vec::new(),
    };
    loader.load(&normalise(&path), None)
}

/// Reads the lock that belongs to the manifest at `path`; empty if there is
/// none yet.
pub fn load_lock(path: &Path) -> Result<Lock, ManifestError> {
    let path = path.with_file_name(LOCK_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Lock::parse(LOCK_FILE, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lock::default()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

struct Loader<'a> {
    checkout: &'a dyn Checkout,
    /// The manifests on the way to the one that is being read.
    loading: Vec<PathBuf>,
}

impl Loader<'_> {
    fn load(&mut self, path: &Path, confined: Option<PathBuf>) -> Result<Manifest, ManifestError> {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let root = path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.as_deref().unwrap_or(MANIFEST_FILE);
        let mut assembly = Assembly::confined(root, confined.clone(), name, &text);
        for include in assembly.includes().to_vec() {
            read_include(&mut assembly, &include);
        }
        self.loading.push(path.to_owned());
        for (name, import) in assembly.imports().clone() {
            match self.import(&assembly, (&name, &import), confined.clone()) {
                Ok(imported) => assembly.import(&name, imported),
                Err(Failed::Here(problem)) => assembly.problem(problem),
                Err(Failed::There(error)) => return Err(error),
            }
        }
        self.loading.pop();
        assembly.finish()
    }

    fn import(
        &mut self,
        assembly: &Assembly,
        (name, import): (&At<String>, &Import),
        confined: Option<PathBuf>,
    ) -> Result<Imported, Failed> {
        let place = self.place(assembly, (name, import)).map_err(Failed::Here)?;
        let confined = if import.git.is_some() {
            Some(place.clone())
        } else {
            confined
        };
        let folder = import.folder.as_ref().map_or("", |folder| &folder.value);
        let path = normalise(&place.join(folder)).join(MANIFEST_FILE);
        let refuse = |message: String, label| Failed::Here(Problem::at(name.span, message, label));
        if self.loading.contains(&path) {
            return Err(refuse(
                format!("{} imports itself", path.display()),
                "leads back",
            ));
        }
        if confined
            .as_ref()
            .is_some_and(|bounds| !path.starts_with(bounds))
        {
            let message = format!("{} is not in the imported repository", path.display());
            return Err(refuse(message, "leads out of it"));
        }
        if !path.is_file() {
            return Err(refuse(
                format!("there is no {}", path.display()),
                "imported here",
            ));
        }
        let manifest = self.load(&path, confined).map_err(Failed::There)?;
        let lock = load_lock(&path).map_err(Failed::There)?;
        Ok(Imported { manifest, lock })
    }

    /// The folder that an import names.
    fn place(
        &self,
        assembly: &Assembly,
        (name, import): (&At<String>, &Import),
    ) -> Result<PathBuf, Problem> {
        match (&import.path, &import.git, &import.rev) {
            (Some(path), ..) => assembly.locate(path.span, path),
            (None, Some(git), Some(rev)) => {
                let place = self.checkout.checkout(git, rev);
                place.and_then(fs::canonicalize).map_err(|error| {
                    let message = format!("cannot fetch {}: {error}", git.value);
                    Problem::at(git.span, message, "imported here")
                })
            }
            _ => {
                let expected = "expected `path`, or `git` and `rev`";
                Err(Problem::at(
                    name.span,
                    "this import names no place",
                    expected,
                ))
            }
        }
    }
}

enum Failed {
    /// The import itself is wrong.
    Here(Problem),
    /// The manifest that it names is.
    There(ManifestError),
}

fn unreadable(path: &Path, error: &io::Error) -> ManifestError {
    let message = format!("cannot read {}: {error}", path.display());
    ManifestError::one(Problem::nowhere(message), &[])
}

fn read_include(assembly: &mut Assembly, include: &At<String>) {
    let place = match assembly.locate(include.span, include) {
        Ok(place) => place,
        Err(problem) => return assembly.problem(problem),
    };
    let files = match recipes(&place) {
        Ok(files) => files,
        Err(error) => {
            let message = format!("`{}` cannot be included: {error}", include.value);
            assembly.problem(Problem::at(
                include.span,
                message,
                "expected a file or a folder",
            ));
            return;
        }
    };
    if files.is_empty() {
        let message = format!("`{}` includes nothing", include.value);
        let label = "no `*.toml` in it, no `recipe.toml` below it";
        assembly.problem(Problem::at(include.span, message, label));
    }
    let root = assembly.root().to_owned();
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => assembly.include(&relative(&root, &file), &text),
            Err(error) => {
                let message = format!("cannot read {}: {error}", file.display());
                assembly.problem(Problem::at(include.span, message, "included here"));
            }
        }
    }
}

/// `path` as seen from `root`, for names that do not depend on the machine.
fn relative(root: &Path, path: &Path) -> String {
    let mut up = PathBuf::new();
    for above in root.ancestors() {
        if let Ok(rest) = path.strip_prefix(above) {
            return up.join(rest).to_string_lossy().into_owned();
        }
        up.push("..");
    }
    path.to_string_lossy().into_owned()
}

/// The files that an include means, sorted.
fn recipes(place: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(place)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files = Vec::new();
    gather(place, true, &mut files)?;
    files.sort();
    Ok(files)
}

fn gather(folder: &Path, top: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        // Links to folders are not followed: they could lead in a circle.
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), false, files)?;
        } else if name == "recipe.toml" || (top && name.ends_with(".toml")) {
            files.push(entry.path());
        }
    }
    Ok(())
}
