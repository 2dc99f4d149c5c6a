"""Calling one function of a file with arguments that its parameters' names ask for."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType
from typing import Any

import torch

from gradlint.runtime.arguments import arguments_for
from gradlint.runtime.verify.loader import SourceHook
from gradlint.runtime.verify.program import NotRunnable, Program, package


def call_function(program: Program, hook: SourceHook) -> None:
    """Import the file of ``program`` under its real name and call the function, to the end of what it returns.

    A coroutine is awaited, a generator consumed. Raises `NotRunnable` if there is no such function or nothing to call
    it with, and whatever the program raises.
    """
    function = _found(_imported(program.script, hook), program)
    arguments = _arguments(function, program)
    _consume(function(**arguments))


def _imported(script: str, hook: SourceHook) -> ModuleType:
    path = os.path.abspath(script)
    hook.own(path)
    _, name = package(path)
    if "." in name or name not in sys.modules:
        module = importlib.import_module(name) if "." in name else _loaded(name, path, hook)
    else:
        module = sys.modules[name]
    file = getattr(module, "__file__", None)
    if file is None or not os.path.samefile(file, path):
        raise NotRunnable(f"{script} cannot be imported: another module is called {name} ({file or 'built in'})")
    return module


def _loaded(name: str, path: str, hook: SourceHook) -> ModuleType:
    """Import a file that belongs to no package by its path: its name may be no identifier."""
    spec = spec_from_loader(name, SourceFileLoader(name, path))
    assert spec is not None and spec.loader is not None
    hook.adopt(spec)
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _found(module: ModuleType, program: Program) -> Callable[..., object]:
    """Return the function, taken from an instance where a class is on the way."""
    found: Any = module
    done: list[str] = []
    for name in program.function.split("."):
        if inspect.isclass(found):
            found = _instance(found, ".".join(done))
        done.append(name)
        if not hasattr(found, name):
            raise NotRunnable(f"{program.script} has no `{'.'.join(done)}`")
        found = getattr(found, name)
    if not callable(found):
        raise NotRunnable(f"`{program.function}` in {program.script} cannot be called")
    function: Callable[..., object] = found
    return function


def _instance(kind: type, name: str) -> object:
    try:
        inspect.signature(kind).bind()
    except (TypeError, ValueError):
        raise NotRunnable(f"`{name}` cannot be made without arguments; name a function that makes one") from None
    return kind()


def _arguments(function: Callable[..., object], program: Program) -> dict[str, Any]:
    try:
        with torch.device(program.device):
            arguments = arguments_for(function)
    except (LookupError, ValueError) as error:
        raise NotRunnable(f"`{program.function}` cannot be called: {error}") from None
    return {**arguments, "device": program.device} if "device" in arguments else arguments


def _consume(result: object) -> None:
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))
    elif isinstance(result, AsyncIterator):
        asyncio.run(_exhausted(result))
    elif inspect.isgenerator(result):
        for _ in result:
            pass


async def _awaited(result: Awaitable[object]) -> None:
    await result


async def _exhausted(result: AsyncIterator[object]) -> None:
    async for _ in result:
        pass
