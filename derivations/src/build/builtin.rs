//! Kiln's own builders apart from fetching: local files, composition, root file
//! systems and their archives. Pure functions of their inputs over objects.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::thread;

use kiln_store::hash::TreeId;
use kiln_store::mutable::MutableDirectory;
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Directory, Entry, Node};

use super::error::{BuildError, FailureClass};
use super::{Job, object_error};
use crate::compose::merge::{Layer, known_name};
use crate::compose::{ComposeError, compose, paths};
use crate::derivation::{Compose, LocalContent, LocalFile, Rootfs};
use crate::image::archive::{self, ArchiveError};
use crate::image::packaged::Said;
use crate::image::rootfs::{self, RootfsError};

/// Merges the job's inputs.
pub(crate) fn composition(
    objects: &dyn Objects,
    job: &Job<'_>,
    options: &Compose,
) -> Result<TreeId, BuildError> {
    compose(objects, &layers(job), options).map_err(compose_error)
}

/// Puts a root file system together from the job's inputs.
pub(crate) fn root_file_system(
    objects: &dyn Objects,
    job: &Job<'_>,
    spec: &Rootfs,
) -> Result<TreeId, BuildError> {
    let (mut merged, mut said) = (Vec::new(), Vec::new());
    for layer in layers(job) {
        match Said::of_input(&layer.name, layer.tree) {
            Some(of_a_package) => said.push(of_a_package),
            None => merged.push(layer),
        }
    }
    rootfs::assemble(objects, &merged, &said, spec).map_err(|error| match error {
        RootfsError::Object(error) => object_error(&error),
        RootfsError::Compose(error) => compose_error(error),
        other => BuildError::new(FailureClass::Compose, other.to_string()),
    })
}

/// Archives the job's only input, a root file system.
pub(crate) fn tar_archive(objects: &dyn Objects, job: &Job<'_>) -> Result<TreeId, BuildError> {
    let Some(input) = job.inputs.first() else {
        let why = "an archive needs a root file system as its input";
        return Err(BuildError::new(FailureClass::Compose, why));
    };
    let (content, size) = piped(objects, &input.tree)?;
    let name = known_name(archive::FILE_NAME).map_err(compose_error)?;
    let node = Node::File {
        content,
        size,
        executable: false,
    };
    let directory = Directory::new(vec![Entry { name, node }]);
    let directory = directory.map_err(|error| object_error(&ObjectError::from(error)))?;
    objects
        .put_directory(&directory)
        .map_err(|error| object_error(&error))
}

/// Writes the archive in one thread and stores it in another, so that it is
/// never whole in memory nor on disk twice.
fn piped(
    objects: &dyn Objects,
    rootfs: &TreeId,
) -> Result<(kiln_store::hash::ContentId, u64), BuildError> {
    let pipe = io::pipe().map_err(|error| machine("opening a pipe", &error));
    let (mut reader, writer) = pipe?;
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            archive::write(objects, rootfs, BufWriter::with_capacity(1 << 16, writer))
        });
        let stored = objects.put_file(&mut reader, false);
        drop(reader);
        match writing.join() {
            Ok(Ok(())) => stored.map_err(|error| object_error(&error)),
            Ok(Err(ArchiveError::Object(error))) => Err(object_error(&error)),
            Ok(Err(error)) => Err(BuildError::new(FailureClass::Compose, error.to_string())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Stores single local files as a tree.
pub(crate) fn local_files(
    objects: &dyn Objects,
    files: &[LocalFile],
) -> Result<TreeId, BuildError> {
    let mut root = MutableDirectory::default();
    for file in files {
        let (content, size) = match &file.content {
            LocalContent::Text(text) => put(objects, &mut text.as_bytes(), file)?,
            LocalContent::Path(path) => put(objects, &mut open(path)?, file)?,
        };
        let node = Node::File {
            content,
            size,
            executable: file.executable,
        };
        paths::put(objects, &mut root, &format!("/{}", file.name), node).map_err(compose_error)?;
    }
    root.freeze(objects).map_err(|error| object_error(&error))
}

fn put(
    objects: &dyn Objects,
    content: &mut dyn Read,
    file: &LocalFile,
) -> Result<(kiln_store::hash::ContentId, u64), BuildError> {
    let stored = objects.put_file(content, file.executable);
    stored.map_err(|error| object_error(&error))
}

fn open(path: &Path) -> Result<File, BuildError> {
    File::open(path).map_err(|error| machine(&format!("opening {}", path.display()), &error))
}

/// The job's inputs under the names that `prefer` knows them by. Those are in
/// the key; the names of derivations are not, and so must decide nothing.
fn layers(job: &Job<'_>) -> Vec<Layer> {
    let edges = job.derivation.inputs.iter();
    edges
        .zip(&job.inputs)
        .map(|(edge, input)| Layer {
            name: edge.at.clone(),
            tree: input.tree,
        })
        .collect()
}

fn compose_error(error: ComposeError) -> BuildError {
    match error {
        ComposeError::Object(error) => object_error(&error),
        other => BuildError::new(FailureClass::Compose, other.to_string()),
    }
}

fn machine(what: &str, error: &io::Error) -> BuildError {
    BuildError::new(FailureClass::Machine, format!("{what}: {error}"))
}
