/* Loss and gradient of a workload by CVODES, the C library of SUNDIALS:
 *
 *     cc -O3 -march=native -o cvodes cvodes_peer.c -lsundials_cvodes -lsundials_nvecserial \
 *         -lsundials_sunmatrixdense -lsundials_sunlinsoldense -lsundials_sunnonlinsolfixedpoint -lm
 *     cvodes DATA NAME WAY [--seconds SECONDS]
 *
 * NAME  lotka_volterra  Adams methods and fixed-point iterations
 *       robertson       backward differentiation formulas, Newton's method with the Jacobian given
 * WAY   simultaneous    forward sensitivities, their right-hand side given, solved with the state
 *       staggered       the same, solved after the state
 *       adjoint         the continuous adjoint, with quadratures for the parameters
 *       The first two with `_controlled` at the end control the errors of sensitivities as well as
 *       those of the state.
 *
 * DATA is the folder of NAME.safetensors. Everything is allocated at the first call and used again. */

#include <cvodes/cvodes.h>
#include <math.h>
#include <nvector/nvector_serial.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sundials/sundials_version.h>
#include <sunlinsol/sunlinsol_dense.h>
#include <sunmatrix/sunmatrix_dense.h>
#include <sunnonlinsol/sunnonlinsol_fixedpoint.h>
#include <time.h>

enum { MOST = 8, TIMES = 128 };

/* A problem: `n` components, `p` parameters, of which and of the first `starts` components of the start the
 * gradient is wanted. */
typedef struct {
    const char *name;
    int n, p, starts, stiff;
    double rtol, atol;
    const char *parameters;
    CVRhsFn f;
    CVLsJacFn jacobian;
    CVSensRhs1Fn sensitivity;
    CVRhsFnB adjoint;
    CVQuadRhsFnB quadrature;
    CVLsJacFnB jacobian_back;
    double scale[MOST];
} Problem;

/* What is solved. */
static double p[MOST], initial[MOST], ts[TIMES], target[TIMES * MOST];
static int times;
static long counts[3];

#define Y(i) NV_Ith_S(y, i)
#define D(i) NV_Ith_S(dy, i)
#define S(i) NV_Ith_S(s, i)
#define DS(i) NV_Ith_S(ds, i)

static void check(int flag, const char *what) {
    if (flag < 0) {
        fprintf(stderr, "%s: %s\n", what, CVodeGetReturnFlagName(flag));
        exit(1);
    }
}

/* x' = a x - b x y, y' = -c y + d x y */
static int lv_f(realtype t, N_Vector y, N_Vector dy, void *data) {
    D(0) = Y(0) * (p[0] - p[1] * Y(1));
    D(1) = Y(1) * (p[3] * Y(0) - p[2]);
    return 0;
}

static int lv_sensitivity(int ns, realtype t, N_Vector y, N_Vector dy, int i, N_Vector s, N_Vector ds,
                          void *data, N_Vector tmp1, N_Vector tmp2) {
    double x = Y(0), z = Y(1);
    DS(0) = (p[0] - p[1] * z) * S(0) - p[1] * x * S(1);
    DS(1) = p[3] * z * S(0) + (p[3] * x - p[2]) * S(1);
    switch (i) {
    case 0: DS(0) += x; break;
    case 1: DS(0) -= x * z; break;
    case 2: DS(1) -= z; break;
    case 3: DS(1) += x * z; break;
    }
    return 0;
}

static int lv_adjoint(realtype t, N_Vector y, N_Vector s, N_Vector ds, void *data) {
    double x = Y(0), z = Y(1);
    DS(0) = -(p[0] - p[1] * z) * S(0) - p[3] * z * S(1);
    DS(1) = p[1] * x * S(0) - (p[3] * x - p[2]) * S(1);
    return 0;
}

static int lv_quadrature(realtype t, N_Vector y, N_Vector s, N_Vector ds, void *data) {
    double x = Y(0), z = Y(1);
    DS(0) = -x * S(0);
    DS(1) = x * z * S(0);
    DS(2) = z * S(1);
    DS(3) = -x * z * S(1);
    return 0;
}

