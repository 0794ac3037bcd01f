//! `kiln import`: a file as a cache.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use kiln_derivations::realise::caches::Cache;
use kiln_store::cache::directory::Directory;
use kiln_store::cache::name::Name;

use crate::args::ImportArgs;
use crate::commands::pull;
use crate::context::Context;
use crate::error::CliError;
use crate::sharing;
use crate::workshop::Workshop;

/// More than a cache of a whole system with all sources has.
const MAX_FILES: usize = 1 << 20;
/// Packs are compressed already, so what is in the file is hardly larger than
/// the file. Claims shrink more, and are small.
const MAX_RATIO: u64 = 4;
const ROOM_BYTES: u64 = 256 << 20;

/// Unpacks into a directory of the store's, and pulls from there.
pub fn run(context: &Context, args: &ImportArgs) -> Result<(), CliError> {
    let shown = args.file.display().to_string();
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.pull.names, &args.pull.realise)?;
    let sharing = sharing::of(&manifest)?;
    if sharing.policy.is_empty() {
        return Err(
            CliError::usage("nobody is trusted, so nothing of it can be believed")
                .with_hint("list the exporter's key, as `kiln key show` prints it, in `[trust]`"),
        );
    }
    let workshop = Workshop::open(context, &args.pull.realise)?.without_building();
    let scratch = workshop.scratch("import")?;
    read(&args.file, &scratch).map_err(|error| {
        CliError::usage(format!("{shown}: {error}")).with_hint("expected what `kiln export` wrote")
    })?;
    let backend = Box::new(Directory::new(&scratch));
    let cache = Cache::new(shown, backend, workshop.store())
        .map_err(|error| CliError::machine(error.to_string()))?;
    let workshop = workshop.with_caches(sharing, vec![cache]);
    pull::get(context, &args.pull, &manifest, &evaluation, &workshop)
}

/// Unpacks an archive of plain files with names that a cache can have. Whatever
/// else is in it is refused: it is somebody else's.
fn read(file: &Path, directory: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    let mut room_bytes = file.metadata()?.len() * MAX_RATIO + ROOM_BYTES;
    let packed = zstd::Decoder::new(file)?;
    let mut archive = tar::Archive::new(BufReader::new(packed));
    for (count, entry) in archive.entries()?.enumerate() {
        let entry = entry?;
        let text = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = Name::new(text).map_err(io::Error::other)?;
        if entry.header().entry_type() != tar::EntryType::Regular || count >= MAX_FILES {
            return Err(io::Error::other(format!("`{name}` is no file of a cache")));
        }
        let path = directory.join(name.as_str());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let size_bytes = entry.size();
        room_bytes = room_bytes.checked_sub(size_bytes).ok_or_else(|| {
            io::Error::other("it unpacks to far more than a cache of its size can hold")
        })?;
        let mut created = File::create_new(&path)?;
        let copied = io::copy(&mut entry.take(size_bytes), &mut created)?;
        if copied != size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
