//! Conditions on registers and memory: plain data, and what they mean.
//!
//! The meaning is [`Predicate::holds`]; what a stub does with one is in `evaluate`, and must be the same.

use crate::condition::GeneralRegisters;

/// Terms and comparisons of one predicate at most: what the code of a trampoline has room for.
pub(crate) const NODES_MAX: usize = 40;

/// How many values may be held at a time while a predicate is evaluated: the registers that the stub uses.
pub(crate) const DEPTH_MAX: usize = 4;

/// A general register, by the number of its encoding: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15 (Intel SDM
/// volume 2, table 2-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterNumber(u8);

impl RegisterNumber {
    /// None when there is no such register.
    pub fn new(number: u8) -> Option<Self> {
        (number < 16).then_some(Self(number))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// How many bytes of a number count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 8 bits.
    One,
    /// 16 bits.
    Two,
    /// 32 bits.
    Four,
    /// 64 bits.
    Eight,
}

impl Size {
    /// The size of so many bytes, if it is one.
    pub fn of_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// A kind of number, and how it becomes one of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// Its size.
    pub size: Size,
    /// The upper bits repeat the sign; else they are zero.
    pub signed: bool,
}

impl Width {
    fn extend(self, number: u64) -> u64 {
        let unused = 64 - 8 * self.size.bytes() as u32;
        if self.signed { ((number << unused) as i64 >> unused) as u64 } else { number << unused >> unused }
    }
}

/// Arithmetic on 64 bits; what does not fit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    And,
    Or,
    Xor,
}

/// A number of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// Always the same.
    Constant(u64),
    /// What the register holds at the site.
    Register(RegisterNumber),
    /// A little-endian number in memory.
    Load {
        /// Its address.
        address: Box<Term>,
        /// Its kind.
        width: Width,
    },
    /// The low bytes of a number.
    Cut {
        /// The number.
        of: Box<Term>,
        /// Which bytes, and how they become 64 bits again.
        width: Width,
    },
    /// Arithmetic.
    Combined {
        /// What is done.
        operation: Operation,
        /// The first operand.
        left: Box<Term>,
        /// The second operand.
        right: Box<Term>,
    },
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Below,
    BelowOrEqual,
    Above,
    AboveOrEqual,
}

impl Relation {
    /// What holds just when this one does not.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
            Self::Below => Self::AboveOrEqual,
            Self::BelowOrEqual => Self::Above,
            Self::Above => Self::BelowOrEqual,
            Self::AboveOrEqual => Self::Below,
        }
    }

    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => (left as i64) < right as i64,
            Self::LessOrEqual => left as i64 <= right as i64,
            Self::Greater => left as i64 > right as i64,
            Self::GreaterOrEqual => left as i64 >= right as i64,
            Self::Below => left < right,
            Self::BelowOrEqual => left <= right,
            Self::Above => left > right,
            Self::AboveOrEqual => left >= right,
        }
    }
}

/// What is asked about registers and memory at a visit. Parts are evaluated from left to right, and no further than
/// needed, so that `p != 0 && p->x == 1` reads nothing through a null pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// A comparison.
    Compare {
        /// The left number.
        left: Term,
        /// How they are compared; Below and Above are those of unsigned numbers.
        relation: Relation,
        /// The right number.
        right: Term,
    },
    /// All of them hold; true when there are none.
    All(Vec<Predicate>),
    /// One of them holds; false when there are none.
    Any(Vec<Predicate>),
}

/// Reads memory into the whole buffer, or says that it cannot.
pub type ReadMemory<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

impl Predicate {
    /// Whether it holds; None when memory that is needed for the answer cannot be read.
    pub fn holds(&self, registers: &GeneralRegisters, read: ReadMemory<'_>) -> Option<bool> {
        match self {
            Self::Compare { left, relation, right } => {
                let left = left.number(registers, read)?;
                Some(relation.holds(left, right.number(registers, read)?))
            }
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(registers, read)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(registers, read)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
        }
    }

    /// Whether a stub can evaluate it. Whatever nests too deeply is too large as well.
    pub(crate) fn fits(&self) -> bool {
        self.nodes(0) <= NODES_MAX && self.depth() <= DEPTH_MAX
    }

    /// Terms and comparisons; counting stops where there are too many.
    fn nodes(&self, before: usize) -> usize {
        match self {
            _ if before > NODES_MAX => before,
            Self::Compare { left, right, .. } => right.nodes(left.nodes(before + 1)),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().fold(before + 1, |before, part| part.nodes(before))
            }
        }
    }

    /// How many values are held at a time.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Compare { left, right, .. } => left.depth_with(right),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::depth).max().unwrap_or(0),
        }
    }
}

impl Term {
    /// The number, if all memory it needs can be read.
    fn number(&self, registers: &GeneralRegisters, read: ReadMemory<'_>) -> Option<u64> {
        Some(match self {
            Self::Constant(number) => *number,
            Self::Register(register) => registers.by_number()[register.index()],
            Self::Load { address, width } => {
                let mut bytes = [0; 8];
                let part = &mut bytes[..width.size.bytes()];
                if !read(address.number(registers, read)?, part) {
                    return None;
                }
                width.extend(u64::from_le_bytes(bytes))
            }
            Self::Cut { of, width } => width.extend(of.number(registers, read)?),
            Self::Combined { operation, left, right } => {
                let (left, right) = (left.number(registers, read)?, right.number(registers, read)?);
                match operation {
                    Operation::Add => left.wrapping_add(right),
                    Operation::Subtract => left.wrapping_sub(right),
                    Operation::Multiply => left.wrapping_mul(right),
                    Operation::And => left & right,
                    Operation::Or => left | right,
                    Operation::Xor => left ^ right,
                }
            }
        })
    }

    fn nodes(&self, before: usize) -> usize {
        match self {
            _ if before > NODES_MAX => before,
            Self::Constant(_) | Self::Register(_) => before + 1,
            Self::Load { address: of, .. } | Self::Cut { of, .. } => of.nodes(before + 1),
            Self::Combined { left, right, .. } => right.nodes(left.nodes(before + 1)),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Constant(_) | Self::Register(_) => 1,
            Self::Load { address: of, .. } | Self::Cut { of, .. } => of.depth(),
            Self::Combined { left, right, .. } => left.depth_with(right),
        }
    }

    /// A right operand that fits into an instruction needs no register.
    fn depth_with(&self, right: &Term) -> usize {
        if right.small().is_some() { self.depth() } else { self.depth().max(1 + right.depth()) }
    }

    /// A constant that fits into an instruction's 32 bits, which are extended with their sign.
    pub(crate) fn small(&self) -> Option<i32> {
        match self {
            Self::Constant(number) => i32::try_from(*number as i64).ok(),
            _ => None,
        }
    }
}