/* x' = -k1 x + k3 y z, y' = k1 x - k2 y^2 - k3 y z, z' = k2 y^2 */
static int ro_f(realtype t, N_Vector y, N_Vector dy, void *data) {
    double a = p[0] * Y(0), b = p[1] * Y(1) * Y(1), c = p[2] * Y(1) * Y(2);
    D(0) = c - a;
    D(1) = a - b - c;
    D(2) = b;
    return 0;
}

static void ro_matrix(N_Vector y, double sign, int transposed, SUNMatrix m) {
    double b = p[2] * Y(1), c = p[2] * Y(2), d = 2 * p[1] * Y(1);
    double j[3][3] = {{-p[0], c, b}, {p[0], -d - c, -b}, {0, d, 0}};
    for (int r = 0; r < 3; r++)
        for (int s = 0; s < 3; s++) SM_ELEMENT_D(m, r, s) = sign * (transposed ? j[s][r] : j[r][s]);
}

static int ro_jacobian(realtype t, N_Vector y, N_Vector dy, SUNMatrix m, void *data, N_Vector tmp1,
                       N_Vector tmp2, N_Vector tmp3) {
    ro_matrix(y, 1, 0, m);
    return 0;
}

static int ro_jacobian_back(realtype t, N_Vector y, N_Vector s, N_Vector ds, SUNMatrix m, void *data,
                            N_Vector tmp1, N_Vector tmp2, N_Vector tmp3) {
    ro_matrix(y, -1, 1, m);
    return 0;
}

static int ro_sensitivity(int ns, realtype t, N_Vector y, N_Vector dy, int i, N_Vector s, N_Vector ds,
                          void *data, N_Vector tmp1, N_Vector tmp2) {
    double b = p[2] * Y(1), c = p[2] * Y(2), d = 2 * p[1] * Y(1);
    double from_x = p[0] * S(0), from_y = d * S(1), rest = c * S(1) + b * S(2);
    switch (i) {
    case 0: from_x += Y(0); break;
    case 1: from_y += Y(1) * Y(1); break;
    case 2: rest += Y(1) * Y(2); break;
    }
    DS(0) = rest - from_x;
    DS(1) = from_x - from_y - rest;
    DS(2) = from_y;
    return 0;
}

static int ro_adjoint(realtype t, N_Vector y, N_Vector s, N_Vector ds, void *data) {
    double b = p[2] * Y(1), c = p[2] * Y(2), d = 2 * p[1] * Y(1);
    DS(0) = p[0] * (S(0) - S(1));
    DS(1) = c * (S(1) - S(0)) + d * (S(1) - S(2));
    DS(2) = b * (S(1) - S(0));
    return 0;
}

static int ro_quadrature(realtype t, N_Vector y, N_Vector s, N_Vector ds, void *data) {
    DS(0) = Y(0) * (S(0) - S(1));
    DS(1) = Y(1) * Y(1) * (S(1) - S(2));
    DS(2) = Y(1) * Y(2) * (S(1) - S(0));
    return 0;
}

static const Problem problems[] = {
    {"lotka_volterra", 2, 4, 2, 0, 1e-8, 1e-8, "p", lv_f, NULL, lv_sensitivity, lv_adjoint,
     lv_quadrature, NULL, {1, 1}},
    {"robertson", 3, 3, 0, 1, 1e-8, 1e-10, "k", ro_f, ro_jacobian, ro_sensitivity, ro_adjoint,
     ro_quadrature, ro_jacobian_back, {1, 1e4, 1}},
};

/* The memory of the solver. */
static const Problem *problem;
static SUNContext context;
static void *memory;
static N_Vector y, s, quadratures, *sensitivities;
static int way_adjoint, method, controlled, back = -1;

static void linear_solver(int of_back) {
    SUNMatrix matrix = SUNDenseMatrix(problem->n, problem->n, context);
    SUNLinearSolver solver = SUNLinSol_Dense(y, matrix, context);
    if (of_back) {
        check(CVodeSetLinearSolverB(memory, back, solver, matrix), "linear solver");
        check(CVodeSetJacFnB(memory, back, problem->jacobian_back), "Jacobian");
    } else {
        check(CVodeSetLinearSolver(memory, solver, matrix), "linear solver");
        check(CVodeSetJacFn(memory, problem->jacobian), "Jacobian");
    }
}

