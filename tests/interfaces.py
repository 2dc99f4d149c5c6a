"""What files tell each other, written by hand in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradlint.domains.grad_mode import INHERITED
from gradlint.linking.interface import Call, Class, Function, Interface, Named, Place, Thing, Wrapper


def at(line: int) -> Place:
    return Place(line, 1, line, 9)


def call(callee: str, line: int = 1, *, modes: int = INHERITED, uses: str = "", matters: bool = False) -> Call:
    return Call(callee, at(line), modes, frozenset(uses.split()), matters)


def function(qualname: str, *calls: Call, **known: Any) -> Function:
    return Function(
        qualname,
        at(1),
        (),
        **{"solved": True, "asks": True, "judged": known.get("asks", True), "calls": calls, **known},
    )


def decorator(context: str, flag: bool | None = None, *, absent: bool = True) -> tuple[Wrapper, ...]:
    return (Wrapper(context, flag, absent),)


def cls(qualname: str, *bases: str, methods: str = "", **attributes: Thing) -> Class:
    own = {name: f"{qualname}.{name}" for name in methods.split()}
    held: dict[str, tuple[Thing, ...]] = {name: (thing,) for name, thing in attributes.items()}
    return Class(qualname, at(1), tuple((Named(base),) for base in bases), own, held)


def file(
    path: str,
    *functions: Function,
    classes: Iterable[Class] = (),
    imports: Mapping[str, str] | None = None,
    wants: str = "",
) -> Interface:
    return Interface(
        path,
        names={name: (Named(dotted),) for name, dotted in (imports or {}).items()},
        functions={one.qualname: one for one in functions},
        classes={one.qualname: one for one in classes},
        wants=frozenset(wants.split()),
    )


def project(*files: Interface) -> dict[str, Interface]:
    return {one.path: one for one in files}
