//! What the machine's apt is set to: the roots of its archives, its proxies.
//!
//! Two questions find the roots. `apt-get --print-uris update` knows every
//! source, also where no index was ever downloaded, as in a fresh container;
//! `apt-get indextargets` knows the indexes that are there. Neither needs
//! privilege or network.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// What apt is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptSettings {
    /// The roots of its archives, in its order, without a final `/`.
    pub roots: Vec<String>,
    /// Its proxies; see [`super::Proxies::apt`].
    pub proxies: BTreeMap<String, Option<String>>,
}

impl AptSettings {
    /// Asks the machine's apt. Empty where there is none.
    pub fn of_machine() -> Self {
        let uris = output("apt-get", &["--print-uris", "update"]);
        let targets = output("apt-get", &["indextargets", "--format", "$(REPO_URI)"]);
        let config = output("apt-config", &["dump"]);
        Self::parse(&uris, &targets, &config)
    }

    /// Understands what apt printed.
    pub fn parse(uris: &str, targets: &str, config: &str) -> Self {
        let mut roots = Vec::new();
        for root in uris.lines().filter_map(root_of_uri).chain(targets.lines()) {
            let root = root.trim_end_matches('/');
            let usable = ["http:", "https:", "file:"]
                .iter()
                .any(|scheme| root.starts_with(scheme));
            if usable && !roots.iter().any(|known| known == root) {
                roots.push(root.to_owned());
            }
        }
        let proxies = config.lines().filter_map(proxy).collect();
        Self { roots, proxies }
    }
}

/// From a line such as `'http://host/debian/dists/bookworm/InRelease' name 0`.
fn root_of_uri(line: &str) -> Option<&str> {
    let uri = line.strip_prefix('\'')?.split('\'').next()?;
    uri.split_once("/dists/").map(|(root, _)| root)
}

/// From a line such as `Acquire::http::Proxy::host "DIRECT";`.
fn proxy(line: &str) -> Option<(String, Option<String>)> {
    let (key, value) = line.split_once(' ')?;
    let value = value.strip_prefix('"')?.strip_suffix("\";")?;
    let key = key.to_ascii_lowercase();
    let key = key.strip_prefix("acquire::")?;
    let key = match key.split_once("::proxy::") {
        Some((scheme, host)) => format!("{scheme}::{host}"),
        None => key.strip_suffix("::proxy")?.to_owned(),
    };
    match value {
        "" | "false" => None,
        "DIRECT" => Some((key, None)),
        proxy => Some((key, Some(proxy.to_owned()))),
    }
}

/// What a command prints; nothing if it is missing or fails.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).unwrap_or_default()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_and_proxies_are_read() {
        let uris = "'http://a.example/debian/dists/bookworm/InRelease' a_InRelease 0 \n\
                    'http://a.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' b 0 \n\
                    'mirror+file:/etc/x/dists/bookworm/InRelease' c 0 \n";
        let targets = "http://a.example/debian/\nhttps://b.example/debian-security/\n";
        let config = "Acquire::http::Proxy \"http://proxy:3142\";\n\
                      Acquire::HTTP::Proxy::b.example \"DIRECT\";\n\
                      Acquire::https::Proxy \"\";\n\
                      Acquire::Languages \"none\";\n";
        let settings = AptSettings::parse(uris, targets, config);
        assert_eq!(
            settings.roots,
            [
                "http://a.example/debian",
                "https://b.example/debian-security"
            ]
        );
        assert_eq!(
            settings.proxies,
            BTreeMap::from([
                ("http".to_owned(), Some("http://proxy:3142".to_owned())),
                ("http::b.example".to_owned(), None),
            ])
        );
    }

    #[test]
    fn a_machine_without_apt_has_no_archives() {
        assert_eq!(AptSettings::parse("", "", ""), AptSettings::default());
        assert_eq!(output("/nonexistent/apt-get", &[]), "");
    }
}
