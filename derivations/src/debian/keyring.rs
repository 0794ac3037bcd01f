//! Who may sign an archive index, and whether they did.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

use crate::fetch::Timestamp;

const PINNED: [&str; 6] = [
    include_str!("../../keyrings/debian-archive-bookworm-automatic.asc"),
    include_str!("../../keyrings/debian-archive-bookworm-security-automatic.asc"),
    include_str!("../../keyrings/debian-archive-bookworm-stable.asc"),
    include_str!("../../keyrings/debian-archive-trixie-automatic.asc"),
    include_str!("../../keyrings/debian-archive-trixie-security-automatic.asc"),
    include_str!("../../keyrings/debian-archive-trixie-stable.asc"),
];

/// Keys that are trusted to sign an archive index.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// Why a signed text is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It is no clear-signed text.
    #[error("it is not signed: {reason}")]
    NotSigned {
        /// What is wrong with it.
        reason: String,
    },
    /// None of the keys of the keyring made the signature.
    #[error("it is signed by {issuers}, none of which is trusted; trusted are {trusted}")]
    UnknownKey {
        /// The keys that claim to have signed.
        issuers: String,
        /// The owners of the keys in the keyring.
        trusted: String,
    },
    /// A trusted key is named, but the signature is not its own.
    #[error("the signature of {key} is wrong: the text was changed")]
    Wrong {
        /// The key that is named.
        key: String,
    },
    /// The key was not valid when it signed.
    #[error("{key} signed at {signed}, but was valid only until {expired}")]
    Expired {
        /// The key.
        key: String,
        /// When it signed.
        signed: Timestamp,
        /// When it expired.
        expired: Timestamp,
    },
}

/// A text and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text that was signed, with `\n` as line ends.
    pub text: String,
    /// The owners of the trusted keys that signed it; at least one.
    pub signers: Vec<String>,
}

/// A keyring's file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the keyring cannot be read: {0}")]
pub struct BadKeyring(String);

impl Keyring {
    /// The keys that are pinned in `derivations/keyrings`.
    pub fn pinned() -> Result<Self, BadKeyring> {
        Self::parse(&PINNED)
    }

    /// Reads armored keys. Each has to vouch for itself, and is not revoked.
    pub fn parse(armored: &[&str]) -> Result<Self, BadKeyring> {
        let bad = |error: pgp::errors::Error| BadKeyring(error.to_string());
        let mut keys = Vec::new();
        for text in armored {
            let (parsed, _) = SignedPublicKey::from_armor_many(text.as_bytes()).map_err(bad)?;
            for key in parsed {
                let key = key.map_err(bad)?;
                if key.details.revocation_signatures.is_empty() && own_signatures(&key).count() > 0
                {
                    keys.push(key);
                }
            }
        }
        Ok(Self { keys })
    }

    /// Checks a clear-signed text. One good signature by one of the keys is
    /// enough: several keys sign while one replaces another.
    pub fn verify(&self, signed: &[u8]) -> Result<Signed, SignatureError> {
        let not_signed = |reason: String| SignatureError::NotSigned { reason };
        let text = std::str::from_utf8(signed).map_err(|e| not_signed(e.to_string()))?;
        let (message, _) =
            CleartextSignedMessage::from_string(text).map_err(|e| not_signed(e.to_string()))?;
        let text = message.signed_text();
        let mut signers = Vec::new();
        let mut failure = None;
        for signature in message.signatures() {
            match self.signer(signature, &text) {
                Some(Ok(owner)) => signers.push(owner),
                Some(Err(error)) => failure = Some(error),
                None => {}
            }
        }
        if signers.is_empty() {
            return Err(failure.unwrap_or_else(|| self.unknown(&message)));
        }
        Ok(Signed {
            text: text.replace("\r\n", "\n"),
            signers,
        })
    }

