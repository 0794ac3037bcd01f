//! A small assembler for classic BPF as seccomp takes it.
//!
//! Only the instructions that the kernel can evaluate ahead of time are
//! offered (load of a word, jumps on a constant, `and`, return): for a filter
//! made of these the kernel caches "always allowed" per system call, so that
//! the filter costs nothing on most calls.

use std::collections::BTreeMap;

/// One instruction: the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Constant, offset or return value.
    pub operand: u32,
}

/// Load the 32-bit word at a constant offset of `struct seccomp_data`.
pub const LOAD: u16 = 0x20;
/// Jump if equal.
pub const EQUAL: u16 = 0x15;
/// Jump if greater (unsigned).
pub const GREATER: u16 = 0x25;
/// Jump if greater or equal (unsigned).
pub const GREATER_EQUAL: u16 = 0x35;
/// Jump if any bit is set.
pub const ANY_BIT: u16 = 0x45;
/// Return a constant.
pub const RETURN: u16 = 0x06;

/// Offset of the system call number.
pub const NUMBER: u32 = 0;
/// Offset of the architecture.
pub const ARCHITECTURE: u32 = 4;

/// Offset of the low word of an argument (both architectures are little-endian).
pub const fn argument_low(index: u32) -> u32 {
    16 + 8 * index
}

/// What a system call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It runs.
    Allow,
    /// It fails with this errno; 0 makes it succeed with the value 0.
    Errno(u16),
}

impl Verdict {
    fn encode(self) -> u32 {
        match self {
            Verdict::Allow => 0x7fff_0000,
            Verdict::Errno(errno) => 0x0005_0000 | u32::from(errno),
        }
    }
}

enum Target {
    Next,
    Verdict(Verdict),
    Skip(u8),
}

/// A program under construction. Verdicts are shared returns at the end, so
/// the code is written as "if this, then that verdict".
#[derive(Default)]
pub struct Assembler {
    steps: Vec<(u16, u32, Target, Target)>,
}

impl Assembler {
    /// Loads a word of the call's data into the accumulator.
    pub fn load(&mut self, offset: u32) {
        self.steps.push((LOAD, offset, Target::Next, Target::Next));
    }

    /// Ends with `verdict` if the comparison holds.
    pub fn when(&mut self, comparison: u16, operand: u32, verdict: Verdict) {
        self.steps
            .push((comparison, operand, Target::Verdict(verdict), Target::Next));
    }

    /// Ends with `verdict` unless the comparison holds.
    pub fn unless(&mut self, comparison: u16, operand: u32, verdict: Verdict) {
        self.steps
            .push((comparison, operand, Target::Next, Target::Verdict(verdict)));
    }

    /// Runs `block` only if the accumulator equals `operand`. The block has to
    /// end in [`Assembler::end`], since it leaves another word loaded.
    pub fn block(&mut self, operand: u32, block: impl FnOnce(&mut Assembler)) {
        let mut inner = Assembler::default();
        block(&mut inner);
        let length = u8::try_from(inner.steps.len()).expect("a block is a few instructions");
        self.steps
            .push((EQUAL, operand, Target::Next, Target::Skip(length)));
        self.steps.append(&mut inner.steps);
    }

    /// Ends with `verdict`.
    pub fn end(&mut self, verdict: Verdict) {
        let here = Target::Verdict(verdict);
        // An unconditional jump is a comparison whose both ways are the same.
        self.steps.push((ANY_BIT, 0, Target::Next, here));
    }

    /// The finished program.
    pub fn assemble(self) -> Vec<Instruction> {
        let steps = self.steps.len();
        let mut returns = BTreeMap::new();
        for (_, _, yes, no) in &self.steps {
            for target in [yes, no] {
                if let Target::Verdict(verdict) = target {
                    let next = steps + returns.len();
                    returns.entry(*verdict).or_insert(next);
                }
            }
        }
        let distance = |target: &Target, at: usize| match target {
            Target::Next => 0,
            Target::Skip(count) => *count,
            Target::Verdict(verdict) => {
                u8::try_from(returns[verdict] - at - 1).expect("a filter has at most 256 steps")
            }
        };
        let mut program: Vec<_> = (self.steps.iter().enumerate())
            .map(|(at, (code, operand, yes, no))| Instruction {
                code: *code,
                jump_true: distance(yes, at),
                jump_false: distance(no, at),
                operand: *operand,
            })
            .collect();
        let mut returns: Vec<_> = returns.into_iter().collect();
        returns.sort_by_key(|(_, position)| *position);
        program.extend(returns.into_iter().map(|(verdict, _)| Instruction {
            code: RETURN,
            jump_true: 0,
            jump_false: 0,
            operand: verdict.encode(),
        }));
        program
    }
}

/// The bytes that the kernel reads.
pub fn to_bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for step in program {
        bytes.extend_from_slice(&step.code.to_ne_bytes());
        bytes.extend_from_slice(&[step.jump_true, step.jump_false]);
        bytes.extend_from_slice(&step.operand.to_ne_bytes());
    }
    bytes
}
