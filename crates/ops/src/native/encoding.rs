//! The bytes of instructions.
//!
//! Encodings are those of Intel's *Software Developer's Manual*, volume 2: chapter 2.3 for the prefixes
//! VEX (AVX), 2.7 for EVEX (AVX-512), and the pages of the instructions.

use super::assembler::Xmm;

/// How many numbers an instruction is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// One.
    One,
    /// A register of 256 bits.
    Ymm,
    /// A register of 512 bits, of numbers of double precision. There are 32 of them.
    Zmm,
}

impl Width {
    /// How many registers there are.
    pub fn registers(self) -> u8 {
        if self == Width::Zmm { 32 } else { 16 }
    }
}

/// Where an instruction has its last argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Register(Xmm),
    /// At so many bytes from the address in one of the processor's other registers.
    Memory(u8, usize),
}

/// The prefix `66`: numbers of double precision, or all bits of a register.
pub(super) const DOUBLE: u8 = 1;

/// Code in the making.
pub(super) struct Code {
    pub bytes: Vec<u8>,
    pub width: Width,
}

impl Code {
    /// An instruction with the registers `out` and `a` (the number 0 if it has no `a`) and the operand
    /// `b`, and the prefix for a kind of number.
    pub fn instruction(&mut self, opcode: u8, kind: u8, out: Xmm, a: Xmm, b: Operand) {
        match self.width {
            Width::Zmm => self.evex(opcode, kind, out, a, b, 0),
            _ => self.vex(opcode, kind, out, a, b),
        }
    }

    /// The prefix C4, or C5 where that can say it: bits that extend the numbers of registers, inverted;
    /// `a`, inverted; whether there are 256 bits; the kind of number.
    fn vex(&mut self, opcode: u8, kind: u8, out: Xmm, a: Xmm, b: Operand) {
        let low = |number: u8| u8::from(number < 8);
        let (Operand::Register(last) | Operand::Memory(last, _)) = b;
        let wide = u8::from(self.width == Width::Ymm);
        let rest = (!a & 15) << 3 | wide << 2 | kind;
        if low(last) == 1 {
            self.bytes.extend([0xc5, low(out) << 7 | rest, opcode]);
        } else {
            self.bytes.extend([0xc4, low(out) << 7 | 1 << 6 | 1, rest, opcode]);
        }
        self.operands(out, b, 1);
    }

    /// The prefix 62: the same with one more bit for the numbers of registers; numbers of double
    /// precision; 512 bits; and a mask, of which 0 is none.
    pub fn evex(&mut self, opcode: u8, kind: u8, out: Xmm, a: Xmm, b: Operand, mask: u8) {
        let inverted = |number: u8, bit: u8| (!number >> bit) & 1;
        let (last, high) = match b {
            Operand::Register(xmm) => (xmm, inverted(xmm, 4)),
            Operand::Memory(base, _) => (base, 1),
        };
        let extensions =
            inverted(out, 3) << 3 | high << 2 | inverted(last, 3) << 1 | inverted(out, 4);
        self.bytes.extend([0x62, extensions << 4 | 1]);
        self.bytes.extend([1 << 7 | (!a & 15) << 3 | 1 << 2 | kind]);
        self.bytes.extend([2 << 5 | inverted(a, 4) << 3 | mask, opcode]);
        self.operands(out, b, 64);
    }

    /// The operands; an offset takes a byte if that can hold how many times `unit` it is.
    fn operands(&mut self, out: Xmm, b: Operand, unit: usize) {
        let out = (out & 7) << 3;
        match b {
            Operand::Register(xmm) => self.bytes.push(0xc0 | out | xmm & 7),
            Operand::Memory(base, offset) => {
                if let (0, Ok(units)) = (offset % unit, i8::try_from(offset / unit)) {
                    self.bytes.extend([0x40 | out | base & 7, units as u8]);
                } else {
                    let offset = i32::try_from(offset).expect("a short slice");
                    self.bytes.push(0x80 | out | base & 7);
                    self.bytes.extend(offset.to_le_bytes());
                }
            }
        }
    }

    /// `mov rax, bits`.
    pub fn rax(&mut self, bits: u64) {
        self.bytes.extend([0x48, 0xb8]);
        self.bytes.extend(bits.to_le_bytes());
    }

    /// Writes 64 bits to all of the last register.
    pub fn constant(&mut self, bits: u64) {
        self.rax(bits);
        match self.width {
            // `vmovq xmm15, rax`.
            Width::One => self.bytes.extend([0xc4, 0x61, 0xf9, 0x6e, 0xf8]),
            Width::Ymm => {
                self.bytes.extend([0xc4, 0x61, 0xf9, 0x6e, 0xf8]);
                // `vpbroadcastq ymm15, xmm15`.
                self.bytes.extend([0xc4, 0x42, 0x7d, 0x59, 0xff]);
            }
            // `vpbroadcastq zmm31, rax`.
            Width::Zmm => self.bytes.extend([0x62, 0x62, 0xfd, 0x48, 0x7c, 0xf8]),
        }
    }

    /// `lea to, [base + offset]`.
    pub fn address(&mut self, to: u8, base: u8, offset: usize) {
        let offset = i32::try_from(offset).expect("a short slice");
        self.bytes.extend([0x48 | to >> 3 << 2 | base >> 3, 0x8d]);
        self.bytes.push(0x80 | (to & 7) << 3 | base & 7);
        self.bytes.extend(offset.to_le_bytes());
    }

    /// Forgets the upper parts of registers, which other code takes to be 0: `vzeroupper`.
    pub fn forget_upper(&mut self) {
        if self.width != Width::One {
            self.bytes.extend([0xc5, 0xf8, 0x77]);
        }
    }
}
