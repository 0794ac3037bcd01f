//! `kiln export`: a cache as one file.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use kiln_derivations::realise::caches::Cache;
use kiln_derivations::realise::caches::share::Shared;
use kiln_store::cache::directory::Directory;
use serde::Serialize;

use crate::args::ExportArgs;
use crate::commands::push::Sharer;
use crate::context::Context;
use crate::error::CliError;
use crate::progress::bytes;
use crate::workshop::Workshop;
use crate::{output, sharing};

/// Packs are compressed already; this is for the claims.
const LEVEL: i32 = 1;

#[derive(Serialize)]
struct Json {
    file: String,
    size_bytes: u64,
    #[serde(flatten)]
    shared: Shared,
}

/// Shares into a directory of the store's, and packs that.
pub fn run(context: &Context, args: &ExportArgs) -> Result<(), CliError> {
    let shown = args.file.display().to_string();
    if args.file.symlink_metadata().is_ok() {
        return Err(CliError::usage(format!("{shown} is there already"))
            .with_hint("remove it, or name another file"));
    }
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let workshop = Workshop::open(context, &args.realise)?;
    let key = sharing::key(args.key.as_deref())?;
    let scratch = workshop.scratch("export")?;
    let backend = Box::new(Directory::new(&scratch));
    let cache = Cache::new(shown.clone(), backend, workshop.store())
        .map_err(|error| CliError::machine(error.to_string()))?;
    let sharer = Sharer {
        context,
        workshop: &workshop,
        key: &key,
        sources: args.sources,
    };
    let shared = sharer.share(&manifest, &evaluation, &cache)?;
    let failed = |error: io::Error| CliError::machine(format!("{shown}: {error}"));
    let size_bytes = write(&scratch, &args.file).map_err(failed)?;
    if context.global.json {
        return output::json(Json {
            file: shown,
            size_bytes,
            shared,
        });
    }
    output::line(&format!(
        "{} claims and {} trees in {shown} ({})",
        shared.claims,
        shared.trees,
        bytes(size_bytes)
    ))
}

/// Packs a directory, and returns the size. The file has its name once it is
/// whole and on the disk.
fn write(directory: &Path, file: &Path) -> io::Result<u64> {
    let parent = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let begun = tempfile::NamedTempFile::new_in(parent)?;
    let packed = zstd::Encoder::new(BufWriter::new(begun.as_file().try_clone()?), LEVEL)?;
    let mut archive = tar::Builder::new(packed);
    append(&mut archive, directory, Path::new(""))?;
    archive.into_inner()?.finish()?.into_inner()?.sync_all()?;
    let size_bytes = begun.as_file().metadata()?.len();
    begun.persist_noclobber(file)?;
    File::open(parent)?.sync_all()?;
    Ok(size_bytes)
}

/// Adds all files below `directory`, in the order of their names.
fn append(
    archive: &mut tar::Builder<impl io::Write>,
    directory: &Path,
    name: &Path,
) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = name.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            append(archive, &entry.path(), &name)?;
            continue;
        }
        let mut file = File::open(entry.path())?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &mut file)?;
    }
    Ok(())
}
