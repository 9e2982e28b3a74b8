//! The problems, each a type, so that every library compiles its own copy of the field.

/// An autonomous initial value problem with `N` components.
pub trait Problem<const N: usize>: Copy + Default + 'static {
    const NAME: &'static str;
    /// The time at the end; the start is 0.
    const END: f64;
    /// Whether implicit methods are for it; then `jacobian` is there.
    const STIFF: bool = false;
    /// The absolute tolerance, as a multiple of the relative one.
    const ATOL: f64 = 1.0;

    fn y0() -> [f64; N];

    fn field(y: &[f64], dy: &mut [f64]);

    /// `∂f_i/∂y_j` at place `i N + j`.
    fn jacobian(_y: &[f64], _jacobian: &mut [f64]) {
        unreachable!("the problem is not stiff")
    }

    /// The state at the end, if it is published.
    fn end() -> Option<[f64; N]> {
        None
    }
}

#[derive(Clone, Copy, Default)]
pub struct LotkaVolterra;

impl Problem<2> for LotkaVolterra {
    const NAME: &'static str = "Lotka-Volterra";
    const END: f64 = 20.0;
    fn y0() -> [f64; 2] {
        [1.0, 1.0]
    }
    fn field(y: &[f64], dy: &mut [f64]) {
        dy[0] = 1.5 * y[0] - y[0] * y[1];
        dy[1] = y[0] * y[1] - 3.0 * y[1];
    }
}

/// To a time at which errors have not grown too much.
#[derive(Clone, Copy, Default)]
pub struct Lorenz;

impl Problem<3> for Lorenz {
    const NAME: &'static str = "Lorenz";
    const END: f64 = 5.0;
    fn y0() -> [f64; 3] {
        [1.0, 0.0, 0.0]
    }
    fn field(y: &[f64], dy: &mut [f64]) {
        dy[0] = 10.0 * (y[1] - y[0]);
        dy[1] = y[0] * (28.0 - y[2]) - y[1];
        dy[2] = y[0] * y[1] - 8.0 / 3.0 * y[2];
    }
}

/// Seven stars (E. Hairer, S. P. Nørsett, G. Wanner, *Solving Ordinary Differential Equations I*,
/// II.10).
#[derive(Clone, Copy, Default)]
pub struct Pleiades;

impl Problem<28> for Pleiades {
    const NAME: &'static str = "Pleiades";
    const END: f64 = 3.0;
    fn y0() -> [f64; 28] {
        [
            3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0, 3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 1.75, -1.5, 0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0,
        ]
    }
    fn field(y: &[f64], dy: &mut [f64]) {
        for i in 0..7 {
            let mut sum = [0.0; 2];
            for j in (0..7).filter(|&j| j != i) {
                let (dx, dz) = (y[j] - y[i], y[7 + j] - y[7 + i]);
                let r2 = dx * dx + dz * dz;
                let factor = (j + 1) as f64 / (r2 * r2.sqrt());
                sum[0] += factor * dx;
                sum[1] += factor * dz;
            }
            (dy[i], dy[7 + i]) = (y[14 + i], y[21 + i]);
            (dy[14 + i], dy[21 + i]) = (sum[0], sum[1]);
        }
    }
}

/// The reference is that of the Test Set for Initial Value Problem Solvers (F. Mazzia,
/// C. Magherini), II-10.
#[derive(Clone, Copy, Default)]
pub struct Robertson;

impl Problem<3> for Robertson {
    const NAME: &'static str = "Robertson";
    const END: f64 = 1e11;
    const STIFF: bool = true;
    const ATOL: f64 = 1e-10;
    fn y0() -> [f64; 3] {
        [1.0, 0.0, 0.0]
    }
    fn field(y: &[f64], dy: &mut [f64]) {
        let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
        (dy[0], dy[1], dy[2]) = (b - a, a - b - c, c);
    }
    fn jacobian(y: &[f64], jacobian: &mut [f64]) {
        let (b1, b2, c) = (1e4 * y[2], 1e4 * y[1], 6e7 * y[1]);
        jacobian.copy_from_slice(&[-0.04, b1, b2, 0.04, -b1 - c, -b2, 0.0, c, 0.0]);
    }
    fn end() -> Option<[f64; 3]> {
        Some([0.208_334_014_970_125_5e-7, 0.833_336_077_033_471_3e-13, 0.999_999_979_166_505])
    }
}

/// The Brusselator with diffusion on a square (Hairer, Nørsett, Wanner, II.10) with no flux through
/// its sides, on a grid of 16 by 16: first the one substance, then the other.
#[derive(Clone, Copy, Default)]
pub struct Brusselator;

const GRID: usize = 16;
const CELLS: usize = GRID * GRID;

impl Problem<{ 2 * CELLS }> for Brusselator {
    const NAME: &'static str = "Brusselator 2-D";
    const END: f64 = 7.5;
    fn y0() -> [f64; 2 * CELLS] {
        std::array::from_fn(|i| {
            let (row, column) = (i % CELLS / GRID, i % GRID);
            let at = |k: usize| k as f64 / (GRID - 1) as f64;
            if i < CELLS { 0.5 + at(row) } else { 1.0 + 5.0 * at(column) }
        })
    }
    fn field(y: &[f64], dy: &mut [f64]) {
        let (u, v) = y.split_at(CELLS);
        let (du, dv) = dy.split_at_mut(CELLS);
        let diffusion = 2e-3 * ((GRID - 1) * (GRID - 1)) as f64;
        for row in 0..GRID {
            // Beyond a side it is as before it.
            let (up, down) = (if row > 0 { row - 1 } else { 1 }, row + 1);
            let down = if down < GRID { down } else { GRID - 2 };
            for column in 0..GRID {
                let left = if column > 0 { column - 1 } else { 1 };
                let right = if column + 1 < GRID { column + 1 } else { GRID - 2 };
                let i = row * GRID + column;
                let laplacian = |w: &[f64]| {
                    w[up * GRID + column]
                        + w[down * GRID + column]
                        + w[row * GRID + left]
                        + w[row * GRID + right]
                        - 4.0 * w[i]
                };
                let uuv = u[i] * u[i] * v[i];
                du[i] = 1.0 + uuv - 4.4 * u[i] + diffusion * laplacian(u);
                dv[i] = 3.4 * u[i] - uuv + diffusion * laplacian(v);
            }
        }
    }
}
