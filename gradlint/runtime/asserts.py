"""Asserts about gradients for tests of any kind. Their messages name the file, line and column to blame.

They run the code that they are given once (``assert_no_graph_retained``: as often as it is told to) and leave the
model as that code leaves it: parameters that it steps are stepped. What they return is what the code returned.

A ``step`` takes no argument, or the model if it needs one; bind others: ``lambda: train_step(model, batch)``.
All raise `AssertionError` where the claim does not hold, and `TypeError` or `ValueError` if they are misused.
Exceptions of the code itself go through, unless they are what the assert is about: then they are its cause.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from gradlint.runtime.checks import frozen as freezing
from gradlint.runtime.checks import reach, retention
from gradlint.runtime.checks.cause import Cause, counted, listed, message
from gradlint.runtime.checks.edits import broken_by, edit_causes
from gradlint.runtime.checks.frozen import tensors_of
from gradlint.runtime.checks.graphs import GraphWatch, tensors_in
from gradlint.runtime.checks.putback import restoring
from gradlint.runtime.comparison.compare import compare
from gradlint.runtime.comparison.result import Aspect, Comparison, Outcome, State
from gradlint.runtime.frames import Frames
from gradlint.runtime.place import place_of
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording

Step = Callable[..., Any]


def assert_gradients_reach(model: object, step: Step, *, ignore: Iterable[str] = (), every_way: bool = False) -> Any:
    """Assert that ``step`` brings every parameter that requires grad a gradient that is not all zero.

    ``model`` is a module, or parameters: a tensor, an iterable of tensors or a mapping of names to tensors. Their
    gradients are cleared first, and are afterwards what ``step`` leaves; a gradient that arrives and is cleared in the
    step counts. ``ignore`` names parameters, or modules with all theirs, that need none. With ``every_way``, a
    parameter that gets a gradient on one way while another way to the loss is cut (one of two branches is detached)
    fails too. Runs under ``record(level=2)``.
    """
    __tracebackhide__ = True
    names = tuple(ignore)
    trained = {
        name: tensor
        for name, tensor in tensors_of(model).items()
        if tensor.requires_grad and not any(name == each or name.startswith(f"{each}.") for each in names)
    }
    if not trained:
        help_text = "call `requires_grad_(True)` on what is to be trained"
        raise AssertionError(message(f"no parameter of {_called(model)} requires grad", [], help_text))
    arrivals = reach.Arrivals(trained)
    recording, result, error = _recorded(2, step, arrivals.watching(), model)
    lost = [*arrivals.none, *arrivals.zero]
    if error is not None and not (lost and reach.backward_error(recording, error)):
        raise error
    if lost:
        causes, help_text = reach.causes(recording, arrivals)
        what = f"{len(lost)} of {counted(len(trained), 'parameter')} of {_called(model)} got no gradient"
        details = [*(f"{name}: None" for name in arrivals.none), *(f"{name}: all zero" for name in arrivals.zero)]
        raise AssertionError(message(what, causes, help_text, _first(details, error))) from error
    if every_way and (causes := reach.partial(recording, trained)):
        what = f"part of the gradient of {_called(model)} is lost on the way"
        raise AssertionError(message(what, causes, "let every way to the loss keep its graph, or drop `every_way`"))
    return result


def assert_no_graph(fn: Step) -> Any:
    """Assert that ``fn`` builds no graph, as evaluation should not: nothing that it computes requires grad."""
    __tracebackhide__ = True
    frames = Frames()
    watch = GraphWatch(frames)
    with watch:
        result = _run(fn)
    causes = [
        Cause(frames.place(spot), f"`{name}` records a graph here" + (f", {count} times" if count > 1 else ""))
        for (name, spot), count in watch.made.items()
    ]
    if not causes and any(tensor.grad_fn is not None for tensor in tensors_in(result)):
        causes = [Cause(_defined(fn), "what this returns has a graph, which was recorded elsewhere")]
    if causes:
        total = sum(watch.made.values())
        help_text = "run it under `torch.no_grad()` or `torch.inference_mode()`"
        raise AssertionError(message(f"{_name(fn)} builds a graph of {counted(total, 'call')}", causes, help_text))
    return result


def assert_grad_mode_restored(fn: Step) -> Any:
    """Assert that the gradient mode behind ``fn`` is the one before it, also if ``fn`` raises.

    If it is not, it is put back. An exception of ``fn`` goes through if the mode is in order.
    """
    __tracebackhide__ = True
    try:
        with restoring() as left:
            result = _run(fn)
    except Exception as error:
        if left.changed:
            raise AssertionError(left.message(_name(fn), f", and raised {type(error).__name__}")) from error
        raise
    if left.changed:
        raise AssertionError(left.message(_name(fn)))
    return result


def assert_frozen(module: object, step: Step, *, gradients: bool = True, buffers: bool = True) -> Any:
    """Assert that ``step`` changes no bit of the parameters of ``module`` and brings them no gradient.

    ``module`` is a module, or parameters as for `assert_gradients_reach`. ``buffers`` (such as the statistics of
    batch normalisation) count unless switched off. Without ``gradients`` only values count: in a step of a GAN's
    generator, gradients go through the discriminator. Values are compared with copies (memory for one more module),
    and every write is watched, so that ``torch.compile`` runs eagerly here.
    """
    __tracebackhide__ = True

    def find() -> dict[str, Any]:
        return tensors_of(module, buffers)

    watch = freezing.Frozen(find, gradients)
    recording, result, error = _recorded(1, step, watch.watching(), module)
    if error is not None:
        raise error
    if watch.changes:
        raise AssertionError(frozen_message(watch.changes, recording, _called(module)))
    return result


def frozen_message(changes: list[freezing.Change], recording: Recording, called: str) -> str:
    """Return the message for tensors that did not stay as they were; ``called`` names what they belong to."""
    causes, help_text = freezing.causes(changes, recording)
    names = {change.name for change in changes}
    details = [f"{change.name}: {change.kind.value}" for change in changes]
    return message(
        f"{counted(len(names), 'tensor')} of {called} did not stay frozen", causes, help_text, _first(details)
    )


def assert_no_saved_edit(step: Step) -> Any:
    """Assert that no tensor is edited in place between being saved for backward and being used by it.

    Sees edits that torch does not (through ``.data``, numpy or a fused optimizer), which make gradients wrong without
    an error, and says of those that torch raises for which line did it. Runs under ``record(level=3)``.
    """
    __tracebackhide__ = True
    recording, result, error = _recorded(3, step)
    edits = [edit for edit in recording.edits if edit.used]
    if error is not None and not broken_by(error, recording):
        raise error
    if error is not None:
        edits = edits or list(recording.edits)
    if edits or error is not None:
        what = "a saved tensor is edited in place before backward uses it"
        help_text = "edit a clone, write it out of place, or edit it behind the backward"
        details = [f"torch: {str(error).partition(chr(10))[0]}"] if error is not None else []
        raise AssertionError(message(what, edit_causes(edits), help_text, details)) from error
    return result


def assert_no_graph_retained(step: Step, iterations: int = 6) -> None:
    """Assert that the graphs alive do not grow in number from call to call of ``step``.

    ``step`` is called ``iterations`` times (2 at least); it may take the number of the call, from 0. A buffer of fixed
    length passes if it holds at most ``iterations // 2`` graphs: what counts is growth in the second half.
    """
    __tracebackhide__ = True
    if iterations < 2:
        raise ValueError(f"iterations must be 2 or more, not {iterations}: growth takes two calls to see")
    frames = Frames()
    watch = GraphWatch(frames)
    counts: list[int] = []
    with retention.quick_collections(), watch:
        for iteration in range(iterations):
            watch.iteration = iteration
            _run(step, iteration)
            gc.collect()
            counts.append(len(watch.alive()))
    if counts[-1] > counts[(iterations - 1) // 2]:
        causes, details = retention.causes(watch, frames, step)
        first, last = counted(counts[0], "node"), counted(counts[-1], "node")
        what = f"graphs pile up: {first} alive after the first call, {last} after {iterations} calls"
        help_text = "keep `x.detach()` or `x.item()` instead of `x`, or cut the state with `detach` between iterations"
        raise AssertionError(message(what, causes, help_text, details))


def assert_same_gradients(a: Any, b: Any, *, model: Any = None, tolerance: float = 1e-5, **options: Any) -> None:
    """Assert that ``a`` and ``b`` give the same gradients.

    Two functions are run from the same state by `gradlint.runtime.compare`, which ``model`` and ``options`` go to: each
    is called with a copy of the model. What else they do differently (memory, say) does not count. It fails too where
    the comparison cannot tell, or where no gradient was there to be compared. `ComparisonError` is raised where it
    cannot be made.

    Without ``model``, ``a`` and ``b`` are modules (or parameters as for `assert_gradients_reach`) whose ``.grad`` is
    there already: names must agree, and gradients to ``tolerance`` times the norm of all of them.
    """
    __tracebackhide__ = True
    if model is not None:
        comparison = compare(a, b, model=model, **options)
        if fault := _fault(comparison):
            raise AssertionError(f"{_name(a)} and {_name(b)} {fault}\n{comparison.table()}")
        return
    if options:
        raise TypeError(f"{listed(sorted(options))} can be given only together with `model`")
    differences = list(reach.gradient_differences(tensors_of(a), tensors_of(b), tolerance))
    if differences:
        what = f"{_called(a)} and {_called(b)} have different gradients"
        raise AssertionError(
            message(what, [], "run both through `compare` to see where they part", _first(differences))
        )


def _fault(comparison: Comparison) -> str:
    """Say why a comparison does not show the same gradients; nothing if it does."""
    outcomes = [comparison.of(aspect) for aspect in (Aspect.ERROR, Aspect.GRADIENTS)]
    if Outcome.CHANGED in outcomes:
        return "have different gradients"
    if Outcome.INCONCLUSIVE in outcomes:
        return "may have different gradients: the comparison cannot tell"
    if all(change.before.state is State.NONE for part in comparison.devices for change in part.parameters):
        return "have no gradients that could be compared"
    return ""


def _recorded(level: int, step: Step, inside: Any = None, *offered: object) -> tuple[Recording, Any, Exception | None]:
    """Run ``step`` under a recording; return it, the result, and the exception that ended the step."""
    result: Any = None
    error: Exception | None = None
    with record(level=level) as recording:
        try:
            if inside is None:
                result = _run(step, *offered)
            else:
                with inside:
                    result = _run(step, *offered)
        except Exception as raised:
            error = raised
    return recording, result, error


def _run(step: Step, *offered: object) -> Any:
    """Call ``step`` with as many of the ``offered`` arguments as it needs. Raises `TypeError` if it needs more."""
    try:
        parameters = inspect.signature(step).parameters.values()
    except ValueError:  # some builtins have none
        return step()
    needed = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(needed) > len(offered) or any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed):
        most = "no argument" if not offered else "at most one argument"
        names = listed([parameter.name for parameter in needed])
        raise TypeError(f"{_name(step)} may take {most}, but needs {names}: wrap it, as in `lambda: f(x)`")
    return step(*offered[: len(needed)])


def _name(function: Step) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "the lambda" if name == "<lambda>" else f"`{name}`"


def _called(model: object) -> str:
    return f"`{type(model).__name__}`" if isinstance(model, nn.Module) else "what was given"


def _defined(function: Step) -> Any:
    code = getattr(inspect.unwrap(function), "__code__", None) or type(function).__call__.__code__
    return place_of(code, 0)


def _first(details: list[str], error: Exception | None = None, limit: int = 10) -> list[str]:
    """Return the first ``details``, how many more there are, and what was raised."""
    more = [f"and {len(details) - limit} more"] if len(details) > limit else []
    raised = [f"and then {type(error).__name__}: {str(error).partition(chr(10))[0]}"] if error is not None else []
    return [*details[:limit], *more, *raised]
