//! Trees from git, through the machine's own git.
//!
//! A commit is fetched into a bare repository of the cache directory, then its
//! tree is read object by object. `git archive` would be simpler and wrong: it
//! obeys `export-ignore` and `export-subst` of the repository's attributes.
//! Submodules become empty directories, as in a clone without them.
//!
//! A commit's name is a SHA-1 in most repositories, so a lock pins the tree's
//! own address beside it; comparing the two is the caller's.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kiln_store::hash::{Digest, TreeId};
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Name, Node};

use super::error::FetchError;

const CACHE_CONTEXT: &str = "kiln 2026-11 git cache v1";
const PROTOCOLS: &str = "https:http:ssh:git:file";

/// A repository and its copy in the cache directory.
pub struct Repository {
    url: String,
    copy: PathBuf,
}

impl Repository {
    /// Prepares the copy of `url` below `cache_dir`.
    pub fn open(url: &str, cache_dir: &Path) -> Result<Self, FetchError> {
        let id = Digest::derive(CACHE_CONTEXT, url.as_bytes()).short();
        let repository = Self {
            url: url.to_owned(),
            copy: cache_dir.join(format!("git-{id}")),
        };
        if url.starts_with('-') {
            return Err(repository.error("a repository cannot begin with `-`"));
        }
        let copy = repository.copy.as_os_str();
        let mut init = Command::new("git");
        init.args(["init", "--quiet", "--bare"]).arg(copy);
        repository.run(init)?;
        Ok(repository)
    }

    /// The commit that `reference` (a branch, a tag, `HEAD`) names now.
    pub fn resolve(&self, reference: &str) -> Result<String, FetchError> {
        let mut list = self.git(&["ls-remote", "--quiet", "--exit-code"]);
        list.args(["--", &self.url, reference]);
        // An annotated tag is listed a second time, peeled, as `<name>^{}`.
        list.arg(format!("{reference}^{{}}"));
        let output = self.run(list)?;
        let lines: Vec<&str> = output.lines().collect();
        let peeled = lines.iter().find(|line| line.ends_with("^{}"));
        let line = peeled.or(lines.first()).copied().unwrap_or_default();
        let commit = line.split_whitespace().next().unwrap_or_default();
        match is_commit(commit) {
            true => Ok(commit.to_owned()),
            false => Err(self.error(&format!("it has no `{reference}`"))),
        }
    }

    /// Fetches `commit` and writes its tree.
    pub fn tree(&self, commit: &str, objects: &dyn Objects) -> Result<TreeId, FetchError> {
        if !is_commit(commit) {
            let hint = "expected a whole commit id of 40 or 64 lower-case hexadecimal digits";
            return Err(self.error(&format!("`{commit}` is not a commit: {hint}")));
        }
        self.fetch(commit)?;
        let mut list = self.git(&["ls-tree", "-r", "-z", "--full-tree"]);
        list.arg(commit);
        let listing = self.run(list)?;
        let mut contents = Contents::start(self)?;
        let mut root = MutableDirectory::default();
        for line in listing.split_terminator('\0') {
            let entry = Listed::parse(line).ok_or_else(|| self.error("git lists nonsense"))?;
            let node = contents.node(&entry, objects)?;
            insert(&mut root, entry.path, node, objects)
                .map_err(|reason| self.error(&format!("`{}`: {reason}", entry.path)))?;
        }
        Ok(root.freeze(objects)?)
    }

    /// The one commit if the server gives it, else everything it has.
    fn fetch(&self, commit: &str) -> Result<(), FetchError> {
        let mut probe = self.git(&["cat-file", "-e"]);
        probe.arg(format!("{commit}^{{tree}}"));
        if self.run(probe).is_ok() {
            return Ok(());
        }
        let base = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        let mut one = self.git(&base);
        one.args(["--depth=1", "--", &self.url, commit]);
        if self.run(one).is_ok() {
            return Ok(());
        }
        let mut all = self.git(&base);
        all.args(["--", &self.url, "+refs/*:refs/kiln/*"]);
        self.run(all)?;
        let mut probe = self.git(&["cat-file", "-e"]);
        probe.arg(format!("{commit}^{{tree}}"));
        self.run(probe).map(drop).map_err(|_| {
            self.error(&format!(
                "it has no commit {commit}, or not on any branch or tag"
            ))
        })
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.copy).args(arguments);
        command
    }

    fn run(&self, mut command: Command) -> Result<String, FetchError> {
        let output = prepare(&mut command)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.error(&unstartable(&error)))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(self.error(&format!("git: {}", said.trim())));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| self.error("it has names that are not UTF-8, which kiln does not fetch"))
    }

    fn error(&self, reason: &str) -> FetchError {
        FetchError::Git {
            url: self.url.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// The user's own configuration holds (credentials, `insteadOf`), since the
/// commit decides; another repository around us does not.
fn prepare(command: &mut Command) -> &mut Command {
    for variable in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
    ] {
        command.env_remove(variable);
    }
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
        .env("LC_ALL", "C")
}

fn unstartable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "`git` is not installed; install it, or pin an archive of the source instead".to_owned()
        }
        _ => format!("git cannot be started: {error}"),
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A line of `git ls-tree`: `<mode> <type> <object>\t<path>`.
struct Listed<'a> {
    mode: &'a str,
    object: &'a str,
    path: &'a str,
}

