//! `kiln init`.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kiln_derivations::manifest::init::{Kiln, NewFile, files};

use crate::args::InitArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Writes a small manifest that imports kiln's own recipes. Nothing is written
/// if any of the files is there already.
pub fn run(_context: &Context, args: &InitArgs) -> Result<(), CliError> {
    let Some(from) = &args.from else {
        return Err(
            CliError::usage("a new project builds on another flake's recipes")
                .with_hint("kiln init DIRECTORY --from PATH-OF-KILN"),
        );
    };
    let from = fs::canonicalize(from)
        .map_err(|error| CliError::usage(format!("{}: {error}", from.display())))?;
    if !from
        .join(kiln_derivations::manifest::MANIFEST_FILE)
        .is_file()
    {
        return Err(CliError::usage(format!(
            "{} has no manifest",
            from.display()
        )));
    }
    let directory = &args.directory;
    let made = |error| CliError::usage(format!("{}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(made)?;
    let absolute = fs::canonicalize(directory).map_err(made)?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy();
    let files = files(&name, &Kiln::Folder(from.display().to_string()));
    for file in &files {
        if directory.join(file.path).symlink_metadata().is_ok() {
            let path = directory.join(file.path);
            return Err(CliError::usage(format!(
                "{} is there already",
                path.display()
            )));
        }
    }
    for file in &files {
        write(directory, file).map_err(made)?;
        output::line(&format!("wrote {}", directory.join(file.path).display()))?;
    }
    Ok(())
}

fn write(directory: &Path, file: &NewFile) -> std::io::Result<()> {
    let mode = if file.executable { 0o755 } else { 0o644 };
    let mut options = fs::OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(directory.join(file.path))?;
    std::io::Write::write_all(&mut opened, file.text.as_bytes())
}
