"""Solvers of a `Formulation`: HiGHS, SciPy and CP-SAT. Each is imported when it is asked for (extra ``planners``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.extras import need
from kvmfw.errors import InternalError
from kvmfw.planners.formulation import Formulation

__all__ = ["SOLVERS", "Solution", "Solver", "solved"]

Ints = npt.NDArray[np.int64]
Solver = Literal["highs", "scipy", "cp-sat"]


class Solution(NamedTuple):
    """How many VMs of each variable are placed, and a bound that no solution's worth exceeds."""

    x: Ints
    bound: float


def solved(formulation: Formulation, solver: Solver, *, gap: float, seconds: float) -> Solution:
    """Solve, until the worth is within `gap` of the bound or the time is over.

    Raises
    ------
    MissingExtraError
        When the solver is not installed.
    """
    if not len(formulation.kind):
        return Solution(np.zeros(0, dtype=np.int64), 0.0)
    return SOLVERS[solver](formulation, gap, seconds)


def _matrix(one: Formulation) -> Any:
    sparse = need("scipy.sparse", "planners")
    shape = len(one.limits), len(one.kind)
    return sparse.csc_matrix((one.value.astype(float), (one.row, one.column)), shape=shape)


def _scipy(one: Formulation, gap: float, seconds: float) -> Solution:
    optimize = need("scipy.optimize", "planners")
    found = optimize.milp(
        -one.worth.astype(float),
        constraints=optimize.LinearConstraint(_matrix(one), ub=one.limits),
        bounds=optimize.Bounds(0, one.most),
        integrality=np.ones(len(one.kind)),
        options={"mip_rel_gap": gap, "time_limit": seconds},
    )
    if found.x is None:
        raise InternalError(f"SciPy found no placement: {found.message}")
    return Solution(np.rint(found.x).astype(np.int64), -float(found.mip_dual_bound))


# The relaxation is nearly integral: what is done before it is solved takes longer than it (1,000 hosts: 1.3 s, and 0.6 s so).
_HIGHS = {"output_flag": False, "presolve": "off", "mip_heuristic_run_feasibility_jump": False}


def _highs(one: Formulation, gap: float, seconds: float) -> Solution:
    highspy = need("highspy", "planners")
    order = np.lexsort((one.row, one.column))
    starts = np.concatenate([[0], np.cumsum(np.bincount(one.column, minlength=len(one.kind)))])
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(one.kind), len(one.limits)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = one.worth.astype(float)
    model.col_lower_, model.col_upper_ = np.zeros(len(one.kind)), one.most.astype(float)
    model.row_lower_ = np.full(len(one.limits), -highspy.kHighsInf)
    model.row_upper_ = one.limits.astype(float)
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = starts.astype(np.int32)
    model.a_matrix_.index_ = one.row[order].astype(np.int32)
    model.a_matrix_.value_ = one.value[order].astype(float)
    model.integrality_ = [highspy.HighsVarType.kInteger] * len(one.kind)
    solver = highspy.Highs()
    for option, value in (*_HIGHS.items(), ("mip_rel_gap", gap), ("time_limit", seconds)):
        solver.setOptionValue(option, value)
    solver.passModel(model)
    solver.run()
    info = solver.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        raise InternalError(
            f"HiGHS found no placement: {solver.modelStatusToString(solver.getModelStatus())}"
        )
    x = np.rint(np.array(solver.getSolution().col_value)).astype(np.int64)
    return Solution(x, float(info.mip_dual_bound))


# Presolve takes most of the time: parts of it that find next to nothing here are left out (1,000 hosts: half of solving).
_CP_SAT = {
    "num_workers": 1,
    "symmetry_level": 0,
    "cp_model_probing_level": 0,
    "find_big_linear_overlap": False,
}
_CP_SAT_LEAST = -(1 << 62)


def _cp_sat(one: Formulation, gap: float, seconds: float) -> Solution:
    cp_model = need("ortools.sat.python.cp_model", "planners")
    model = cp_model.CpModel()
    # As its own document: an object of Python for each term of each sum takes four times as long (0.06 s and 0.27 s).
    document = model.proto
    for most in one.most.tolist():
        document.variables.add().domain.extend((0, most))
    order = np.argsort(one.row, kind="stable")
    ends = np.cumsum(np.bincount(one.row, minlength=len(one.limits))).tolist()
    columns, values = one.column[order].tolist(), one.value[order].tolist()
    for start, end, limit in zip([0, *ends], ends, one.limits.tolist(), strict=False):
        row = document.constraints.add().linear
        row.vars.extend(columns[start:end])
        row.coeffs.extend(values[start:end])
        row.domain.extend((_CP_SAT_LEAST, limit))
    # It minimises.
    document.objective.vars.extend(range(len(one.most)))
    document.objective.coeffs.extend((-one.worth).tolist())
    document.objective.scaling_factor = -1.0
    solver = cp_model.CpSolver()
    for option, value in (*_CP_SAT.items(), ("relative_gap_limit", gap), ("max_time_in_seconds", seconds)):
        setattr(solver.parameters, option, value)
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise InternalError(f"CP-SAT found no placement: {solver.status_name(status)}")
    return Solution(
        np.array(solver.response_proto.solution, dtype=np.int64), float(solver.best_objective_bound)
    )


SOLVERS: dict[str, Callable[[Formulation, float, float], Solution]] = {
    "highs": _highs,
    "scipy": _scipy,
    "cp-sat": _cp_sat,
}
