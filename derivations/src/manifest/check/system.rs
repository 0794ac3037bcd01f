//! What must hold of root file systems, images, formats and boot checks.

use super::{Check, LAYERS};
use crate::derivation::Target;
use crate::manifest::interpolate::Variables;
use crate::manifest::problem::Problem;
use crate::manifest::reference::Kind;
use crate::manifest::schema::{BootCheck, FileList, Format, Image, Rootfs, Table};
use crate::manifest::span::At;

impl<'m> Check<'m, '_> {
    pub(super) fn rootfs(&mut self, rootfs: &'m Rootfs) {
        self.globs(rootfs.remove.iter().flatten());
        self.globs(rootfs.prefer.iter().flat_map(Table::keys));
        rootfs
            .packages
            .iter()
            .for_each(|p| self.references(p, &LAYERS));
        self.absolute(rootfs.files.iter().flat_map(Table::keys));
        self.absolute(rootfs.directories.iter().flat_map(Table::keys));
        self.absolute(rootfs.links.iter().flat_map(Table::keys));
        self.absolute(rootfs.modes.iter().flat_map(Table::keys));
        for (path, file) in rootfs.files.iter().flatten() {
            if let Some(from) = &file.from {
                self.text(from, self.any_target());
            }
            match (&file.from, &file.text) {
                (Some(_), None) | (None, Some(_)) => {}
                (Some(from), Some(_)) => {
                    self.push(from.span, "both `from` and `text`", "expected one of them")
                }
                (None, None) => self.missing(path.span, "from", "expected `from` or `text`"),
            }
        }
        for (lines, counts, form) in [
            (&rootfs.users, [6, 7], "name:uid:gid:comment:home:shell"),
            (&rootfs.groups, [2, 4], "name:gid or name:gid:members"),
        ] {
            for line in lines.iter().flatten() {
                let fields = line.split(':').count();
                if !(counts[0]..=counts[1]).contains(&fields) || line.contains('\n') {
                    let message = format!("`{}` has {fields} fields", line.value);
                    self.push(line.span, message, &format!("expected `{form}`"));
                }
            }
        }
    }

    fn image(&mut self, image: &'m Image) {
        for text in image.cmdline.iter().chain(&image.label) {
            self.text(text, self.any_target());
        }
        if let Some(label) = image.label.as_ref().filter(|label| label.len() > 16) {
            let message = format!("`{}` is too long for a label", label.value);
            self.push(label.span, message, "expected at most 16 bytes");
        }
        self.globs(image.remove.iter().flatten());
        if let Some(rootfs) = &image.rootfs {
            self.reference(rootfs, &[Kind::Rootfs]);
        }
        if let Some(kernel) = &image.kernel {
            self.reference(kernel, &[Kind::Package, Kind::Compose]);
        }
        if let Some(variant) = &image.variant {
            self.reference(variant, &[Kind::Variant]);
        }
        for format in image.formats.iter().flatten() {
            self.reference(format, &[Kind::Format]);
        }
    }

    pub(super) fn format(&mut self, format: &'m Format) {
        let files = format.files.iter().flat_map(FileList::entries);
        let texts = format
            .env
            .values()
            .chain(&format.file)
            .chain(&format.cmdline);
        let paths = files.map(|(_, path)| path).chain([&format.script]);
        for text in texts.chain(paths) {
            self.text(text, self.any_target());
        }
        self.root(&format.root);
        self.tools(&format.tools);
        self.environment(format.env.keys());
        self.files(format.files.as_ref());
        if let Some(uid) = format.uid {
            self.uid(uid);
        }
    }

    pub(super) fn boot(&mut self, boot: &'m BootCheck) {
        let texts = boot.input.iter().chain(&boot.cmdline);
        for text in texts.chain([&boot.expect]) {
            self.text(text, self.any_target());
        }
        let Some(image) = self.reference(&boot.image, &[Kind::Image]) else {
            return;
        };
        let image = image.manifest.images.get(image.name);
        let known: Vec<&str> = image
            .and_then(|image| image.formats.as_ref())
            .map_or(Vec::new(), |formats| {
                formats.iter().map(|f| f.value.as_str()).collect()
            });
        for format in boot.formats.iter().flatten() {
            if !known.contains(&format.value.as_str()) {
                let message = format!(
                    "image `{}` has no format `{}`",
                    boot.image.value, format.value
                );
                let problem = Problem::at(format.span, message, "not packed in this format");
                self.problems
                    .push(problem.suggest(format, known.iter().copied()));
            }
        }
    }

    /// Variables as they are for some target: what is checked is their names.
    fn any_target(&self) -> Variables<'m> {
        self.manifest.variables(Some(Target::X86_64))
    }

    pub(super) fn whole_image(&mut self, name: &At<String>, image: &'m Image) {
        self.image(image);
        image.target.values().for_each(|upper| self.image(upper));
        if image.rootfs.is_none() {
            self.missing(name.span, "rootfs", "an image needs a root file system");
        }
    }
}
