//! `kiln schema`.

use crate::args::{SchemaArgs, SchemaKind};
use crate::error::CliError;
use crate::output;

/// The schema of what `--json` prints, written by hand beside the printing.
const JSON_SCHEMA: &str = include_str!("../../schema/json.schema.json");

/// Prints a schema.
pub fn run(args: &SchemaArgs) -> Result<(), CliError> {
    match args.kind {
        SchemaKind::Manifest => {
            let schema = kiln_derivations::manifest::manifest_schema();
            let text = serde_json::to_string_pretty(&schema)
                .map_err(|error| CliError::machine(format!("writing the schema: {error}")))?;
            output::line(&text)
        }
        SchemaKind::Json => output::line(JSON_SCHEMA.trim_end()),
    }
}