impl<'a> Listed<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (head, path) = line.split_once('\t')?;
        let mut words = head.split(' ');
        let mode = words.next()?;
        words.next()?;
        let object = words.next()?;
        Some(Self { mode, object, path })
    }
}

fn insert(
    root: &mut MutableDirectory,
    path: &str,
    node: MutableNode,
    objects: &dyn Objects,
) -> Result<(), String> {
    let names: Result<Vec<Name>, _> = path.split('/').map(Name::try_from).collect();
    let names = names.map_err(|error| error.to_string())?;
    let (last, parents) = names.split_last().ok_or("it has no name")?;
    let mut directory = root;
    for name in parents {
        directory = directory
            .subdirectory(objects, name)
            .map_err(|error| error.to_string())?
            .ok_or("it is below a file")?;
    }
    directory.entries.insert(last.clone(), node);
    Ok(())
}

/// `git cat-file --batch`: asked for one object after the other.
struct Contents<'a> {
    repository: &'a Repository,
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl<'a> Contents<'a> {
    fn start(repository: &'a Repository) -> Result<Self, FetchError> {
        let mut command = repository.git(&["cat-file", "--batch"]);
        let mut child = prepare(&mut command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| repository.error(&unstartable(&error)))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(repository.error("git has no pipes"));
        };
        Ok(Self {
            repository,
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    fn node(
        &mut self,
        entry: &Listed<'_>,
        objects: &dyn Objects,
    ) -> Result<MutableNode, FetchError> {
        let executable = match entry.mode {
            "160000" => return Ok(MutableNode::Directory(MutableDirectory::default())),
            "120000" => return Ok(MutableNode::Leaf(self.symlink(entry.object)?)),
            "100755" => true,
            "100644" | "100664" => false,
            mode => {
                let reason = format!("`{}` has the unknown mode {mode}", entry.path);
                return Err(self.repository.error(&reason));
            }
        };
        let size = self.ask(entry.object)?;
        let mut content = (&mut self.answers).take(size);
        let (content, written) = objects.put_file(&mut content, executable)?;
        self.end(size, written)?;
        Ok(MutableNode::Leaf(Node::File {
            content,
            size,
            executable,
        }))
    }

    fn symlink(&mut self, object: &str) -> Result<Node, FetchError> {
        let size = self.ask(object)?;
        let mut target = Vec::new();
        let read = (&mut self.answers).take(size).read_to_end(&mut target);
        let read = read.map_err(|error| self.repository.error(&error.to_string()))?;
        self.end(size, read as u64)?;
        Ok(Node::Symlink { target })
    }

    /// Answers come as `<object> blob <size>\n<content>\n`.
    fn ask(&mut self, object: &str) -> Result<u64, FetchError> {
        let mut line = String::new();
        writeln!(self.questions, "{object}")
            .and_then(|()| self.answers.read_line(&mut line))
            .map_err(|error| self.repository.error(&error.to_string()))?;
        let size = line.trim_end().rsplit(' ').next().unwrap_or_default();
        size.parse()
            .map_err(|_| self.repository.error(&format!("git: {}", line.trim_end())))
    }

    fn end(&mut self, expected: u64, got: u64) -> Result<(), FetchError> {
        let mut newline = [0];
        let whole =
            got == expected && self.answers.read_exact(&mut newline).is_ok() && newline == *b"\n";
        match whole {
            true => Ok(()),
            false => Err(ObjectError::Io {
                what: format!("reading from git's copy of {}", self.repository.url),
                source: std::io::ErrorKind::UnexpectedEof.into(),
            }
            .into()),
        }
    }
}

impl Drop for Contents<'_> {
    /// No process outlives its use, whatever went wrong.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
