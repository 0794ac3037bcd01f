//! What a row is asked.

use std::fmt;
use std::str::FromStr;

use kiln_derivations::verify::Factor;
use serde_json::{Value, json};

/// One question to a derivation; the answer is a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// Are the stored bytes what their addresses say?
    Rehash,
    /// Does building again give the same?
    Rebuild,
    /// Also when every factor is varied in one build?
    All,
    /// Also on the build platform that this machine is not?
    OtherPlatform,
    /// Also when one factor is varied?
    Alone(Factor),
}

impl Column {
    /// Every column, in the table's order.
    pub fn all() -> impl Iterator<Item = Self> {
        let alone = Factor::varied().map(Self::Alone);
        [Self::Rehash, Self::Rebuild, Self::All, Self::OtherPlatform]
            .into_iter()
            .chain(alone)
    }

    /// What one build answers it by: the factors that `kiln verify` says were varied.
    /// `None` where it takes more than one build.
    pub fn varied(self) -> Option<Value> {
        match self {
            Self::Rebuild => Some(json!([])),
            Self::Alone(factor) => Some(json!([factor.name()])),
            Self::Rehash | Self::All | Self::OtherPlatform => None,
        }
    }

    /// Its name on the command line, in the record and at the head of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rehash => "rehash",
            Self::Rebuild => "rebuild",
            Self::All => "all",
            Self::OtherPlatform => "other-platform",
            Self::Alone(factor) => factor.name(),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::all().find(|column| column.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_by_its_name() {
        for column in Column::all() {
            assert_eq!(column.name().parse(), Ok(column));
        }
        let error = "hostname".parse::<Column>().unwrap_err();
        assert!(error.contains("host-name"), "{error}");
    }
}
