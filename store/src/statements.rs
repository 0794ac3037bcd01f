//! What keys were heard to say of themselves, so that nobody can have it
//! forgotten: who serves an old statement again is found out.
//!
//! ```text
//! keys/HEX    the newest statement of the key with these digits
//! ```

use rustix::fs::{self, Mode};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::layout::KEYS;
use crate::store::Store;
use crate::sys;
use crate::trust::statement::{Statement, Statements};

impl Store {
    /// All statements that were heard. One that cannot be read is an error: to
    /// go on without it could be to believe a key that was revoked.
    pub fn statements(&self) -> Result<Statements, StoreError> {
        let mut statements = Statements::default();
        for name in sys::names(self.layout.fd(), KEYS).during("list", KEYS)? {
            let path = self.path().join(KEYS).join(&name);
            let encoded = std::fs::read(&path).during("read", &path)?;
            let statement = Statement::decode(&encoded).ok();
            let known = statement.filter(|it| it.key().is_some_and(|key| key.hex() == name));
            let learnt = known.is_some_and(|statement| statements.learn(&statement).is_ok());
            if !learnt {
                return Err(StoreError::DamagedStatement { path });
            }
        }
        Ok(statements)
    }

    /// Remembers statements, durably. The caller has learnt them: their
    /// signatures are right and they are the newest.
    pub fn remember_statements(&self, statements: &[Statement]) -> Result<(), StoreError> {
        if statements.is_empty() {
            return Ok(());
        }
        match fs::mkdirat(self.layout.fd(), KEYS, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).during("create", KEYS),
        }
        let files = statements.iter().filter_map(|statement| {
            let key = statement.key()?;
            Some((format!("{KEYS}/{}", key.hex()), statement.encode()))
        });
        self.session()?.write_durably(KEYS, files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OpenOptions;
    use crate::trust::key::SecretKey;
    use crate::trust::statement::Standing;

    #[test]
    fn what_was_heard_is_remembered_and_damage_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), &OpenOptions::default()).expect("a store");
        assert_eq!(store.statements().expect("none").iter().count(), 0);
        let key = SecretKey::from_seed([1; 32]);
        let statement = Statement::revoked(&key, 1);
        store
            .remember_statements(std::slice::from_ref(&statement))
            .expect("it is written");
        let known = store.statements().expect("it is read");
        assert_eq!(known.standing(&key.public()), Standing::Revoked);
        let path = directory.path().join(KEYS).join(key.public().hex());
        let other = Statement::revoked(&SecretKey::from_seed([2; 32]), 1);
        for damage in [b"x".to_vec(), other.encode()] {
            std::fs::remove_file(&path).expect("it is there");
            std::fs::write(&path, damage).expect("writable");
            let error = store.statements().expect_err("it is damaged");
            assert!(error.to_string().contains(&key.public().hex()), "{error}");
        }
    }
}