static void start(void) {
    int n = problem->n, ns = problem->p + problem->starts;
    int family = problem->stiff ? CV_BDF : CV_ADAMS;
    SUNContext_Create(NULL, &context);
    y = N_VNew_Serial(n, context);
    s = N_VNew_Serial(n, context);
    quadratures = N_VNew_Serial(problem->p, context);
    memcpy(NV_DATA_S(y), initial, n * sizeof *initial);
    memory = CVodeCreate(family, context);
    check(CVodeInit(memory, problem->f, ts[0], y), "init");
    check(CVodeSStolerances(memory, problem->rtol, problem->atol), "tolerances");
    check(CVodeSetMaxNumSteps(memory, 1000000), "steps");
    if (problem->stiff)
        linear_solver(0);
    else
        check(CVodeSetNonlinearSolver(memory, SUNNonlinSol_FixedPoint(y, 0, context)), "fixed point");
    if (way_adjoint) {
        /* More steps than there are, so that none is taken twice. */
        check(CVodeAdjInit(memory, 20000, CV_HERMITE), "adjoint");
        return;
    }
    sensitivities = N_VCloneVectorArray(ns, y);
    for (int i = 0; i < ns; i++) N_VConst(0, sensitivities[i]);
    check(CVodeSensInit1(memory, ns, method, problem->sensitivity, sensitivities), "sensitivities");
    double bars[2 * MOST];
    for (int i = 0; i < ns; i++) bars[i] = i < problem->p && p[i] != 0 ? p[i] : 1;
    check(CVodeSetSensParams(memory, NULL, bars, NULL), "scales");
    check(CVodeSensEEtolerances(memory), "tolerances");
    check(CVodeSetSensErrCon(memory, controlled), "error control");
    if (!problem->stiff) {
        if (method == CV_SIMULTANEOUS)
            check(CVodeSetNonlinearSolverSensSim(memory, SUNNonlinSol_FixedPointSens(ns + 1, y, 0, context)),
                  "fixed point");
        else
            check(CVodeSetNonlinearSolverSensStg(memory, SUNNonlinSol_FixedPointSens(ns, y, 0, context)),
                  "fixed point");
    }
}

/* The loss of a state, and its cotangent. */
static double observe(int i, const double *state, double *bar) {
    double sum = 0;
    for (int c = 0; c < problem->n; c++) {
        double e = problem->scale[c] * (state[c] - target[i * problem->n + c]);
        sum += e * e;
        bar[c] = 2 * problem->scale[c] * e;
    }
    return sum;
}

static void add_counts(void *of) {
    long steps, evaluations, failures;
    CVodeGetNumSteps(of, &steps);
    CVodeGetNumErrTestFails(of, &failures);
    CVodeGetNumRhsEvals(of, &evaluations);
    counts[0] += steps;
    counts[1] += failures;
    counts[2] += evaluations;
}

static double by_sensitivities(double *gradient) {
    int n = problem->n, ns = problem->p + problem->starts;
    double bar[MOST], t;
    memcpy(NV_DATA_S(y), initial, n * sizeof *initial);
    for (int i = 0; i < ns; i++) {
        N_VConst(0, sensitivities[i]);
        if (i >= problem->p) NV_Ith_S(sensitivities[i], i - problem->p) = 1;
    }
    check(CVodeReInit(memory, ts[0], y), "init");
    check(CVodeSensReInit(memory, method, sensitivities), "sensitivities");
    double loss = observe(0, initial, bar);
    for (int i = 0; i < ns; i++) gradient[i] = i < problem->p ? 0 : bar[i - problem->p];
    for (int k = 1; k < times; k++) {
        check(CVode(memory, ts[k], y, &t, CV_NORMAL), "solve");
        check(CVodeGetSens(memory, &t, sensitivities), "sensitivities");
        loss += observe(k, NV_DATA_S(y), bar);
        for (int i = 0; i < ns; i++)
            for (int c = 0; c < n; c++) gradient[i] += bar[c] * NV_Ith_S(sensitivities[i], c);
    }
    memset(counts, 0, sizeof counts);
    add_counts(memory);
    return loss;
}

