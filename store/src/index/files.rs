//! How the index follows from the realisation files.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Transaction};

use super::{Index, insert, now_s};
use crate::error::{During, StoreError};
use crate::hash::{Digest, RealisationId};
use crate::layout::{Layout, REALISATIONS};
use crate::realisation::SignedRealisation;
use crate::register::read_realisation;
use crate::sys;

impl Index {
    /// The boot under which the index was last compared with the files.
    pub(super) fn compared_under(&self) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT boot FROM compared";
            connection.query_row(sql, [], |row| row.get(0)).optional()
        })
    }

    /// Adds the rows that a power cut lost, drops those without a file.
    pub(super) fn compare_with_files(&mut self, layout: &Layout) -> Result<(), StoreError> {
        let files = stored(layout)?;
        let rows = self.ids()?;
        let missing = read_all(layout, files.difference(&rows))?;
        let surplus: Vec<_> = rows.difference(&files).copied().collect();
        let now_s = now_s();
        self.write(|transaction| {
            missing
                .iter()
                .try_for_each(|signed| insert(transaction, signed, now_s))?;
            surplus.iter().try_for_each(|id| delete(transaction, id))?;
            let sql = "INSERT OR REPLACE INTO compared (only, boot) VALUES (1, ?1)";
            transaction.execute(sql, [layout.boot()]).map(drop)
        })
    }

    /// Makes all rows over realisations anew.
    pub(crate) fn fill_from_files(&mut self, layout: &Layout) -> Result<(), StoreError> {
        let all = read_all(layout, &stored(layout)?)?;
        let now_s = now_s();
        self.write(|transaction| {
            transaction.execute("DELETE FROM realisation", [])?;
            all.iter()
                .try_for_each(|signed| insert(transaction, signed, now_s))
        })
    }

    fn ids(&self) -> Result<HashSet<RealisationId>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id FROM realisation")?;
            let ids = statement.query_map([], |row| {
                row.get(0)
                    .map(|bytes| RealisationId(Digest::from_bytes(bytes)))
            })?;
            ids.collect()
        })
    }
}

fn delete(transaction: &Transaction<'_>, id: &RealisationId) -> rusqlite::Result<()> {
    let sql = "DELETE FROM realisation WHERE id = ?1";
    transaction
        .prepare_cached(sql)?
        .execute([id.digest().as_bytes()])
        .map(drop)
}

/// The realisations that have a file.
fn stored(layout: &Layout) -> Result<HashSet<RealisationId>, StoreError> {
    let names = sys::names(layout.fd(), REALISATIONS).during("list", REALISATIONS)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Reads realisations. Damaged ones are left out: they answer nothing, and
/// verify lists them.
fn read_all<'a>(
    layout: &Layout,
    ids: impl IntoIterator<Item = &'a RealisationId>,
) -> Result<Vec<SignedRealisation>, StoreError> {
    let mut all = Vec::new();
    for id in ids {
        match read_realisation(layout, id) {
            Ok(signed) => all.push(signed),
            Err(StoreError::Realisation { .. } | StoreError::Object(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
