//! The index: which realisations there are for a key, and when a tree was used
//! last. Derived from the realisation files but for the latter.
//!
//! SQLite in WAL mode, so that a process that looks up never waits for one
//! that registers. The schema stands in `sql/`, one numbered file a migration;
//! its number is the database's `user_version`.

mod files;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior,
};

use crate::error::{During, StoreError};
use crate::hash::{ActionKey, Digest, RecipeKey, TreeId};
use crate::layout::{INDEX, Layout};
use crate::realisation::SignedRealisation;
use crate::{lock, session};

/// The migrations; the n-th makes schema n out of schema n - 1.
const MIGRATIONS: [&str; 1] = [include_str!("sql/0001_realisations.sql")];

/// The schema that the last migration makes.
const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// A tree that was used within this time is not noted again: a build that does
/// nothing then writes nothing.
const USE_GRAIN_S: i64 = 3600;

/// An open index.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    connection: Connection,
}

impl Index {
    /// Opens the index and brings it up to date. A missing one is made anew.
    pub(crate) fn open(layout: &Layout) -> Result<Self, StoreError> {
        let mut index = Self::connect(layout)?;
        index.migrate()?;
        if index.compared_under()?.as_deref() != Some(layout.boot()) {
            index.compare_with_files(layout)?;
        }
        Ok(index)
    }

