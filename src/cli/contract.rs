//! `contract`: prints the contract for gateways and code generators.

use std::{
    io::{IsTerminal as _, stdout},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    failure::Failure,
    output::{print_bytes, write_file},
};
use crate::proto::{self, DebugRedact};

#[derive(Args, Debug)]
pub(super) struct ContractArgs {
    /// Write the descriptor set to this file, instead of to standard output (-)
    #[arg(long, short, value_name = "FILE", conflicts_with = "proto")]
    out: Option<PathBuf>,

    /// Write the .proto files into this folder, instead of a descriptor set; it is created
    #[arg(long, value_name = "DIR")]
    proto: Option<PathBuf>,

    /// Leave out the option that marks secrets: protoc before version 22 does not know it
    #[arg(long)]
    without_debug_redact: bool,
}

/// Prints or writes the descriptor set, which includes the details of a status (google.rpc), or
/// writes the `.proto` files.
pub(super) fn contract(args: &ContractArgs) -> Result<(), Failure> {
    let debug_redact =
        if args.without_debug_redact { DebugRedact::Removed } else { DebugRedact::Kept };
    match (&args.proto, &args.out) {
        (Some(folder), _) => {
            let files = proto::files(debug_redact);
            files.into_iter().try_for_each(|(path, text)| write_file(&folder.join(path), &text))
        }
        (None, Some(file)) if file != Path::new("-") => {
            write_file(file, proto::descriptor_set(debug_redact))
        }
        (None, None) if stdout().is_terminal() => {
            Err(Failure::usage("--out", "is needed: a descriptor set is not for a terminal"))
        }
        (None, _) => print_bytes(&proto::descriptor_set(debug_redact)),
    }
}
