//! How one leaves a guest that gets every key: Ctrl-a x, as in QEMU.

/// What is typed to leave, for the line that says so.
pub const LEAVE: &str = "Ctrl-a x";

const CTRL_A: u8 = 1;

/// Splits keys into those for the guest and the wish to leave.
#[derive(Debug, Default)]
pub(super) struct Escape {
    armed: bool,
}

/// What keys came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// These go to the guest.
    Guest(Vec<u8>),
    /// The user leaves.
    Leave,
}

impl Escape {
    pub(super) fn take(&mut self, keys: &[u8]) -> Keys {
        let mut guest = Vec::with_capacity(keys.len());
        for &key in keys {
            match (std::mem::take(&mut self.armed), key) {
                (false, CTRL_A) => self.armed = true,
                (true, b'x' | b'X') => return Keys::Leave,
                // Twice, or followed by an `a`: the key itself.
                (true, CTRL_A | b'a') => guest.push(CTRL_A),
                (true, other) => guest.extend([CTRL_A, other]),
                (false, other) => guest.push(other),
            }
        }
        Keys::Guest(guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: Option<&[u8]>) {
        let mut escape = Escape::default();
        let mut guest = Vec::new();
        for piece in pieces {
            match escape.take(piece) {
                Keys::Guest(keys) => guest.extend(keys),
                Keys::Leave => return assert_eq!(expected, None),
            }
        }
        assert_eq!(Some(guest.as_slice()), expected);
    }

    #[test]
    fn keys_go_to_the_guest() {
        check(&[b"x\x03\x04\r"], Some(b"x\x03\x04\r"));
    }

    #[test]
    fn one_can_leave() {
        check(&[b"ls\r\x01x"], None);
        check(&[b"\x01", b"x"], None);
    }

    #[test]
    fn the_key_itself_can_be_typed() {
        check(&[b"\x01a", b"\x01", b"\x01"], Some(b"\x01\x01"));
        check(&[b"\x01b"], Some(b"\x01b"));
    }
}
