//! Leases: trees that gc leaves alone while this process lives.

use std::sync::Arc;

use crate::error::StoreError;
use crate::hash::TreeId;
use crate::objects::ObjectError;
use crate::session::Session;
use crate::store::Store;

/// Keeps a tree, whole, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    session: Arc<Session>,
    tree: TreeId,
}

impl Lease {
    /// The tree that is kept.
    pub fn tree(&self) -> TreeId {
        self.tree
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.session.release(&self.tree);
    }
}

impl Store {
    /// Keeps a tree that is here. An error if it is not.
    pub fn lease(&self, tree: &TreeId) -> Result<Lease, StoreError> {
        let _in_use = self.share()?;
        let session = Arc::clone(self.session()?);
        session.lease(*tree)?;
        // From here on it is given back on every way out.
        let lease = Lease {
            session,
            tree: *tree,
        };
        if self.has_tree(tree)? {
            return Ok(lease);
        }
        Err(ObjectError::Missing {
            kind: "directory",
            digest: tree.0,
        }
        .into())
    }
}
