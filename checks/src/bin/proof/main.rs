//! What was proved of `minsys`, as one command that can be ended and started
//! again, and writes a table:
//!
//! ```text
//! cargo run --release --package kiln-checks --bin proof -- --store DIR
//! ```
//!
//! Rows are the scripts that the image is built by, on each target, and the image
//! itself. Columns are `rehash` of what is stored, and ways to build it again:
//! `rebuild`, `all` factors together, each factor alone, and `other-platform`, on the
//! build platform that this machine is not. What `minsys@gcc` builds otherwise than
//! `minsys` has rows of its own, `NAME@gcc`.
//!
//! - `column`: what a row is asked.
//! - `prove`: asks it of kiln.
//! - `record`: what was answered, ever, in `docs/proof.json`.
//! - `table`: the record as `docs/proof.md`, pure.

mod column;
mod prove;
mod record;
mod table;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use kiln_checks::Scratch;

use column::Column;
use prove::Proof;
use record::{Record, Row};

/// Prove what a store holds of an image, and write docs/proof.json and docs/proof.md
///
/// What the record has for the present recipes is not done again, nor what an ended run
/// built again and noted beside the store, in DIR.again.events; several may run at one
/// time.
#[derive(Parser)]
#[command(name = "proof")]
struct Arguments {
    /// The store that has the image, or gets it
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// The image
    #[arg(long, value_name = "NAME", default_value = "minsys")]
    image: String,
    /// Its targets
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    #[arg(default_values = ["x86_64", "aarch64"])]
    targets: Vec<String>,
    /// Columns to fill; other-platform takes hours, and only who names it gets it
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    #[arg(default_values_t = Column::all().filter(|it| *it != Column::OtherPlatform))]
    columns: Vec<Column>,
    /// Rows to fill, by the names of their derivations, and not the image's own
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

impl Arguments {
    /// Those of an image's rows that are to be filled. A name that is none of them
    /// ends the program: nobody is to take its silence for an answer.
    fn wanted(&self, mut rows: Vec<Row>) -> Vec<Row> {
        if let Some(name) = self
            .only
            .iter()
            .find(|it| rows.iter().all(|row| row.name != **it))
        {
            let rows: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
            let told = format!("no row `{name}`: expected one of {}", rows.join(", "));
            Arguments::command()
                .error(ErrorKind::InvalidValue, told)
                .exit();
        }
        rows.retain(|row| self.only.is_empty() || self.only.contains(&row.name));
        rows
    }
}

fn main() {
    let arguments = Arguments::parse();
    let record = Record::of_repository();
    for target in &arguments.targets {
        let proof = Proof {
            store: &arguments.store,
            image: &arguments.image,
            target,
            scratch: Scratch::new(),
        };
        proof.build();
        for row in arguments.wanted(proof.rows()) {
            let missing = || -> Vec<Column> {
                let columns = arguments.columns.iter().copied();
                columns.filter(|it| !record.has(&row, *it)).collect()
            };
            let add = |(column, cell)| {
                eprintln!("{} ({target}), {column}: {cell}", row.name);
                record.add(&row, column, cell);
            };
            proof.heard(&row, &missing()).into_iter().for_each(add);
            proof.ask(&row, &missing()).into_iter().for_each(add);
        }
        let column = Column::OtherPlatform;
        if arguments.only.is_empty() && arguments.columns.contains(&column) {
            let (image, cell) = proof.image_elsewhere();
            record.add(&image, column, cell);
        }
    }
}
