//! Gauss–Legendre quadrature within a step.

/// The places in `[0, 1]` and the weights of the quadratures with 2 to 5 points. That with `n` points
/// is exact for polynomials of degree `2n - 1`.
const GAUSS: [&[(f64, f64)]; 4] = [
    &[(0.211_324_865_405_187_1, 0.5), (0.788_675_134_594_812_9, 0.5)],
    &[
        (0.112_701_665_379_258_31, 5.0 / 18.0),
        (0.5, 8.0 / 18.0),
        (0.887_298_334_620_741_7, 5.0 / 18.0),
    ],
    &[
        (0.069_431_844_202_973_71, 0.173_927_422_568_726_93),
        (0.330_009_478_207_571_87, 0.326_072_577_431_273_07),
        (0.669_990_521_792_428_1, 0.326_072_577_431_273_07),
        (0.930_568_155_797_026_3, 0.173_927_422_568_726_93),
    ],
    &[
        (0.046_910_077_030_668_004, 0.118_463_442_528_094_54),
        (0.230_765_344_947_158_45, 0.239_314_335_249_683_24),
        (0.5, 64.0 / 225.0),
        (0.769_234_655_052_841_6, 0.239_314_335_249_683_24),
        (0.953_089_922_969_332, 0.118_463_442_528_094_54),
    ],
];

/// That which is no less accurate than a method of the given order: its error over a fixed time is
/// of order `2n > order`.
pub(super) fn gauss(order: u32) -> &'static [(f64, f64)] {
    let points = (order as usize / 2 + 1).clamp(2, 5);
    GAUSS[points - 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monomials_are_exact() {
        for (n, rule) in (2..).zip(GAUSS) {
            for power in 0..2 * n {
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(power)).sum();
                assert!((sum - 1.0 / f64::from(power + 1)).abs() < 1e-15, "{n} points, {power}");
            }
        }
        assert_eq!([1, 3, 4, 5, 6, 9].map(|order| gauss(order).len()), [2, 2, 3, 3, 4, 5]);
    }
}