static double by_adjoint(double *gradient) {
    int n = problem->n, checkpoints;
    static double bars[TIMES][MOST];
    double t;
    memcpy(NV_DATA_S(y), initial, n * sizeof *initial);
    check(CVodeReInit(memory, ts[0], y), "init");
    check(CVodeAdjReInit(memory), "adjoint");
    double loss = observe(0, initial, bars[0]);
    for (int k = 1; k < times; k++) {
        check(CVodeF(memory, ts[k], y, &t, CV_NORMAL, &checkpoints), "solve");
        loss += observe(k, NV_DATA_S(y), bars[k]);
    }
    memset(counts, 0, sizeof counts);
    add_counts(memory);
    N_VConst(0, s);
    N_VConst(0, quadratures);
    for (int k = times - 1; k > 0; k--) {
        for (int c = 0; c < n; c++) NV_Ith_S(s, c) += bars[k][c];
        if (back < 0) {
            check(CVodeCreateB(memory, problem->stiff ? CV_BDF : CV_ADAMS, &back), "back");
            check(CVodeInitB(memory, back, problem->adjoint, ts[k], s), "init");
            check(CVodeSStolerancesB(memory, back, problem->rtol, problem->atol), "tolerances");
            check(CVodeSetMaxNumStepsB(memory, back, 1000000), "steps");
            if (problem->stiff)
                linear_solver(1);
            else
                check(CVodeSetNonlinearSolverB(memory, back, SUNNonlinSol_FixedPoint(s, 0, context)),
                      "fixed point");
            check(CVodeQuadInitB(memory, back, problem->quadrature, quadratures), "quadratures");
            check(CVodeQuadSStolerancesB(memory, back, problem->rtol, problem->atol), "tolerances");
            check(CVodeSetQuadErrConB(memory, back, 1), "error control");
        } else {
            check(CVodeReInitB(memory, back, ts[k], s), "init");
            check(CVodeQuadReInitB(memory, back, quadratures), "quadratures");
        }
        check(CVodeB(memory, ts[k - 1], CV_NORMAL), "back");
        check(CVodeGetB(memory, back, &t, s), "back");
        check(CVodeGetQuadB(memory, back, &t, quadratures), "quadratures");
        add_counts(CVodeGetAdjCVodeBmem(memory, back));
    }
    for (int i = 0; i < problem->p; i++) gradient[i] = NV_Ith_S(quadratures, i);
    for (int c = 0; c < problem->starts; c++) gradient[problem->p + c] = NV_Ith_S(s, c) + bars[0][c];
    return loss;
}

/* The entries of a tensor of float64 numbers. */
static int tensor(const char *file, const char *name, double *to, int most) {
    unsigned long long header, from, until;
    char key[64];
    memcpy(&header, file, 8);
    snprintf(key, sizeof key, "\"%s\":{", name);
    const char *entry = strstr(file + 8, key);
    const char *offsets = entry ? strstr(entry, "\"data_offsets\":[") : NULL;
    if (!offsets || sscanf(offsets, "\"data_offsets\":[%llu,%llu]", &from, &until) != 2 ||
        (until - from) / 8 > (unsigned long long)most) {
        fprintf(stderr, "no tensor %s of at most %d numbers\n", name, most);
        exit(1);
    }
    memcpy(to, file + 8 + header + from, until - from);
    return (int)((until - from) / 8);
}

