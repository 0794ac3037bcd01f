//! What a command's builds run in: bubblewrap and emulators, the machine's own or
//! from the manifest's pinned roots.
//!
//! A pinned root is realised like anything else, within the realising that needs it.

use std::env;

use kiln_derivations::build::error::{BuildError, FailureClass};
use kiln_derivations::derivation::Target;
use kiln_derivations::event::{Event, Listener};
use kiln_derivations::manifest::Manifest;
use kiln_derivations::realise::world::{FindSandbox, Sandboxing};
use kiln_derivations::sandbox::{Bwrap, HostUser};

use super::{Workshop, machine_error};
use crate::args::RealiseArgs;

impl Workshop<'_> {
    /// Bubblewrap: the machine's if it works as the contract needs it, else the
    /// pinned one that the manifest names.
    pub fn find_sandbox(&self, manifest: &Manifest) -> Result<Sandboxing, BuildError> {
        // Held while it is looked for: two builders that start together shall
        // not both fetch it.
        let mut sandboxing = self.sandboxing.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(found) = &*sandboxing {
            return Ok(found.clone());
        }
        let user = self.user().map_err(|error| machine_error(&error))?;
        let found = match host_sandbox(user) {
            Ok(found) => found,
            Err(host) => self.pinned_sandbox(manifest, user, &host)?,
        };
        Ok(sandboxing.insert(found).clone())
    }

    /// The sandbox for builders of `platform`: with the pinned emulator that the
    /// manifest names, unless this machine runs them itself.
    pub fn sandbox_for(
        &self,
        manifest: &Manifest,
        platform: Target,
    ) -> Result<Sandboxing, BuildError> {
        let native = self.find_sandbox(manifest)?;
        if Target::host() == Some(platform) {
            return Ok(native);
        }
        let mut emulating = self.emulating.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(found) = &*emulating {
            return Ok(found.clone());
        }
        let sandbox = |text: String| BuildError::new(FailureClass::Sandbox, text);
        let Some(runner) = &manifest.emulation else {
            return Err(sandbox(format!(
                "builders of {platform} need an emulator here, and the manifest names none \
                 (`[emulation] root = …`, a seed that has QEMU's qemu-{platform})"
            )));
        };
        let root = self.pinned_root(manifest, &runner.root)?;
        let user = self.user().map_err(|error| machine_error(&error))?;
        let resident = match &runner.resident {
            Some(resident) => {
                let programs = self.native_root(manifest, &resident.root)?;
                Some((programs, resident.programs.as_slice()))
            }
            None => None,
        };
        let resident = resident
            .as_ref()
            .map(|(root, names)| (root.as_path(), *names));
        let found = native.emulating(platform, &root, resident, user);
        let found = found.map_err(sandbox)?;
        Ok(emulating.insert(found).clone())
    }

    fn pinned_sandbox(
        &self,
        manifest: &Manifest,
        user: Option<HostUser>,
        host: &str,
    ) -> Result<Sandboxing, BuildError> {
        let sandbox = |text: String| BuildError::new(FailureClass::Sandbox, text);
        let Some(runner) = &manifest.sandbox else {
            return Err(sandbox(format!(
                "{host}, and the manifest names no pinned one (`[sandbox] root = …`)"
            )));
        };
        let root = self.pinned_root(manifest, &runner.root)?;
        let bwrap = Bwrap::pinned(&root)
            .map_err(|error| sandbox(format!("the pinned bubblewrap: {error}")))?;
        Sandboxing::try_out(bwrap, user).map_err(|lack| {
            sandbox(format!(
                "there is no sandbox here: {lack}; {}",
                lack.remedy()
            ))
        })
    }

    /// Realises one of the roots that kiln runs programs from, and shows it as
    /// a directory until the command ends.
    pub fn pinned_root(
        &self,
        manifest: &Manifest,
        name: &str,
    ) -> Result<std::path::PathBuf, BuildError> {
        let no_script = |_| {
            let text = "what runs the sandbox cannot be built in one";
            Err(BuildError::new(FailureClass::Sandbox, text))
        };
        self.root_with(manifest, name, &self.args_here(), &no_script)
    }

    /// The same for one that a script may have to build, on this machine.
    fn native_root(
        &self,
        manifest: &Manifest,
        name: &str,
    ) -> Result<std::path::PathBuf, BuildError> {
        let find_sandbox = |_| self.find_sandbox(manifest);
        self.root_with(manifest, name, &self.args_here(), &find_sandbox)
    }

    fn args_here(&self) -> RealiseArgs {
        RealiseArgs {
            target: Vec::new(),
            build_platform: None,
            ..self.args.clone()
        }
    }

    /// The same for one that a script may have to build, and that builders use:
    /// it is of their platform.
    pub fn built_root(
        &self,
        manifest: &Manifest,
        name: &str,
    ) -> Result<std::path::PathBuf, BuildError> {
        let find_sandbox = |platform| self.sandbox_for(manifest, platform);
        let there = RealiseArgs {
            target: self.args.build_platform.into_iter().collect(),
            ..self.args.clone()
        };
        self.root_with(manifest, name, &there, &find_sandbox)
    }

    fn root_with(
        &self,
        manifest: &Manifest,
        name: &str,
        args: &RealiseArgs,
        find_sandbox: &FindSandbox<'_>,
    ) -> Result<std::path::PathBuf, BuildError> {
        let evaluation = self
            .context
            .evaluate_names(manifest, &[name.to_owned()], args)
            .map_err(|error| machine_error(&error))?;
        let roots: Vec<_> = evaluation.roots.iter().map(|it| it.derivation).collect();
        let report = self
            .run(
                manifest,
                &evaluation.graph,
                &roots,
                find_sandbox,
                &Inner(&self.listeners),
            )
            .map_err(|error| machine_error(&error))?;
        let tree = report.roots.iter().flatten().find_map(|(_, outputs)| {
            let (_, tree) = outputs.first()?;
            Some(*tree)
        });
        let Some(tree) = tree else {
            return Err(BuildError::new(
                FailureClass::Machine,
                format!("`{name}` has no output"),
            ));
        };
        let checkout = self.store.checkout(&tree);
        let checkout =
            checkout.map_err(|error| BuildError::new(FailureClass::Machine, error.to_string()))?;
        let path = checkout.path().to_owned();
        let mut roots = self.roots.lock().unwrap_or_else(|e| e.into_inner());
        roots.push(checkout);
        Ok(path)
    }
}

/// Hears of realising within a command's own realising: what is built counts,
/// where it starts and ends is nobody's business.
struct Inner<'l>(&'l dyn Listener);

impl Listener for Inner<'_> {
    fn event(&self, event: &Event) {
        let frames = matches!(
            event,
            Event::Start { .. } | Event::End { .. } | Event::Reused { .. }
        );
        if !frames {
            self.0.event(event);
        }
    }
}

/// The machine's own bubblewrap, or why it cannot be used.
pub fn host_sandbox(user: Option<HostUser>) -> Result<Sandboxing, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let Some(bwrap) = Bwrap::in_path(&path) else {
        return Err("this machine has no bubblewrap".to_owned());
    };
    Sandboxing::try_out(bwrap, user).map_err(|lack| lack.to_string())
}
