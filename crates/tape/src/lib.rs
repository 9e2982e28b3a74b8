//! The recorded tape: variables, differentiation rules, replayable programs.
