//! Machine code on processors for which none is made.

use std::marker::PhantomData;

use crate::lanes::{Apart, LANES, LaneRegisters, SCALAR_REGISTERS, ScalarStep};
use crate::{Isa, Real};

/// A program as machine code, which is made for x86-64 only.
#[derive(Debug)]
pub struct Native<T> {
    none: std::convert::Infallible,
    of: PhantomData<fn(T)>,
}

impl<T: Real> Native<T> {
    /// `None`.
    pub fn compile(_: &[ScalarStep], _: usize) -> Option<Native<T>> {
        None
    }

    /// `None`.
    pub fn compile_apart(_: &[ScalarStep], _: usize, _: &[Apart]) -> Option<Native<T>> {
        None
    }

    /// `None`.
    pub fn compile_passing(
        _: &[ScalarStep],
        _: usize,
        _: &[Apart],
        _: [u8; 2],
    ) -> Option<Native<T>> {
        None
    }

    /// Cannot be called.
    pub fn run_passing(
        &self,
        _: T,
        _: &mut [T; SCALAR_REGISTERS],
        _: [&[T]; 2],
        _: [&mut [T]; 2],
    ) -> T {
        match self.none {}
    }

    /// Cannot be called.
    pub fn run(&self, _: &mut [T; SCALAR_REGISTERS]) {
        match self.none {}
    }

    /// Cannot be called.
    pub fn run_on(&self, _: &mut [T; SCALAR_REGISTERS], _: [&[T]; 2], _: [&mut [T]; 2]) {
        match self.none {}
    }
}

/// A program as machine code on several sets of numbers, which is made for x86-64 only.
#[derive(Debug)]
pub struct NativeLanes<T> {
    none: std::convert::Infallible,
    of: PhantomData<fn(T)>,
}

impl<T: Real> NativeLanes<T> {
    /// `None`.
    pub fn compile_apart(_: &[ScalarStep], _: usize, _: &[Apart]) -> Option<NativeLanes<T>> {
        None
    }

    /// `None`.
    pub fn compile_on(_: Isa, _: &[ScalarStep], _: usize, _: &[Apart]) -> Option<NativeLanes<T>> {
        None
    }

    /// Cannot be called.
    pub fn run_on(
        &self,
        _: &mut LaneRegisters<T>,
        _: [&[[T; LANES]]; 2],
        _: [&mut [[T; LANES]]; 2],
    ) {
        match self.none {}
    }
}
