"""What is compared: the problems, who runs each in which ways, and what costate is to reach."""

# What another build of costate, several processes of costate at once, the code of benches/floors, and the
# products of benches/peers/products.py are called in the tables.
OTHER = "costate, other build"
COPIES = "costate, a process a core"
HAND = "by hand"
PRODUCTS = "products alone"

# The problems: what runs of costate and of each peer, and by how much costate is to be faster.
PROBLEMS = {
    "spiral": ([], {"diffrax": ["stored", "checkpointed"], "torchdiffeq": ["unrolled"]},
               {"diffrax": 6, "torchdiffeq": 15}),
    "mlp": ([], {"diffrax": ["stored", "checkpointed"], "torchdiffeq": ["unrolled"]},
            {"diffrax": 5, "torchdiffeq": 15}),
    "mlp, rtol 1e-5": (["--rtol", "1e-5"], {"diffrax": ["stored"]}, {"diffrax": 5}),
    "mlp, f64, rtol 1e-6": (["--rtol", "1e-6", "--dtype", "f64"],
                            {"diffrax": ["stored"], "torchdiffeq": ["unrolled"]}, {}),
    "lotka_volterra": ([], {"diffrax": ["stored", "forward", "backsolve"],
                            "torchdiffeq": ["unrolled"]}, {"diffrax": 25, "torchdiffeq": 15}),
    "robertson": ([], {"diffrax": ["forward", "checkpointed"]}, {"diffrax": 25}),
    "cnf": ([], {"diffrax": ["stored", "checkpointed"]}, {"diffrax": 4}),
    "cnf_formula": ([], {"diffrax": ["stored_closed"], "torchdiffeq": ["unrolled"]},
                    {"diffrax": 1.3}),
    "wide": ([], {"diffrax": ["scan", "stored"], "torchdiffeq": ["unrolled"]}, {"diffrax": 1.15}),
}
# Code written by hand for a problem alone, in benches/floors: what runs of it, and how many times its
# time costate may take. By hand cnf is one problem: its trace is that of the formula.
FLOORS = {
    "spiral": (["spiral"], 1.7),
    "mlp": (["mlp"], 1.7),
    "mlp, rtol 1e-5": (["mlp", "--rtol", "1e-5"], 1.7),
    "lotka_volterra": (["lotka_volterra"], 3),
    "robertson": (["robertson"], 4),
    "cnf": (["cnf"], 2),
    "cnf_formula": (["cnf"], 2),
    "wide": (["wide"], None),
}
# What runs of CVODES and of diffsol, and by how much costate is to be faster than the fastest.
WAYS = ["simultaneous", "staggered", "simultaneous_controlled", "staggered_controlled", "adjoint"]
COMPILED = {
    "lotka_volterra": {"CVODES": (WAYS, 1), "diffsol": (["tsit45"], 10)},
    "robertson": {"CVODES": (WAYS, 1), "diffsol": (["bdf", "esdirk34"], 1)},
}
# By how much two threads are to be faster than one.
SCALING = {"cnf": 1.7, "cnf_formula": 1.7, "wide": 1.7}
# What part of the rate of large matrix products costate is to reach.
PEAK = {"wide": 0.75}
