//! Ed25519 keys (RFC 8032) as text and as files.
//!
//! ```text
//! public key  = "ed25519:" hex[64]                ; lower case
//! key file    = "kiln-secret-key 1\n"
//!               "public " public-key "\n"
//!               "secret " hex[64] "\n"            ; the seed
//! ```

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::hash::Digest;

const PREFIX: &str = "ed25519:";
const HEADER: &str = "kiln-secret-key 1";
/// Bits of a file's mode that let others than its owner read or change it.
const OTHERS: u32 = 0o077;

/// A public key: 32 bytes that are a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A text or bytes that are no public key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no public key: expected `ed25519:` and 64 lower-case hexadecimal digits")]
pub struct BadKey(pub String);

impl PublicKey {
    /// Checks that the bytes are a point of the curve, and not one of the few
    /// for which anybody can sign.
    pub fn new(bytes: [u8; 32]) -> Result<Self, BadKey> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err(BadKey(format!("{PREFIX}{}", Digest::from_bytes(bytes)))),
        }
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digits without `ed25519:`, as part of a file name.
    pub fn hex(&self) -> String {
        Digest::from_bytes(self.0).to_string()
    }

    /// Whether `signature` is this key's over `message`. Strict: the few
    /// encodings on which implementations differ are refused.
    pub(super) fn has_signed(&self, message: &[u8; 32], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let refuse = || BadKey(text.to_owned());
        let digits = text.strip_prefix(PREFIX).ok_or_else(refuse)?;
        let bytes: Digest = digits.parse().map_err(|_| refuse())?;
        Self::new(*bytes.as_bytes()).map_err(|_| refuse())
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A secret key. Shows itself nowhere; wiped from memory when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key, from the kernel's random numbers.
    pub fn generate() -> io::Result<Self> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while filled < seed.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut seed[filled..], flags)?;
        }
        Ok(Self::from_seed(seed))
    }

    /// The key of a seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub(super) fn sign(&self, message: &[u8; 32]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Writes a new file that its owner alone can read. What is there already
    /// stays, and is an error.
    pub fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let written = file.write_all(self.text().as_bytes());
        let written = written.and_then(|()| file.sync_all());
        if written.is_err() {
            // Half a key would be in the way of the next try.
            let _ = fs::remove_file(path);
        }
        written.map_err(failed)
    }

    fn text(&self) -> String {
        let seed = Digest::from_bytes(self.0.to_bytes());
        format!("{HEADER}\npublic {}\nsecret {seed}\n", self.public())
    }

    /// Reads a file that [`Self::write`] made.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(failed)?.mode();
        if mode & OTHERS != 0 {
            return Err(KeyFileError::Open {
                path: path.to_owned(),
                mode: mode & 0o777,
            });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text).map_err(|why| KeyFileError::Form {
            path: path.to_owned(),
            why,
        })
    }

    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err("expected the header `kiln-secret-key 1`");
        }
        let mut field = |name: &str| {
            let line = lines.next()?;
            line.strip_prefix(name)?.strip_prefix(' ')
        };
        let public = field("public").ok_or("expected a line `public ed25519:…`")?;
        let secret = field("secret").ok_or("expected a line `secret …`")?;
        let seed: Digest = secret
            .parse()
            .map_err(|_| "expected 64 lower-case hexadecimal digits after `secret`")?;
        let key = Self::from_seed(*seed.as_bytes());
        match public == key.public().to_string() && lines.next().is_none() {
            true => Ok(key),
            false => Err("the public key is not that of the secret one, or more follows"),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// Why a key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The disk, or it is there already.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "{path} has mode {mode:04o}, so others than its owner can use this key; if nobody did, chmod 600 {path}",
        path = path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error("{} is no key that kiln wrote: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What was expected.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    #[test]
    fn text_of_a_public_key_is_read_in_one_spelling_only() {
        let text = key(1).public().to_string();
        expect_test::expect![
            "ed25519:8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
        ]
        .assert_eq(&text);
        assert_eq!(text.parse(), Ok(key(1).public()));
        let zero = format!("ed25519:{}", "0".repeat(64));
        for bad in [&text.to_uppercase(), &text[8..], &text[..71], "", &zero] {
            assert_eq!(bad.parse::<PublicKey>(), Err(BadKey(bad.to_owned())));
        }
    }

    #[test]
    fn a_key_is_signed_with_and_checked_by_its_public_half_alone() {
        let message = [7; 32];
        let signature = key(1).sign(&message);
        assert!(key(1).public().has_signed(&message, &signature));
        assert!(!key(2).public().has_signed(&message, &signature));
        assert!(!key(1).public().has_signed(&[8; 32], &signature));
        for byte in 0..64 {
            let mut other = signature;
            other[byte] ^= 1;
            assert!(!key(1).public().has_signed(&message, &other), "byte {byte}");
        }
    }

    #[test]
    fn a_file_is_its_owners_alone_and_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        let key = SecretKey::generate().expect("random numbers");
        key.write(&path).expect("it is written");
        let read = SecretKey::read(&path).expect("it is read");
        assert_eq!(read.public(), key.public());
        assert!(matches!(key.write(&path), Err(KeyFileError::Io { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = SecretKey::read(&path).expect_err("others can read it");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let good = key(1).text();
        assert!(SecretKey::parse(&good).is_ok());
        let mixed = good.replace(&key(1).public().to_string(), &key(2).public().to_string());
        for bad in [
            "",
            "x",
            HEADER,
            &good[..40],
            &mixed,
            &format!("{good}more\n"),
        ] {
            assert!(SecretKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let shown = format!("{:?}", key(3));
        assert!(!shown.contains(&"03".repeat(8)), "{shown}");
    }
}
