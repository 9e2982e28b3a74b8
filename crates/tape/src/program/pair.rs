//! Pairs: two functions of one value that share most of their work, done in one pass. A layer with
//! `softplus` keeps its derivative for the backward pass, which is the `sigmoid` of the same value.

use costate_ops::Unary;

use crate::Real;
use crate::function::Function;
use crate::op::Op;

use super::chain::Unit;
use super::{Operand, Place};

/// Joins what is a pair.
pub(super) fn join<T: Real>(f: &Function<T>, units: Vec<Unit<T>>) -> Vec<Unit<T>> {
    let is = |unit: &Unit<T>, op: Unary| match unit {
        Unit::Single(id) if matches!(f.nodes[*id].op, Op::Unary(u) if u == op) => Some(*id),
        _ => None,
    };
    let softplus = units.iter().filter_map(|unit| is(unit, Unary::Softplus));
    let pairs: Vec<[usize; 2]> = softplus
        .filter_map(|first| {
            let same = |id: &usize| f.nodes[*id].args == f.nodes[first].args;
            let second = units.iter().filter_map(|unit| is(unit, Unary::Sigmoid)).find(same)?;
            Some([first, second])
        })
        .collect();
    let mut joined = Vec::with_capacity(units.len());
    for unit in units {
        match unit {
            Unit::Single(id) => match pairs.iter().find(|pair| pair.contains(&id)) {
                // At the place of that which comes first.
                Some(&[a, b]) if id == a.min(b) => joined.push(Unit::Pair([a, b])),
                Some(_) => {}
                None => joined.push(Unit::Single(id)),
            },
            unit => joined.push(unit),
        }
    }
    joined
}

/// A `softplus` and the `sigmoid` of the same value.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub arg: Operand,
    pub outs: [Operand; 2],
}

impl Pair {
    pub fn run<T: Real>(
        &self,
        inputs: &[&[T]],
        constants: &[T],
        arena: &mut [T],
        direct: &mut [&mut [T]],
    ) {
        let Pair { arg, outs } = self;
        let within = |operand: &Operand| match operand.place {
            Place::Arena => operand.offset..operand.offset + operand.len,
            _ => 0..0,
        };
        let places = [within(arg), within(&outs[0]), within(&outs[1])];
        let [x, mut first, mut second] =
            arena.get_disjoint_mut(places).expect("values have places of their own");
        let mut x = &*x;
        // Outputs are taken out, so that both can be written.
        let mut taken = [None, None];
        for (taken, out) in taken.iter_mut().zip(outs) {
            if let Place::Output(i) = out.place {
                *taken = Some((i, std::mem::take(&mut direct[i])));
            }
        }
        match arg.place {
            Place::Arena => {}
            Place::Input(i) => x = &inputs[i][arg.offset..][..arg.len],
            Place::Constant => x = &constants[arg.offset..][..arg.len],
            Place::Output(i) => x = &direct[i][arg.offset..][..arg.len],
        }
        let [first_taken, second_taken] = &mut taken;
        if let Some((_, out)) = first_taken {
            first = out;
        }
        if let Some((_, out)) = second_taken {
            second = out;
        }
        costate_ops::softplus_sigmoid(x, first, second);
        for (i, out) in taken.into_iter().flatten() {
            direct[i] = out;
        }
    }
}
