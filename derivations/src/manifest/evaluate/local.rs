//! Recipe files, texts and folders as derivations.

use kiln_store::hash::{ContentId, Digest, TreeId};
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::Memory;
use kiln_store::tree::{Name, Node};

use super::{EvaluateError, Evaluator, FileBytes, Scope};
use crate::derivation::{
    Builder, Derivation, Local, LocalContent, LocalFile, LocalOrigin, OUT, Target,
};
use crate::graph::DerivationId;
use crate::manifest::problem::Problem;
use crate::manifest::span::At;

/// Files that are being put together to a tree.
#[derive(Default)]
pub(super) struct Bundle {
    files: Vec<LocalFile>,
    tree: MutableDirectory,
}

impl Evaluator<'_> {
    /// Adds the file that `path` names to `bundle`, under `name`. A mode that
    /// the manifest says decides whether it may be executed.
    pub(super) fn bundle(
        &self,
        scope: Scope<'_>,
        bundle: &mut Bundle,
        (name, path): (&str, &At<String>),
        (target, executable): (Option<Target>, Option<bool>),
    ) -> Result<bool, EvaluateError> {
        let written = scope.text(path, target)?;
        let place = scope.locate(path.span, &written)?;
        let unreadable = |error: std::io::Error| {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => format!("there is no file `{written}`"),
                _ => format!("cannot read `{written}`: {error}"),
            };
            let label = format!("looked for {}", place.display());
            scope.refuse(Problem::at(path.span, message, label))
        };
        if scope.manifest.confined.is_some() {
            // A link in a stranger's repository must not lead out of it either.
            let real = self.files.canonical(&place).map_err(unreadable)?;
            let inside = scope.manifest.confine(path.span, &real);
            inside.map_err(|problem| scope.refuse(problem))?;
        }
        let FileBytes {
            bytes,
            executable: found,
        } = self.files.read(&place).map_err(unreadable)?;
        let executable = executable.unwrap_or(found);
        let file = LocalFile {
            name: name.to_owned(),
            content: LocalContent::Path(place),
            executable,
        };
        bundle
            .add(file, &bytes)
            .map_err(|why| scope.refuse(Problem::at(path.span, why, "this file")))?;
        Ok(executable)
    }

    /// The derivation of a bundle.
    pub(super) fn bundled(&mut self, name: String, bundle: Bundle) -> DerivationId {
        let tree = bundle.id();
        let key = format!("{name} {tree}");
        if let Some(&id) = self.derived.get(&key) {
            return id;
        }
        let id = self.local(name, tree, LocalOrigin::Files(bundle.files));
        self.derived.insert(key, id);
        id
    }

    /// A derivation of files whose tree is known.
    pub(super) fn local(
        &mut self,
        name: String,
        tree: TreeId,
        origin: LocalOrigin,
    ) -> DerivationId {
        self.add(Derivation {
            name,
            description: String::new(),
            target: None,
            executed_on: None,
            builder: Builder::Local(Local { tree, origin }),
            inputs: Vec::new(),
            outputs: vec![OUT.to_owned()],
        })
    }
}

impl Bundle {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds text that stands in the manifest.
    pub(super) fn text(
        &mut self,
        name: &str,
        text: String,
        executable: bool,
    ) -> Result<(), String> {
        let bytes = text.clone();
        let file = LocalFile {
            name: name.to_owned(),
            content: LocalContent::Text(text),
            executable,
        };
        self.add(file, bytes.as_bytes())
    }

    fn add(&mut self, file: LocalFile, bytes: &[u8]) -> Result<(), String> {
        let twice = || format!("two files are called `{}`", file.name);
        let mut directory = &mut self.tree;
        let mut parts: Vec<&str> = file.name.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let named = |part: &str| Name::try_from(part).map_err(|error| error.to_string());
        for part in parts {
            directory = directory
                .subdirectory(&Memory::default(), &named(part)?)
                .map_err(|error| error.to_string())?
                .ok_or_else(twice)?;
        }
        let node = MutableNode::Leaf(Node::File {
            content: ContentId(Digest::of(bytes)),
            size: bytes.len() as u64,
            executable: file.executable,
        });
        if directory.entries.insert(named(last)?, node).is_some() {
            return Err(twice());
        }
        self.files.push(file);
        Ok(())
    }

    fn id(&self) -> TreeId {
        // Memory takes whatever is well-formed, which names and sizes are.
        match self.tree.clone().freeze(&Memory::default()) {
            Ok(id) => id,
            Err(error) => unreachable!("a tree of checked names was refused: {error}"),
        }
    }
}
