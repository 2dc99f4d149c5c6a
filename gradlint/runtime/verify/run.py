"""Running a program as Python does: a script, a module, or one function of a file.

The process belongs to the program from then on: ``sys.argv``, ``sys.path`` and the module ``__main__`` are what it
expects, and stay so for its threads and exit handlers.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from collections.abc import Collection
from concurrent.futures import thread as thread_pool
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType

from gradlint.runtime.verify.call import call_function
from gradlint.runtime.verify.loader import SourceHook
from gradlint.runtime.verify.program import NotRunnable, Program
from gradlint.runtime.verify.tracebacks import show

INTERRUPTED = 130
STOPPED = frozenset({INTERRUPTED, 143})
"""The exit codes after SIGINT and SIGTERM."""
_MAIN = "__main__"


def run(program: Program, hook: SourceHook) -> None:
    """Run ``program`` to its end and wait for its threads, as Python does before it ends.

    What the program raises is printed at once, without frames of ours, and raised. Raises `NotRunnable` if there is no
    such script, module or function.
    """
    program.require()
    before = set(threading.enumerate())
    try:
        _start(program, hook)
    except NotRunnable:
        raise
    except BaseException as error:
        show(error)
        raise
    finally:
        _await_threads(before)


def exit_code(error: BaseException | None) -> int:
    """Return the exit code of a program that ended with ``error``; None if it came to its end."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if not isinstance(error, SystemExit):
        return int(error is not None)
    if isinstance(error.code, int):
        return error.code & 0xFF
    return int(error.code is not None)


def _start(program: Program, hook: SourceHook) -> None:
    folder = program.folder
    _first_on_path(folder)
    if program.module:
        sys.argv = ["-m", *program.arguments]
        _run_spec(_module_spec(program.module), hook)
    elif program.function:
        sys.argv = [program.script, *program.arguments]
        call_function(program, hook)
    else:
        sys.argv = [program.script, *program.arguments]
        if os.path.isdir(program.script):
            spec = PathFinder.find_spec(_MAIN, [folder])
            assert spec is not None
            _run_spec(hook.adopt(spec), hook, sys.argv[0])
        else:
            path = os.path.join(os.getcwd(), program.script)
            _run_as_main(hook.compiled(path), path, SourceFileLoader(_MAIN, path), None)


def _first_on_path(folder: str) -> None:
    """Put ``folder`` in the place of the folder of our own start script."""
    starters = {os.path.dirname(os.path.abspath(sys.argv[0])), os.path.dirname(os.path.realpath(sys.argv[0]))}
    if sys.path and sys.path[0] in starters:
        del sys.path[0]
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)


def _module_spec(name: str) -> ModuleSpec:
    """Return the spec of the module to run; for a package that of its ``__main__``."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError as error:
        # What a package above it fails to import is the program's own error.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    except ValueError:
        spec = None
    if spec is None:
        raise NotRunnable(f"there is no module {name}")
    if spec.submodule_search_locations is not None:
        if name.endswith(f".{_MAIN}"):
            raise NotRunnable(f"the package {name} cannot be run")
        return _module_spec(f"{name}.{_MAIN}")
    return spec


def _run_spec(spec: ModuleSpec, hook: SourceHook, called: str = "") -> None:
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    if code is None or spec.origin is None:
        raise NotRunnable(f"the module {spec.name} holds no Python code to run")
    sys.argv[0] = called or spec.origin
    _run_as_main(code, spec.origin, spec.loader, spec)


def _run_as_main(code: CodeType, path: str, loader: object, spec: ModuleSpec | None) -> None:
    main = ModuleType(_MAIN)
    vars(main).update(
        __file__=path,
        __loader__=loader,
        __spec__=spec,
        __package__=spec.parent if spec is not None else None,
        __cached__=spec.cached if spec is not None else None,
        __builtins__=builtins,
        __annotations__={},
    )
    # Stays there: what the program pickles, or does when the process ends, looks for it.
    sys.modules[_MAIN] = main
    exec(code, vars(main))


def _await_threads(before: Collection[threading.Thread]) -> None:
    """Wait for the threads that the program started, but for workers of an executor: these end with the process."""
    for thread in threading.enumerate():
        if thread not in before and not thread.daemon and thread not in thread_pool._threads_queues:
            thread.join()


RUNS = (_start.__code__, _await_threads.__code__)
"""The code under which the program runs: what is called from there is the program's, what is not is ours."""
