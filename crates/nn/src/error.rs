//! What can go wrong in training.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of training, solving and recording.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of costate: of a tape, of a solve, of training or of a file.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tape(costate_tape::Error),
    Solve(costate_odeint::Error),
    NonFinite { what: String },
    State { reason: String },
    File { path: PathBuf, reason: String, source: Option<std::io::Error> },
}

impl Error {
    pub(crate) fn non_finite(what: impl Into<String>) -> Error {
        Error { kind: Kind::NonFinite { what: what.into() } }
    }

    pub(crate) fn state(reason: impl Into<String>) -> Error {
        Error { kind: Kind::State { reason: reason.into() } }
    }

    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Error {
        let (path, reason) = (path.to_owned(), reason.into());
        Error { kind: Kind::File { path, reason, source: None } }
    }

    pub(crate) fn io(path: &Path, doing: &str, source: std::io::Error) -> Error {
        let (path, reason) = (path.to_owned(), format!("{doing}: {source}"));
        Error { kind: Kind::File { path, reason, source: Some(source) } }
    }

    /// Whether a loss or its gradient was not finite.
    pub fn is_non_finite(&self) -> bool {
        matches!(self.kind, Kind::NonFinite { .. })
    }

    /// The error of the ODE solve that failed, if one did.
    pub fn solve_error(&self) -> Option<&costate_odeint::Error> {
        match &self.kind {
            Kind::Solve(e) => Some(e),
            Kind::Tape(e) => e.call_error()?.downcast_ref(),
            _ => None,
        }
    }
}

impl From<costate_tape::Error> for Error {
    fn from(e: costate_tape::Error) -> Error {
        Error { kind: Kind::Tape(e) }
    }
}

impl From<costate_odeint::Error> for Error {
    fn from(e: costate_odeint::Error) -> Error {
        Error { kind: Kind::Solve(e) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tape(e) => e.fmt(f),
            Kind::Solve(e) => e.fmt(f),
            Kind::NonFinite { what } => write!(
                f,
                "{what} is not finite; the parameters are left as they were; try a smaller \
                 learning rate, or check the data"
            ),
            Kind::State { reason } => f.write_str(reason),
            Kind::File { path, reason, .. } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Tape(e) => Some(e),
            Kind::Solve(e) => Some(e),
            Kind::File { source: Some(e), .. } => Some(e),
            _ => None,
        }
    }
}
