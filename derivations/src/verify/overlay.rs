//! Two stores as one: read from both, written to the upper one only.

use std::io::Read;

use kiln_store::hash::{ContentId, TreeId};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::Directory;

/// What is built again reads what was built before, and changes nothing of it.
pub struct Overlay<'a> {
    /// Written to, and looked into first.
    pub upper: &'a dyn Objects,
    /// Only read.
    pub lower: &'a dyn Objects,
}

impl Overlay<'_> {
    fn either<T>(
        &self,
        read: impl Fn(&dyn Objects) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        match read(self.upper) {
            Err(ObjectError::Missing { .. }) => read(self.lower),
            other => other,
        }
    }
}

impl Objects for Overlay<'_> {
    fn directory(&self, id: &TreeId) -> Result<Directory, ObjectError> {
        self.either(|objects| objects.directory(id))
    }

    fn open_file(&self, id: &ContentId) -> Result<Box<dyn Read + Send>, ObjectError> {
        self.either(|objects| objects.open_file(id))
    }

    fn put_directory(&self, directory: &Directory) -> Result<TreeId, ObjectError> {
        self.upper.put_directory(directory)
    }

    fn put_file(
        &self,
        content: &mut dyn Read,
        executable: bool,
    ) -> Result<(ContentId, u64), ObjectError> {
        self.upper.put_file(content, executable)
    }
}
