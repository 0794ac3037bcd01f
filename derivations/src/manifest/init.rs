//! The manifest that a new project starts with: an image of its own from
//! kiln's packages.

/// Where the flake with kiln's packages is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kiln {
    /// In a folder, relative to the new manifest or absolute.
    Folder(String),
    /// In a git repository.
    Git {
        /// Its URL.
        url: String,
        /// The commit.
        rev: String,
    },
}

/// One file of a new project.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewFile {
    /// Its path in the project's folder.
    pub path: &'static str,
    /// Its content.
    pub text: String,
    /// Whether it may be executed.
    pub executable: bool,
}

/// The files of a new project. `name` has to be one that a manifest accepts.
pub fn files(name: &str, kiln: &Kiln) -> Vec<NewFile> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let place = match kiln {
        Kiln::Folder(path) => format!("path = {}", quoted(path)),
        Kiln::Git { url, rev } => format!("git = {}\nrev = {}", quoted(url), quoted(rev)),
    };
    let fill = |text: &str| text.replace("@NAME@", name).replace("@KILN@", &place);
    vec![
        NewFile {
            path: super::MANIFEST_FILE,
            text: fill(include_str!("init/flake-like.toml")),
            executable: false,
        },
        NewFile {
            path: "init",
            text: fill(include_str!("init/init")),
            executable: true,
        },
    ]
}
