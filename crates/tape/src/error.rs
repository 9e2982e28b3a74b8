//! What can go wrong when a tape or a program runs.

use std::fmt;
use std::panic::Location;

/// The error of an operation that can fail while it runs, such as an ODE solve.
pub type CallError = Box<dyn std::error::Error + Send + Sync>;

/// An error of recording, differentiating or replaying.
///
/// Programming errors, such as shapes that do not match, are panics that name both shapes and the
/// caller's line; this type is for what depends on data.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Call { name: String, at: Option<&'static Location<'static>>, source: CallError },
    ValueDependent { at: &'static Location<'static> },
}

impl Error {
    pub(crate) fn call(
        name: &str,
        at: Option<&'static Location<'static>>,
        source: CallError,
    ) -> Self {
        Error { kind: Kind::Call { name: name.to_owned(), at, source } }
    }

    /// The error of an operation, for rules and functions that record it.
    #[track_caller]
    pub fn from_call(name: &str, source: impl Into<CallError>) -> Self {
        Error::call(name, Some(Location::caller()), source.into())
    }

    /// The error that an operation of the [`CallOp`](crate::CallOp) trait returned, if this is one.
    pub fn call_error(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        match &self.kind {
            Kind::Call { source, .. } => Some(source.as_ref()),
            Kind::ValueDependent { .. } => None,
        }
    }

    pub(crate) fn value_dependent(at: &'static Location<'static>) -> Self {
        Error { kind: Kind::ValueDependent { at } }
    }

    /// The error that an operation of the [`CallOp`](crate::CallOp) trait returned, if this is one.
    pub fn into_call_error(self) -> Result<CallError, Error> {
        match self.kind {
            Kind::Call { source, .. } => Ok(source),
            kind => Err(Error { kind }),
        }
    }

    /// Whether a function cannot be replayed because a number was read while it was recorded.
    pub fn is_value_dependent(&self) -> bool {
        matches!(self.kind, Kind::ValueDependent { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Call { name, at: Some(at), source } => {
                write!(f, "{name}, recorded at {at}: {source}")
            }
            Kind::Call { name, at: None, source } => write!(f, "{name}: {source}"),
            Kind::ValueDependent { at } => write!(
                f,
                "the function read a number while it was recorded, at {at}, so it cannot be \
                 replayed on other inputs; use `select`, `maximum` or `detach` instead of reading \
                 the value, or record it anew for each input"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Call { source, .. } => Some(source.as_ref()),
            Kind::ValueDependent { .. } => None,
        }
    }
}
