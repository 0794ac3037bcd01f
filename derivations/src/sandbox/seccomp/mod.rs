//! The system calls of the contract, as a filter that bubblewrap loads.
//!
//! Pure: a [`table`] of refusals, a small assembler ([`bpf`]) and the program
//! made of both. The kernel's side is modelled by an interpreter in the tests,
//! which run for both architectures on either.

pub mod bpf;
pub mod table;

use bpf::{
    ANY_BIT, ARCHITECTURE, Assembler, EQUAL, GREATER, GREATER_EQUAL, Instruction, NUMBER, Verdict,
    argument_low,
};

/// An architecture that builders run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64, without x32 and i386.
    X86_64,
    /// 64-bit Arm, without 32-bit Arm.
    Aarch64,
}

/// The numbers of the calls that are judged by their arguments.
struct Numbers {
    audit: u32,
    clone: u32,
    unshare: u32,
    ioctl: u32,
    socket: u32,
    socketpair: u32,
}

impl Architecture {
    /// That of this program; `None` where kiln has no contract.
    pub const NATIVE: Option<Architecture> = if cfg!(target_arch = "x86_64") {
        Some(Architecture::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Architecture::Aarch64)
    } else {
        None
    };

    fn numbers(self) -> Numbers {
        match self {
            Architecture::X86_64 => Numbers {
                audit: 0xc000_003e,
                clone: 56,
                unshare: 272,
                ioctl: 16,
                socket: 41,
                socketpair: 53,
            },
            Architecture::Aarch64 => Numbers {
                audit: 0xc000_00b7,
                clone: 220,
                unshare: 97,
                ioctl: 29,
                socket: 198,
                socketpair: 199,
            },
        }
    }

    fn number(self, refusal: &table::Refusal) -> Option<u32> {
        match self {
            Architecture::X86_64 => refusal.x86_64,
            Architecture::Aarch64 => refusal.aarch64,
        }
    }
}

/// The filter of contract version 1.
pub fn filter(architecture: Architecture) -> Vec<Instruction> {
    filter_with(architecture, &[])
}

/// The filter with `further` refusals.
pub fn filter_with(architecture: Architecture, further: &[table::Refusal]) -> Vec<Instruction> {
    let numbers = architecture.numbers();
    let mut code = Assembler::default();
    code.load(ARCHITECTURE);
    code.unless(EQUAL, numbers.audit, refuse(table::UNKNOWN));
    code.load(NUMBER);
    // x32 calls have bit 30 set, so they are above the last known one as well;
    // -1, which a tracer would use to skip a call, too.
    code.when(GREATER, table::LAST_KNOWN, refuse(table::UNKNOWN));
    code.block(numbers.clone, |code| {
        code.load(argument_low(0));
        code.when(
            ANY_BIT,
            table::CLONE_NAMESPACES,
            refuse(table::NAMESPACE_ERRNO),
        );
        code.end(Verdict::Allow);
    });
    code.block(numbers.unshare, |code| {
        code.load(argument_low(0));
        code.when(
            ANY_BIT,
            table::UNSHARE_NAMESPACES,
            refuse(table::NAMESPACE_ERRNO),
        );
        code.end(Verdict::Allow);
    });
    code.block(numbers.ioctl, |code| {
        // The kernel reads 32 bits of the request, so the upper half is not
        // looked at: otherwise setting it would pass the filter.
        code.load(argument_low(1));
        for request in table::TERMINAL_REQUESTS {
            code.when(EQUAL, request, refuse(table::TERMINAL_ERRNO));
        }
        code.end(Verdict::Allow);
    });
    code.block(numbers.socket, sockets);
    code.block(numbers.socketpair, sockets);
    for refusal in table::REFUSALS.iter().chain(further) {
        if let Some(number) = architecture.number(refusal) {
            code.when(EQUAL, number, refuse(refusal.errno));
        }
    }
    // Every number is at least 0: the unconditional way to the last return.
    code.when(GREATER_EQUAL, 0, Verdict::Allow);
    code.assemble()
}

fn sockets(code: &mut Assembler) {
    code.load(argument_low(0));
    for family in &table::FAMILIES {
        code.block(family.domain, |code| {
            code.load(argument_low(2));
            for protocol in family.protocols {
                code.when(EQUAL, *protocol, Verdict::Allow);
            }
            code.end(refuse(table::PROTOCOL_ERRNO));
        });
    }
    code.end(refuse(table::FAMILY_ERRNO));
}

fn refuse(errno: i32) -> Verdict {
    Verdict::Errno(u16::try_from(errno).expect("errnos are small"))
}

#[cfg(test)]
mod tests;
