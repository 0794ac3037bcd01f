//! What scripts build, and compositions of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, SeqAccess, Visitor, value};
use serde::{Deserialize, Deserializer};

use super::overlay::{Overlay, overlay};
use super::{Table, Texts};
use crate::derivation::Target;
use crate::manifest::span::At;
use crate::manifest::units::{Bytes, Seconds};

/// What a script builds in the sandbox. References are written `name`,
/// `name#output`, `kind.name` or `import.name`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    /// What it is, in a line. Changes nothing that is built.
    pub description: Option<String>,
    /// The template whose keys it takes over.
    pub template: Option<At<String>>,
    /// The source at `/src`.
    pub source: Option<At<String>>,
    /// More sources: the one called NAME is at `/in/NAME`.
    pub sources: Option<Table<At<String>>>,
    /// What the build's `/` is: a seed, or a composition with `skeleton`.
    pub root: Option<At<String>>,
    /// What the build executes, each mounted where its own `at` says.
    pub tools: Option<Texts>,
    /// What the build reads, each mounted where its own `at` says.
    pub materials: Option<Texts>,
    /// What the build reads, mounted elsewhere: the one called NAME is at
    /// `/in/NAME`.
    pub inputs: Option<Table<At<String>>>,
    /// The variant that it, and what is built for it, is built in.
    /// Default: that of whatever it is built for.
    pub variant: Option<At<String>>,
    /// What users of this package need with it: they get it in the same role.
    pub runtime: Option<Texts>,
    /// Where users mount it: `/sysroot`, `/toolchain` or `/in/NAME`. A package
    /// that is only put into root file systems and images may say any place.
    /// Default: `/in/` and its name.
    pub at: Option<At<String>>,
    /// The script, relative to this file; it is at `/in/recipe`.
    pub script: Option<At<String>>,
    /// What runs the script. Default: `["/bin/sh", "-eu"]`.
    pub interpreter: Option<Texts>,
    /// A command instead of a script.
    pub command: Option<Texts>,
    /// More files at `/in/recipe`: paths, kept under their last component, or
    /// a table of name and path.
    pub files: Option<FileList>,
    /// Patches, at `/in/recipe/patches` as `NN-NAME` in this order.
    pub patches: Option<Texts>,
    /// Environment of the script.
    pub env: Option<Table<At<String>>>,
    /// Whether the source is also copied, writable, to `/build/src`.
    /// Default: false.
    pub copy_source: Option<bool>,
    /// The names of the outputs. Default: `["out"]`.
    pub outputs: Option<Texts>,
    /// The user that the build sees itself as: 1000 or 0. Default: 1000.
    pub uid: Option<At<u32>>,
    /// Whether it is executed in builds. Default: false.
    pub tool: Option<bool>,
    /// Whether it is built for each target apart. Default: true, or false for
    /// a tool.
    pub per_target: Option<bool>,
    /// Limits of the build.
    pub limits: Option<Limits>,
    /// What differs for one target.
    #[serde(default)]
    pub target: BTreeMap<At<Target>, Package>,
}

overlay!(Package {
    replace: description, template, source, root, tools, materials, variant, runtime, at,
        script, interpreter, command, patches, copy_source, outputs, uid, tool, per_target;
    merge: sources, inputs, files, env, limits;
    deep: target
});

impl Package {
    /// Whether it is executed in builds.
    pub fn is_tool(&self) -> bool {
        self.tool.unwrap_or(false)
    }

    /// Whether it is built for each target apart.
    pub fn is_per_target(&self) -> bool {
        self.per_target.unwrap_or(!self.is_tool())
    }
}

/// Limits of one build.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory of all processes together.
    pub memory: Option<Bytes>,
    /// Processes and threads at one time.
    pub processes: Option<u64>,
    /// What may be written.
    pub output: Option<Bytes>,
    /// What may be logged.
    pub log: Option<Bytes>,
    /// Wall time.
    pub wall: Option<Seconds>,
    /// Time without a word in the log.
    pub silence: Option<Seconds>,
    /// Whether to refuse a host that cannot enforce them exactly.
    pub hard: Option<bool>,
}

overlay!(Limits { replace: memory, processes, output, log, wall, silence, hard; merge: ; deep: });

/// Files by the name they get: a list of paths (kept under their last
/// component), or a table of name and path.
#[derive(Clone, Debug)]
pub enum FileList {
    /// Paths.
    Paths(Texts),
    /// Names and paths.
    Named(Table<At<String>>),
}

impl FileList {
    /// Each file's name and path; a mistake's place is the path's.
    pub fn entries(&self) -> Vec<(String, &At<String>)> {
        match self {
            FileList::Paths(paths) => paths.iter().map(|p| (last(p), p)).collect(),
            FileList::Named(table) => table.iter().map(|(n, p)| (n.value.clone(), p)).collect(),
        }
    }
}

/// A path's last component.
fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

impl Overlay for FileList {
    /// A table is added to what is there, a list takes its place.
    fn overlay(&mut self, upper: &Self) {
        let (FileList::Named(added), lower) = (upper, &*self) else {
            self.clone_from(upper);
            return;
        };
        let mut table = match lower {
            FileList::Named(table) => table.clone(),
            FileList::Paths(paths) => paths
                .iter()
                .map(|path| (At::new(last(path), path.span), path.clone()))
                .collect(),
        };
        table.overlay(added);
        *self = FileList::Named(table);
    }
}

impl<'de> Deserialize<'de> for FileList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrTable;

        impl<'de> Visitor<'de> for ListOrTable {
            type Value = FileList;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of paths or a table of names and paths")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<FileList, A::Error> {
                let list = value::SeqAccessDeserializer::new(list);
                Deserialize::deserialize(list).map(FileList::Paths)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<FileList, A::Error> {
                let table = value::MapAccessDeserializer::new(table);
                Deserialize::deserialize(table).map(FileList::Named)
            }
        }

        deserializer.deserialize_any(ListOrTable)
    }
}

impl JsonSchema for FileList {
    fn schema_name() -> Cow<'static, str> {
        "FileList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Paths, each kept under its last component, or a table of names and paths.",
            "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                { "type": "object", "additionalProperties": { "type": "string" } },
            ],
        })
    }
}

/// Outputs merged into one tree.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Compose {
    /// What it is, in a line. Changes nothing that is built.
    pub description: Option<String>,
    /// What is merged, with what it needs at run time.
    pub packages: Texts,
    /// Where users mount it. Default: `/in/` and its name.
    pub at: Option<At<String>>,
    /// Globs of paths that are left out.
    #[serde(default)]
    pub remove: Texts,
    /// Symlinks that are added: path and target.
    #[serde(default)]
    pub links: BTreeMap<At<String>, String>,
    /// Which package wins where two have the same path: glob and package.
    #[serde(default)]
    pub prefer: BTreeMap<At<String>, String>,
    /// Whether `/bin`, `/sbin` and `/lib` are links into `/usr`.
    /// Default: false.
    pub usr_merge: Option<bool>,
    /// Whether the sandbox's own empty directories are added, so that it can
    /// be a root. Default: false.
    pub skeleton: Option<bool>,
    /// Whether it is executed in builds; then all its packages are tools.
    /// Default: false.
    pub tool: Option<bool>,
}
