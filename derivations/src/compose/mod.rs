//! Composing: several trees merged into one, by Merkle node.
//!
//! - [`merge`]: the merge itself, and what it does about conflicts.
//! - [`paths`]: paths inside a tree that is being merged, through its links.
//! - [`skeleton`]: what the sandbox contract adds to a build root.
//! - [`link_check`]: whether what a tree refers to is there.
//!
//! All of it is pure over [`kiln_store::objects::Objects`]; content is never
//! read but for the first bytes that the link check needs.

#[cfg(test)]
pub(crate) mod fixture;
pub mod link_check;
pub mod merge;
pub mod paths;
pub mod skeleton;

use globset::{Glob, GlobSet, GlobSetBuilder};

use kiln_store::hash::TreeId;
use kiln_store::mutable::MutableDirectory;
use kiln_store::objects::{ObjectError, Objects};

use crate::derivation::Compose;
use merge::Layer;

/// Why trees do not make one.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Two layers differ about a path.
    #[error(
        "`{path}` is {first_is} in `{first}` and {second_is} in `{second}`; \
         say which one wins with `prefer = {{ \"{path}\" = \"{second}\" }}`, or remove it from one of them"
    )]
    Conflict {
        /// The path, with a leading `/`.
        path: String,
        /// The layer that came first.
        first: String,
        /// What the path is there.
        first_is: String,
        /// The layer that came second.
        second: String,
        /// What the path is there.
        second_is: String,
    },
    /// A `prefer` names a layer that is not one of the conflict's.
    #[error(
        "`prefer` gives `{path}` to `{layer}`, but the conflict is between `{first}` and `{second}`"
    )]
    Prefer {
        /// The path of the conflict.
        path: String,
        /// The layer that was named.
        layer: String,
        /// The layer that came first.
        first: String,
        /// The layer that came second.
        second: String,
    },
    /// A path of the manifest that leads nowhere a tree can have something.
    #[error("`{path}`: {why}")]
    Path {
        /// The path as given.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A glob that does not parse.
    #[error("`{glob}` is not a glob: {why}")]
    Glob {
        /// The glob as given.
        glob: String,
        /// What is wrong.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Merges `layers` as `options` say and returns the address of the result.
pub fn compose(
    objects: &dyn Objects,
    layers: &[Layer],
    options: &Compose,
) -> Result<TreeId, ComposeError> {
    let mut root = MutableDirectory::default();
    if options.usr_merge {
        skeleton::usr_merge(&mut root)?;
    }
    let prefer = merge::Preference::new(&options.prefer)?;
    merge::merge(objects, &mut root, layers, &prefer)?;
    remove(objects, &mut root, &options.remove)?;
    for (path, target) in &options.links {
        paths::add_link(objects, &mut root, path, target)?;
    }
    if options.skeleton {
        skeleton::add(objects, &mut root)?;
    }
    Ok(root.freeze(objects)?)
}

/// Takes everything out of `root` that one of `globs` matches.
pub fn remove(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    globs: &[String],
) -> Result<(), ComposeError> {
    if globs.is_empty() {
        return Ok(());
    }
    let globs = glob_set(globs)?;
    paths::retain(objects, root, &mut |path| !globs.is_match(path))?;
    Ok(())
}

/// Compiles globs where `*` stays within a directory and `**` does not.
pub fn glob_set<'a>(globs: impl IntoIterator<Item = &'a String>) -> Result<GlobSet, ComposeError> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(one_glob(glob)?);
    }
    set.build().map_err(|error| ComposeError::Glob {
        glob: error.glob().unwrap_or_default().to_owned(),
        why: error.kind().to_string(),
    })
}