    /// The owner of the key that made `signature`, or why it is no good;
    /// nothing if no key of ours is meant.
    fn signer(&self, signature: &Signature, text: &str) -> Option<Result<String, SignatureError>> {
        self.keys.iter().find_map(|key| {
            let primary = (issued_by(signature, &key.primary_key))
                .then(|| judge(signature, &key.primary_key, expiry(key), key, text));
            primary.or_else(|| {
                let subkeys = key.public_subkeys.iter();
                let subkey = subkeys
                    .filter(|subkey| may_sign(subkey, key))
                    .find(|subkey| issued_by(signature, &subkey.key))?;
                let until = earlier(expiry(key), subkey_expiry(subkey));
                Some(judge(signature, &subkey.key, until, key, text))
            })
        })
    }

    fn unknown(&self, message: &CleartextSignedMessage) -> SignatureError {
        let issuers: Vec<String> = message.signatures().iter().map(issuer).collect();
        let trusted: Vec<String> = self.keys.iter().map(owner).collect();
        SignatureError::UnknownKey {
            issuers: issuers.join(", "),
            trusted: trusted.join(", "),
        }
    }
}

fn judge(
    signature: &Signature,
    key: &impl VerifyingKey,
    expires: Option<Timestamp>,
    of: &SignedPublicKey,
    text: &str,
) -> Result<String, SignatureError> {
    let wrong = || SignatureError::Wrong { key: owner(of) };
    signature
        .verify(key, text.as_bytes())
        .map_err(|_| wrong())?;
    // A signature that does not say when it was made proves no time at all.
    let signed = signature.created().map(seconds).ok_or_else(wrong)?;
    match expires {
        Some(expired) if signed > expired => Err(SignatureError::Expired {
            key: owner(of),
            signed,
            expired,
        }),
        _ => Ok(owner(of)),
    }
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprint = key.fingerprint();
    let id = key.legacy_key_id();
    signature.issuer_fingerprint().contains(&&fingerprint)
        || signature.issuer_key_id().contains(&&id)
}

/// The signatures by which a key claims its own names.
fn own_signatures(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature
                .verify_certification(&key.primary_key, Tag::UserId, &user.id)
                .is_ok()
        })
    })
}

/// A subkey may sign if the primary key says so and the subkey agrees.
fn may_sign(subkey: &SignedPublicSubKey, key: &SignedPublicKey) -> bool {
    let revoked = subkey
        .signatures
        .iter()
        .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    let signs = subkey.signatures.iter().any(|s| s.key_flags().sign());
    !revoked && signs && subkey.verify_bindings(&key.primary_key).is_ok()
}

/// When the newest of the key's own signatures lets it expire.
fn expiry(key: &SignedPublicKey) -> Option<Timestamp> {
    let newest = own_signatures(key).max_by_key(|signature| signature.created().map(seconds))?;
    let lifetime = newest.key_expiration_time()?;
    Some(later(key.primary_key.created_at(), lifetime))
}

fn subkey_expiry(subkey: &SignedPublicSubKey) -> Option<Timestamp> {
    let signatures = subkey.signatures.iter();
    let newest = signatures.max_by_key(|signature| signature.created().map(seconds))?;
    Some(later(
        subkey.key.created_at(),
        newest.key_expiration_time()?,
    ))
}

fn seconds(time: pgp::types::Timestamp) -> Timestamp {
    Timestamp::from_unix(i64::from(time.as_secs()))
}

fn later(time: pgp::types::Timestamp, by: pgp::types::Duration) -> Timestamp {
    Timestamp::from_unix(i64::from(time.as_secs()) + i64::from(by.as_secs()))
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

fn owner(key: &SignedPublicKey) -> String {
    let user = key.details.users.first();
    user.map_or_else(
        || key.primary_key.fingerprint().to_string(),
        |user| String::from_utf8_lossy(user.id.id()).into_owned(),
    )
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint();
    let fingerprint = fingerprint
        .first()
        .map(|fingerprint| fingerprint.to_string());
    let id = || signature.issuer_key_id().first().map(|id| id.to_string());
    fingerprint
        .or_else(id)
        .unwrap_or_else(|| "nobody".to_owned())
}