static char *contents(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    /* The header is searched as a string. */
    char *found = calloc(size + 1, 1);
    if (!found || fread(found, 1, size, file) != (size_t)size) exit(1);
    fclose(file);
    return found;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static void say(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    fflush(stdout);
}

static double peak_megabytes(void) {
    char line[256];
    long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmHWM: %ld", &kilobytes);
    return kilobytes / 1024.0;
}

int main(int count, char **words) {
    if (count < 4) {
        fprintf(stderr, "usage: %s DATA NAME simultaneous[_controlled]|staggered[_controlled]|adjoint [--seconds S [--turns]]\n", words[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        if (!strcmp(problems[i].name, words[2])) problem = &problems[i];
    char way[32];
    snprintf(way, sizeof way, "%s", words[3]);
    char *suffix = strstr(way, "_controlled");
    controlled = suffix != NULL;
    if (suffix) *suffix = 0;
    way_adjoint = !strcmp(way, "adjoint");
    int simultaneous = !strcmp(way, "simultaneous");
    method = simultaneous ? CV_SIMULTANEOUS : CV_STAGGERED;
    if (!problem || !(way_adjoint || simultaneous || !strcmp(way, "staggered"))) {
        fprintf(stderr, "there is no such problem, or no such way\n");
        return 2;
    }
    double seconds = count > 5 && !strcmp(words[4], "--seconds") ? atof(words[5]) : 1;
    /* After each line of the input, or at once. */
    int in_turns = count > 6 && !strcmp(words[6], "--turns");
    char *file = contents(words[1], problem->name);
    double reference[2 * MOST], loss_reference, gradient[2 * MOST], loss = 0;
    tensor(file, problem->parameters, p, MOST);
    tensor(file, "y0", initial, MOST);
    times = tensor(file, "ts", ts, TIMES);
    tensor(file, "target", target, TIMES * MOST);
    tensor(file, "ref.loss", &loss_reference, 1);
    char name[64];
    snprintf(name, sizeof name, "ref.grad.%s", problem->parameters);
    int size = tensor(file, name, reference, MOST);
    if (problem->starts) size += tensor(file, "ref.grad.y0", reference + size, MOST);

    enum { REPEATS = 1 << 20 };
    double *lasted = malloc(REPEATS * sizeof *lasted), begin = now();
    start();
    loss = way_adjoint ? by_adjoint(gradient) : by_sensitivities(gradient);
    double first = now() - begin;
    int repeats = 0, before = 0;
    char line[64];
    if (in_turns) say("{\"ready\":true}\n");
    while (!in_turns || fgets(line, sizeof line, stdin)) {
        before = repeats;
        /* What others left in the caches is not to be timed. */
        if (in_turns) loss = way_adjoint ? by_adjoint(gradient) : by_sensitivities(gradient);
        for (begin = now(); repeats < before + 2 || now() - begin < 1e3 * seconds; repeats++) {
            if (repeats == REPEATS) {
                fprintf(stderr, "more than %d repeats\n", REPEATS);
                return 1;
            }
            double start = now();
            loss = way_adjoint ? by_adjoint(gradient) : by_sensitivities(gradient);
            lasted[repeats] = now() - start;
        }
        if (!in_turns) break;
        qsort(lasted + before, repeats - before, sizeof *lasted, compare);
        say("{\"ms_median\":%.6f,\"ms_min\":%.6f}\n", lasted[(before + repeats) / 2], lasted[before]);
    }
    qsort(lasted, repeats, sizeof *lasted, compare);
    double distance = 0, norm = 0;
    for (int i = 0; i < size; i++) {
        distance += (gradient[i] - reference[i]) * (gradient[i] - reference[i]);
        norm += reference[i] * reference[i];
    }
    char version[32];
    SUNDIALSGetVersion(version, sizeof version);
    printf("{\"peer\":\"CVODES\",\"version\":\"%s\",\"name\":\"%s\",\"gradient\":\"%s\",\"dtype\":\"f64\","
           "\"threads\":1,\"loss\":%.17g,\"loss_rel_err\":%.3e,\"grad_rel_err\":%.3e,"
           "\"steps\":{\"accepted\":%ld,\"rejected\":%ld,\"f_evals\":%ld},\"first_call_ms\":%.3f,"
           "\"ms_median\":%.5f,\"ms_min\":%.5f,\"repeats\":%d,\"peak_rss_mb\":%.1f}\n",
           version, problem->name, words[3], loss, fabs(loss / loss_reference - 1), sqrt(distance / norm),
           counts[0], counts[1], counts[2], first, lasted[repeats / 2], lasted[0], repeats,
           peak_megabytes());
    return 0;
}