fn one_glob(glob: &str) -> Result<Glob, ComposeError> {
    globset::GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .map_err(|error| ComposeError::Glob {
            glob: glob.to_owned(),
            why: error.kind().to_string(),
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kiln_store::objects::Memory;

    use super::fixture::{layer, show};
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// Composes layers called `a`, `b`, …; the result is the lines of the tree,
    /// or of the error.
    fn check(options: &Compose, layers: &[&[&str]], expected: &[&str]) {
        let objects = Memory::default();
        let layers: Vec<_> = (b'a'..)
            .zip(layers)
            .map(|(name, lines)| layer(&objects, &char::from(name).to_string(), lines))
            .collect();
        let got = match compose(&objects, &layers, options) {
            Ok(tree) => show(&objects, &tree),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn removes_what_globs_match_and_directories_that_become_empty() {
        let remove = |globs| Compose {
            remove: texts(globs),
            ..Compose::default()
        };
        let layers: &[&[&str]] = &[&[
            "etc/passwd = p",
            "usr/lib/x/gconv/UTF-16.so = g",
            "usr/share/doc/a/copyright = c",
            "usr/share/doc/empty/",
            "usr/share/terminfo/l/linux = t",
            "var/empty/",
        ]];
        check(
            &remove(&["/usr/share/doc/**", "/usr/lib/*/gconv/**"]),
            layers,
            &[
                "etc/passwd = p",
                "usr/share/terminfo/l/linux = t",
                "var/empty/",
            ],
        );
        // `*` stays within a directory.
        check(&remove(&["/usr/*", "/etc/*", "/v*/**"]), layers, &[]);
        check(
            &remove(&["/usr/*/doc"]),
            layers,
            &[
                "etc/passwd = p",
                "usr/lib/x/gconv/UTF-16.so = g",
                "usr/share/terminfo/l/linux = t",
                "var/empty/",
            ],
        );
        check(
            &remove(&["/a[b"]),
            layers,
            &["`/a[b` is not a glob: unclosed character class; missing ']'"],
        );
    }

    #[test]
    fn adds_links_last_and_through_links() {
        let options = Compose {
            usr_merge: true,
            remove: texts(&["/usr/bin/old"]),
            links: map(&[("/bin/awk", "gawk"), ("/usr/bin/old", "awk")]),
            ..Compose::default()
        };
        check(
            &options,
            &[&["usr/bin/gawk* = g", "usr/bin/old* = o"]],
            &[
                "bin -> usr/bin",
                "lib -> usr/lib",
                "lib64 -> usr/lib64",
                "sbin -> usr/sbin",
                "usr/bin/awk -> gawk",
                "usr/bin/gawk* = g",
                "usr/bin/old -> awk",
                "usr/lib/",
                "usr/lib64/",
                "usr/sbin/",
            ],
        );
        let in_the_way = Compose {
            links: map(&[("/x", "y")]),
            ..Compose::default()
        };
        check(
            &in_the_way,
            &[&["x = 1"]],
            &["`/x`: a link to `y` was wanted there, but something else stands there"],
        );
        check(&in_the_way, &[&["x -> y"]], &["x -> y"]);
    }

    #[test]
    fn adds_the_skeleton_and_refuses_what_stands_in_it() {
        let options = Compose {
            skeleton: true,
            ..Compose::default()
        };
        let objects = Memory::default();
        let plain = layer(
            &objects,
            "a",
            &["tmp/", "usr/bin/sh* = s", "etc/passwd = p"],
        );
        let tree = compose(&objects, &[plain], &options).expect("it composes");
        let lines = show(&objects, &tree);
        for name in skeleton::MOUNT_POINTS {
            assert!(lines.contains(&format!("{name}/")), "{name} in {lines:?}");
        }
        assert!(!lines.contains(&"etc/passwd = p".to_owned()));

        let why = "is a mount point of the sandbox, and has to be empty in a build root; \
                   remove what is there";
        check(&options, &[&["src/x = 1"]], &[&format!("`/src`: {why}")]);
        check(
            &options,
            &[&["dev -> ../etc"]],
            &[&format!("`/dev`: {why}")],
        );
        check(&options, &[&["proc = 1"]], &[&format!("`/proc`: {why}")]);
    }
}
