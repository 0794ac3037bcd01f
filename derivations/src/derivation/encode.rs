//! What of a derivation is hashed, and in which form.
//!
//! One encoder walks a resolved derivation and hands each field to a sink: a
//! [`HashSink`] makes the key, [`super::fields::Named`] lists them for people, so
//! that what is shown of a key is what was hashed.
//!
//! ```text
//! key    = derive_key(context, field*)
//! field  = u32le(len) name-bytes  u64le(len) value-bytes
//! ```
//!
//! Names are fixed words or hold an index or path, and stand in a fixed order;
//! a list is written with its length first, so no two derivations share an
//! encoding. The fields of each builder: `docs/formats.md`, "Keys".

use std::collections::BTreeMap;

use kiln_store::hash::Digest;

use super::{Attributes, Builder, Compose, Exec, Fetch, Limits, Rootfs, Unpack};

/// The `derive_key` context of action keys.
pub const ACTION_CONTEXT: &str = "kiln 2026-11 action v1";
/// The `derive_key` context of recipe keys.
pub const RECIPE_CONTEXT: &str = "kiln 2026-11 recipe v1";
/// The `derive_key` context of lineages.
pub const LINEAGE_CONTEXT: &str = "kiln 2026-11 lineage v1";

/// The `derive_key` context of sketches.
pub const SKETCH_CONTEXT: &str = "kiln 2026-11 sketch v1";

/// Takes the fields of a derivation in their order.
pub trait Sink {
    /// One field.
    fn field(&mut self, name: &str, value: &[u8]);

    /// A field of text.
    fn text(&mut self, name: &str, value: &str) {
        self.field(name, value.as_bytes());
    }

    /// A field that is a number.
    fn number(&mut self, name: &str, value: u64) {
        self.field(name, &value.to_le_bytes());
    }

    /// How many there are of what follows.
    fn count(&mut self, name: &str, count: usize) {
        self.number(name, count as u64);
    }

    /// A list of texts: its length, then each.
    fn list(&mut self, name: &str, values: &[String]) {
        self.count(name, values.len());
        for value in values {
            self.text(name, value);
        }
    }

    /// A map of texts: its length, then each key and value.
    fn map(&mut self, name: &str, values: &BTreeMap<String, String>) {
        self.count(name, values.len());
        for (key, value) in values {
            self.text(name, key);
            self.text(name, value);
        }
    }

    /// What follows is of the part that `name` and `key` name for people, until
    /// [`Sink::end`]. Nothing is hashed for it.
    fn begin(&mut self, _name: &str, _key: &str) {}

    /// The end of a part.
    fn end(&mut self) {}
}

/// Hashes what it is given.
pub struct HashSink(blake3::Hasher);

impl HashSink {
    /// A sink whose digest is of the kind that `context` names.
    pub fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// The digest of all fields.
    pub fn finish(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}

impl Sink for HashSink {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.0.update(&(name.len() as u32).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
    }
}

/// Writes everything of `builder` that decides what it makes. `platform` says
/// whether the build platform belongs to it.
pub(super) fn builder(sink: &mut impl Sink, builder: &Builder, platform: bool) {
    sink.text("builder", builder.kind());
    match builder {
        Builder::Fetch(it) => fetch(sink, it),
        Builder::Local(it) => sink.field("tree", it.tree.digest().as_bytes()),
        Builder::Compose(it) => compose(sink, it),
        Builder::Exec(it) => exec(sink, it, platform),
        Builder::Rootfs(it) => rootfs(sink, it),
        Builder::Archive => {}
    }
}

fn fetch(sink: &mut impl Sink, it: &Fetch) {
    sink.text("hash", &it.hash);
    sink.number("size", it.size_bytes);
    match &it.unpack {
        Unpack::Raw { name } => {
            sink.text("unpack", "raw");
            sink.text("name", name);
        }
        Unpack::Tar { strip, keep } => {
            sink.text("unpack", "tar");
            sink.number("strip", u64::from(*strip));
            sink.list("keep", keep);
        }
        Unpack::Deb => sink.text("unpack", "deb"),
        Unpack::Git => sink.text("unpack", "git"),
    }
}

fn compose(sink: &mut impl Sink, it: &Compose) {
    sink.number("usr-merge", u64::from(it.usr_merge));
    sink.number("skeleton", u64::from(it.skeleton));
    sink.list("remove", &it.remove);
    sink.map("links", &it.links);
    sink.map("prefer", &it.prefer);
}

fn exec(sink: &mut impl Sink, it: &Exec, platform: bool) {
    if platform {
        sink.text("platform", it.platform.name());
    }
    sink.list("argv", &it.argv);
    sink.map("env", &it.env);
    sink.number("uid", u64::from(it.uid));
    limits(sink, &it.limits);
    sink.number("copy-source", u64::from(it.copy_source));
    sink.text("at", it.at.as_deref().unwrap_or(""));
}

/// Only limits that a builder can feel and survive: running into one of the
/// others ends it, and a build that was ended has no output.
fn limits(sink: &mut impl Sink, it: &Limits) {
    for (name, value) in [("memory", it.memory_bytes), ("processes", it.processes)] {
        sink.number(name, value.unwrap_or(0));
    }
}

fn rootfs(sink: &mut impl Sink, it: &Rootfs) {
    attributes(sink, "modes", &it.modes);
    sink.count("devices", it.devices.len());
    for (path, device) in &it.devices {
        sink.begin("devices", path);
        sink.text("device", path);
        sink.number("block", u64::from(device.block));
        sink.number("major", u64::from(device.major));
        sink.number("minor", u64::from(device.minor));
        attribute(sink, &device.attributes);
        sink.end();
    }
    attributes(sink, "directories", &it.directories);
    sink.map("links", &it.links);
    sink.list("users", &it.users);
    sink.list("groups", &it.groups);
    sink.list("remove", &it.remove);
    sink.map("prefer", &it.prefer);
}

fn attributes(sink: &mut impl Sink, name: &str, values: &BTreeMap<String, Attributes>) {
    sink.count(name, values.len());
    for (path, value) in values {
        sink.begin(name, path);
        sink.text(name, path);
        attribute(sink, value);
        sink.end();
    }
}

fn attribute(sink: &mut impl Sink, value: &Attributes) {
    sink.number("mode", u64::from(value.mode));
    sink.number("uid", u64::from(value.uid));
    sink.number("gid", u64::from(value.gid));
}
