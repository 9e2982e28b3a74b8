//! Stiff problems of the Test Set for Initial Value Problem Solvers (F. Mazzia, C. Magherini,
//! release 2.4, 2008), at the end values that are published there.

use costate_odeint::{
    Auto, Bdf, Field, KenCarp4, Kvaerno3, Kvaerno4, Kvaerno5, Method, Options, Rodas5P, TrBdf2,
    solve, with_jacobian,
};

/// The tableau of `Auto` is that of the method with which it begins.
fn name(method: Method) -> &'static str {
    if let Method::Auto = method { "Auto" } else { method.tableau().name }
}

/// The largest relative error at the end, in units of the relative tolerance.
fn error(
    method: Method,
    f: impl Field<f64>,
    y0: &[f64],
    end: (f64, &[f64]),
    rtol: f64,
    atol: f64,
) -> f64 {
    let name = name(method);
    let options = Options::tolerance(rtol, atol);
    let solution = solve(method, f, y0, &[0.0, end.0], &options).unwrap_or_else(|e| {
        panic!("{name} at {rtol:e}: {e}");
    });
    let errors = solution.y(1).iter().zip(end.1).map(|(y, e)| ((y - e) / e).abs());
    errors.fold(0.0, f64::max) / rtol
}

fn robertson(_: f64, y: &[f64], dy: &mut [f64]) {
    let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
    (dy[0], dy[1], dy[2]) = (b - a, a - b - c, c);
}

fn robertson_jacobian(_: f64, y: &[f64], j: &mut [f64]) {
    let (b1, b2, c) = (1e4 * y[2], 1e4 * y[1], 6e7 * y[1]);
    j.copy_from_slice(&[-0.04, b1, b2, 0.04, -b1 - c, -b2, 0.0, c, 0.0]);
}

fn van_der_pol(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[1];
    dy[1] = ((1.0 - y[0] * y[0]) * y[1] - y[0]) * 1e6;
}

fn oregonator(_: f64, y: &[f64], dy: &mut [f64]) {
    let (s, w, q) = (77.27, 0.161, 8.375e-6);
    dy[0] = s * (y[1] + y[0] * (1.0 - q * y[0] - y[1]));
    dy[1] = (y[2] - (1.0 + y[0]) * y[1]) / s;
    dy[2] = w * (y[0] - y[2]);
}

fn hires(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = -1.71 * y[0] + 0.43 * y[1] + 8.32 * y[2] + 0.0007;
    dy[1] = 1.71 * y[0] - 8.75 * y[1];
    dy[2] = -10.03 * y[2] + 0.43 * y[3] + 0.035 * y[4];
    dy[3] = 8.32 * y[1] + 1.71 * y[2] - 1.12 * y[3];
    dy[4] = -1.745 * y[4] + 0.43 * y[5] + 0.43 * y[6];
    dy[5] = -280.0 * y[5] * y[7] + 0.69 * y[3] + 1.71 * y[4] - 0.43 * y[5] + 0.69 * y[6];
    dy[6] = 280.0 * y[5] * y[7] - 1.81 * y[6];
    dy[7] = -dy[6];
}

const VAN_DER_POL: [f64; 2] = [1.706_167_732_170_483, -0.892_809_701_024_797_5];
const OREGONATOR: [f64; 3] = [1.000_814_870_318_523, 1_228.178_521_549_917, 132.055_494_284_670_6];
const HIRES: [f64; 8] = [
    0.737_131_257_332_566_8e-3,
    0.144_248_572_631_618_5e-3,
    0.588_872_974_096_757_5e-4,
    0.117_565_134_328_314_9e-2,
    0.238_635_619_883_133_1e-2,
    0.623_896_825_274_279_6e-2,
    0.284_999_839_518_576_9e-2,
    0.285_000_160_481_423_1e-2,
];
const ROBERTSON: [f64; 3] =
    [0.208_334_014_970_125_5e-7, 0.833_336_077_033_471_3e-13, 0.999_999_979_166_505];

/// The methods and the tolerances at which they are of use.
fn cases() -> Vec<(Method, &'static [i32])> {
    vec![
        (TrBdf2.into(), &[4, 5]),
        (Kvaerno3.into(), &[4, 6]),
        (Kvaerno4.into(), &[5, 7]),
        (KenCarp4.into(), &[5, 7]),
        (Kvaerno5.into(), &[5, 7, 9]),
        (Rodas5P.into(), &[5, 7, 9]),
        (Bdf.into(), &[4, 6, 8]),
        (Auto.into(), &[5, 7, 9]),
    ]
}

#[test]
fn end_values() {
    for (method, exponents) in cases() {
        for &exponent in exponents {
            let rtol = 10f64.powi(-exponent);
            let bound = |what: &str, error: f64, bound: f64| {
                let name = name(method);
                // The estimate of a method of order 2 says little of how errors add up, and many
                // small steps add up many errors.
                let bound = if ["TrBdf2", "Bdf"].contains(&name) { 10.0 * bound } else { bound };
                assert!(
                    error < bound,
                    "{name}: {what} at {rtol:e}: {error:.2} times the tolerance"
                );
            };
            let f = with_jacobian(robertson, robertson_jacobian);
            let end = (1e11, &ROBERTSON[..]);
            let e = error(method, f, &[1.0, 0.0, 0.0], end, rtol, 1e-12 * rtol);
            bound("Robertson", e, 40.0);
            let end = (2.0, &VAN_DER_POL[..]);
            bound("Van der Pol", error(method, van_der_pol, &[2.0, 0.0], end, rtol, rtol), 30.0);
            let mut y0 = [0.0; 8];
            (y0[0], y0[7]) = (1.0, 0.0057);
            let end = (321.8122, &HIRES[..]);
            bound("HIRES", error(method, hires, &y0, end, rtol, 1e-4 * rtol), 40.0);
            let end = (360.0, &OREGONATOR[..]);
            let e = error(method, oregonator, &[1.0, 2.0, 3.0], end, rtol, 1e-6 * rtol);
            bound("Oregonator", e, 200.0);
        }
    }
}