    /// Throws the index away, in whatever state it is, and makes it anew.
    pub(crate) fn rebuild(layout: &Layout) -> Result<Self, StoreError> {
        let _alone = lock::exclude(layout)?;
        // A living session would go on writing to the file that we remove.
        if let Some((_, record)) = session::live(layout)?.first() {
            return Err(StoreError::InUse {
                operation: "rebuilding the index",
                pid: record.pid,
            });
        }
        for suffix in ["", "-wal", "-shm"] {
            let path = layout.path().join(format!("{INDEX}{suffix}"));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.during("remove", &path)?,
            }
        }
        Self::open(layout)
    }

    fn connect(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.path().join(INDEX);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match Connection::open_with_flags(&path, flags) {
            Ok(connection) => connection,
            Err(source) => return Err(explain(path, source)),
        };
        let index = Self { path, connection };
        index.configure().map_err(|source| index.explain(source))?;
        Ok(index)
    }

    fn configure(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        self.connection
            .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;")
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let found = self.read(schema)?;
        if found > SCHEMA {
            return Err(StoreError::IndexNewer {
                path: self.path.clone(),
                found,
                supported: SCHEMA,
            });
        }
        if found < SCHEMA {
            self.use_wal()?;
            self.write(|transaction| {
                // Somebody else may have done it while we waited.
                let found = schema(transaction)?;
                for number in found..SCHEMA {
                    transaction.execute_batch(MIGRATIONS[number as usize])?;
                    transaction.pragma_update(None, "user_version", number + 1)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Turns WAL mode on, for ever. SQLite does not wait for others here, so
    /// that is done for it.
    fn use_wal(&self) -> Result<(), StoreError> {
        let give_up = Instant::now() + BUSY_TIMEOUT;
        loop {
            match self.connection.execute_batch("PRAGMA journal_mode = WAL") {
                Err(error) if is_busy(&error) && Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => return other.map_err(|source| self.explain(source)),
            }
        }
    }

    /// The realisations of an action, in a fixed order.
    pub(crate) fn of_action(&self, key: &ActionKey) -> Result<Vec<SignedRealisation>, StoreError> {
        let sql = "SELECT encoded FROM realisation WHERE action = ?1 ORDER BY id";
        self.realisations(sql, key.digest())
    }

    /// The realisations of a recipe, in a fixed order.
    pub(crate) fn of_recipe(&self, key: &RecipeKey) -> Result<Vec<SignedRealisation>, StoreError> {
        let sql = "SELECT encoded FROM realisation WHERE recipe = ?1 ORDER BY id";
        self.realisations(sql, key.digest())
    }

    fn realisations(&self, sql: &str, key: &Digest) -> Result<Vec<SignedRealisation>, StoreError> {
        let rows: Vec<Vec<u8>> = self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([key.as_bytes()], |row| row.get(0))?;
            rows.collect()
        })?;
        rows.iter()
            .map(|encoded| {
                SignedRealisation::decode(encoded).map_err(|error| StoreError::IndexDamaged {
                    path: self.path.clone(),
                    reason: error.to_string(),
                })
            })
            .collect()
    }

    /// Adds realisations whose files are durable.
    pub(crate) fn insert(&mut self, realisations: &[SignedRealisation]) -> Result<(), StoreError> {
        let now_s = now_s();
        self.write(|transaction| {
            realisations
                .iter()
                .try_for_each(|signed| insert(transaction, signed, now_s))
        })
    }

    /// Notes that trees are used now.
    pub(crate) fn note_use(&mut self, trees: &[TreeId]) -> Result<(), StoreError> {
        let now_s = now_s();
        let stale: Vec<_> = self.read(|connection| {
            let sql = "SELECT last_used_s FROM tree_use WHERE tree = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut stale = Vec::new();
            for tree in trees {
                let key = [tree.digest().as_bytes()];
                let last_s: Option<i64> = statement.query_row(key, |row| row.get(0)).optional()?;
                if last_s.is_none_or(|last_s| now_s - last_s >= USE_GRAIN_S) {
                    stale.push(tree);
                }
            }
            Ok(stale)
        })?;
        if stale.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            stale
                .iter()
                .try_for_each(|tree| note_use(transaction, tree, now_s))
        })
    }

    /// The trees that were used within the last `window`.
    pub(crate) fn used_within(&self, window: Duration) -> Result<Vec<TreeId>, StoreError> {
        let window_s = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
        let since_s = now_s().saturating_sub(window_s);
        self.read(|connection| {
            let sql = "SELECT tree FROM tree_use WHERE last_used_s > ?1";
            let mut statement = connection.prepare(sql)?;
            let trees = statement.query_map([since_s], |row| {
                row.get(0).map(|bytes| TreeId(Digest::from_bytes(bytes)))
            })?;
            trees.collect()
        })
    }

    /// Forgets when trees that are gone were used.
    pub(crate) fn forget_use<'a>(
        &mut self,
        trees: impl IntoIterator<Item = &'a TreeId>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "DELETE FROM tree_use WHERE tree = ?1";
            let mut statement = transaction.prepare(sql)?;
            for tree in trees {
                statement.execute([tree.digest().as_bytes()])?;
            }
            Ok(())
        })
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        query(&self.connection).map_err(|source| self.explain(source))
    }

    /// Runs `change` in a transaction that takes the write lock at once: one
    /// that began by reading could not be made to wait for it.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let run = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let result: rusqlite::Result<T> = run();
        result.map_err(|source| explain(path, source))
    }

    fn explain(&self, source: rusqlite::Error) -> StoreError {
        explain(self.path.clone(), source)
    }
}

fn schema(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn insert(
    transaction: &Transaction<'_>,
    signed: &SignedRealisation,
    now_s: i64,
) -> rusqlite::Result<()> {
    let realisation = &signed.realisation;
    let sql = "INSERT INTO realisation (id, action, recipe, encoded) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (id) DO UPDATE SET encoded = excluded.encoded";
    transaction.prepare_cached(sql)?.execute((
        realisation.id().digest().as_bytes(),
        realisation.action.digest().as_bytes(),
        realisation.recipe.digest().as_bytes(),
        signed.encode(),
    ))?;
    realisation
        .outputs
        .iter()
        .try_for_each(|(_, tree)| note_use(transaction, tree, now_s))
}

fn note_use(transaction: &Transaction<'_>, tree: &TreeId, now_s: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tree_use (tree, last_used_s) VALUES (?1, ?2)
               ON CONFLICT (tree) DO UPDATE SET last_used_s = excluded.last_used_s";
    transaction
        .prepare_cached(sql)?
        .execute((tree.digest().as_bytes(), now_s))?;
    Ok(())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn explain(path: PathBuf, source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::IndexDamaged {
            path,
            reason: source.to_string(),
        },
        _ => StoreError::Index { path, source },
    }
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
