//! Parameters, layers, losses and optimisers composed from the tape and the solve.
