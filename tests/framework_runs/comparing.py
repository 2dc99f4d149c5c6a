"""Compare rows with what was seen."""

from __future__ import annotations

from framework_runs.seen import SeenCall, SeenHook, SeenRun
from gradlint.torch_model.frameworks import Call, Hook, Runs


def hook_differences(row: Hook, seen: SeenHook) -> list[str]:
    """Return what a row says otherwise than the runs of the framework."""
    found = modes(row, seen)
    if row.result != seen.result:
        found.append(f"result: the row says {row.result}, seen was {seen.result}")
    claims = {"clears": row.clears > seen.clears, "steps": row.steps > seen.steps}
    return [*found, *(f"{field}: the row says so, it was not seen" for field, wrong in claims.items() if wrong)]


def modes(row: Hook | Runs, seen: SeenHook | SeenRun) -> list[str]:
    """Compare grad modes, all of which must have been seen, and the module mode: ``caller`` where it is not one."""
    found = []
    rare = set(row.on_request) if isinstance(row, Hook) else set[str]()
    if {*row.grad, *rare} != seen.grad:
        found.append(f"grad: the row says {sorted(row.grad)}, seen was {sorted(seen.grad)}")
    module = next(iter(seen.module)) if len(seen.module) == 1 else "caller"
    if row.module != module:
        found.append(f"module: the row says {row.module}, seen was {sorted(seen.module)}")
    return found


def call_differences(row: Call, seen: SeenCall) -> list[str]:
    """Return what a row says otherwise than the real call."""
    found = []
    if any(said != real for said, real in zip(row.parameters, seen.parameters, strict=False)):
        found.append(f"parameters: the row says {row.parameters}, they are {seen.parameters}")
    for field in ("backward", "steps", "clears", "evals", "trains"):
        said = {getattr(row, field)} - {""}
        if said != getattr(seen, field):
            found.append(f"{field}: the row says {sorted(said)}, seen was {sorted(getattr(seen, field))}")
    if row.guards and seen.recorded != {False}:
        found.append("guards: a graph was recorded" if seen.recorded else "guards: no parameter was used")
    if not row.guards and not row.runs and seen.guarded:
        found.append("guards: the row does not say so, but everything ran with gradients off")
    if row.later != seen.later:
        found.append(f"later: the row says {row.later}, seen was {seen.later}")
    return [*found, *returned(row, seen), *runs(row, seen)]


def returned(row: Call, seen: SeenCall) -> list[str]:
    """Compare what is returned, if the row knows."""
    found = []
    for value in seen.returned if row.returns else ():
        if len(row.returns) == 1:
            fits = row.returns[0] in value.whole
        else:
            pairs = list(zip(row.returns, value.parts, strict=False))
            fits = len(pairs) == len(row.returns) == len(value.parts) and all(each in part for each, part in pairs)
        if not fits:
            parts = [sorted(part) for part in value.parts]
            found.append(f"returns: the row says {row.returns}, seen was {sorted(value.whole)}, in parts {parts}")
    return found


def runs(row: Call, seen: SeenCall) -> list[str]:
    """Compare which arguments are run, and how."""
    found = []
    said = {each.argument: each for each in row.runs}
    if row.runs and set(said) != set(seen.runs):
        found.append(f"runs: the row says {sorted(said)}, seen was {sorted(seen.runs)}")
    for name in said.keys() & seen.runs.keys():
        differences = modes(said[name], seen.runs[name])
        if said[name].result != seen.runs[name].result:
            differences.append(f"result: the row says {said[name].result}, seen was {seen.runs[name].result}")
        found += [f"runs {name}: {each}" for each in differences]
    return found
