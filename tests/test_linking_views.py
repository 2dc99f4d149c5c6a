"""What each file is told of the others, and that it is told nothing where there is nothing to tell."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interfaces import at, call, cls, decorator, file, function, project
from msgspec.structs import replace

from gradlint.domains import tensor
from gradlint.domains.grad_mode import INHERITED, OFF, ON
from gradlint.domains.values import CONTAINER, INSTANCE, MOST_ATOMS, SCALAR, TENSOR
from gradlint.linking.interface import (
    EMPTY,
    Anything,
    Call,
    Constant,
    Effect,
    Ends,
    Given,
    Graphed,
    Interface,
    Made,
    Named,
    Several,
    Thing,
    View,
    decode_view,
    encode,
)
from gradlint.linking.link import Link
from gradlint.linking.names import Names
from gradlint.linking.views import MOST_ENTRIES, views

T = TypeVar("T")
WALKS = (Effect("backward", at(2), ON, (Given("loss"),), tensor.ANY, "backward"),)
"""What a function does that calls ``loss.backward()``."""
MODULE = "torch.nn.Module"


def all_views(*files: Interface) -> dict[str, View]:
    interfaces = project(*files)
    return views(interfaces, Names(interfaces))


def view_of(path: str, *files: Interface) -> View:
    return all_views(*files)[path]


# -- nothing to tell ---------------------------------------------------------------------------------------------


def test_files_that_have_nothing_to_do_with_each_other_are_told_nothing() -> None:
    found = all_views(file("a.py", function("f", effects=WALKS)), file("b.py", function("f", call("c.f"))))
    assert found == {"a.py": EMPTY, "b.py": EMPTY}


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"ends": ((INHERITED, Ends(INHERITED, INHERITED)), (ON, Ends(INHERITED, 0)), (OFF, Ends(OFF, OFF)))},
        {"ends": ((INHERITED, Ends(0, INHERITED)),), "abstract": True},
        {"ends": ((INHERITED, Ends(INHERITED, 0, INHERITED, ((ON, ON), (OFF, OFF)))),)},
        {"returns": ((Constant(None),), (Anything(),))},
        {"returns": ((Made(SCALAR, tensor.PLAIN),),)},
        {"returns": ((Made(TENSOR, tensor.ANY),), (Made(TENSOR, tensor.GRAPH | tensor.PLAIN),))},
        {"returns": ((Several(((Anything(),), (Made(CONTAINER, tensor.PLAIN, holds=(Anything(),)),))),),)},
        {"parameter_uses": {"x": (("passed", "log", True), ("returned", "", False)), "y": ()}},
        {"marks": ("functools.cache",)},
        {"effects": (Effect("touch", at(2), ON, (Anything(),), 0),)},
    ],
)
def test_a_function_of_which_nothing_is_known_is_not_told(known: dict[str, Any]) -> None:
    lib = file("lib.py", function("f", **known))
    assert view_of("main.py", lib, file("main.py", function("main", call("lib.f")), wants="lib.f")) == EMPTY


def test_names_that_lead_nowhere_are_not_told() -> None:
    main = file("main.py", wants="torch.no_grad lib lib.missing other.f")
    assert view_of("main.py", file("lib.py", function("f", effects=WALKS)), main) == EMPTY


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"returns": ((Given("self.x"),),)},
        {"returns": ((Made(TENSOR, tensor.PLAIN),),)},
        {"returns": ((Made(TENSOR, tensor.CUT), Anything()),)},
        {"effects": (Effect("edit", at(2), ON, (Given("self.count"),), tensor.ANY, "+="),)},
    ],
)
def test_a_class_that_has_nothing_to_do_with_gradients_is_not_told(known: dict[str, Any]) -> None:
    box = cls("Box", "builtins.object", "torch.utils.data.Dataset", methods="get", size=Made(SCALAR, tensor.PLAIN))
    lib = file("lib.py", function("Box.get", judged=False, **known), classes=[box])
    assert view_of("main.py", lib, file("main.py", wants="lib.Box")) == EMPTY


def test_a_class_with_a_forward_that_is_judged_is_told() -> None:
    lib = file("lib.py", function("Box.get", judged=True), classes=[cls("Box", "builtins.object", methods="get")])
    assert "lib.py:Box" in view_of("main.py", lib, file("main.py", wants="lib.Box")).classes


@pytest.mark.parametrize(
    "known",
    [
        {"wrappers": decorator("torch.no_grad")},
        {"effects": WALKS},
        {"graphed": (Graphed(at(1), (Given("model"),), "model(x)", INHERITED, 0, ()),)},
        {"callbacks": (("f", INHERITED),)},
        {"ends": ((INHERITED, Ends(OFF, 0)),)},
        {"returns": ((Made(TENSOR, tensor.GRAPH),),)},
    ],
)
def test_a_class_is_told_if_a_method_of_it_has_to_do_with_gradients(known: dict[str, Any]) -> None:
    lib = file("lib.py", function("Box.get", **known), classes=[cls("Box", methods="get")])
    view = view_of("main.py", lib, file("main.py", wants="lib.Box"))
    assert [*view.classes, *view.functions] == ["lib.py:Box", "lib.py:Box.get"]


# -- functions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known",
    [
        {"wrappers": decorator("torch.no_grad")},
        {"effects": WALKS},
        {"effects": (Effect("edit", at(2), ON, (Given("x"),), tensor.ANY, "add_"),)},
        {"effects": (Effect("touch", at(2), ON, (Anything(), Given("x")), 0),)},
        {"graphed": (Graphed(at(1), (Given("model"),), "model(x)", INHERITED, 0, ()),)},
        {"callbacks": (("closure", OFF),)},
        {"ends": ((INHERITED, Ends(OFF, 0)),)},
        {"ends": ((INHERITED, Ends(0, INHERITED)),)},
        {"ends": ((ON, Ends(INHERITED, OFF)),)},
        {"ends": ((INHERITED, Ends(INHERITED, 0, OFF)),)},
        {"ends": ((INHERITED, Ends(INHERITED, 0, INHERITED, ((OFF, ON),))),)},
        {"returns": ((Anything(),), (Given("x"),))},
        {"returns": ((Named("torch.relu"),),)},
        {"returns": ((Made(TENSOR, tensor.GRAPH),),)},
        {"returns": ((Made(TENSOR, tensor.CUT | tensor.OFF),),)},
        {"returns": ((Made("torch.nn.Linear", tensor.PLAIN),),)},
        {"returns": ((Several(((Constant(None),), (Given("x"),))),),)},
        {"returns": ((Made(CONTAINER, tensor.PLAIN, holds=(Given("x"),)),),)},
        {"parameter_uses": {"x": (("walked", "x.backward", True),)}},
        {"parameter_uses": {"x": (("returned", "", True),)}},
    ],
)
def test_a_function_of_which_something_is_known_is_told(known: dict[str, Any]) -> None:
    lib = file("lib.py", function("f", **known))
    view = view_of("main.py", lib, file("main.py", wants="lib.f"))
    assert view.aliases == {"lib.f": "lib.py:f"}
    assert view.functions == {"lib.py:f": function("f", asks=False, judged=True, **known)}


def test_a_function_is_told_without_what_nobody_needs() -> None:
    lib = file("lib.py", function("f", call("g"), effects=WALKS, parameter_uses={"x": (), "y": (("off", "", True),)}))
    (told,) = view_of("main.py", lib, file("main.py", wants="lib.f")).functions.values()
    assert told == function("f", asks=False, judged=True, effects=WALKS, parameter_uses={"y": (("off", "", True),)})


def test_names_are_told_as_ids_of_the_file_that_says_them() -> None:
    things: tuple[Thing, ...] = (
        Named(".nets.Net"),
        Made(INSTANCE, tensor.PLAIN, ".nets.Net"),
        Several(((Made(CONTAINER, tensor.PLAIN, holds=(Named("torch.relu"), Named(".nets.Net"))),),)),
    )
    effects = (Effect("step", at(1), ON, (Made(INSTANCE, tensor.PLAIN, ".nets.Net"),), tensor.PLAIN),)
    lib = file(
        "pkg/lib.py", function("f", returns=(things,), effects=effects, marks=(".nets.wraps", "functools.cache"))
    )
    nets = file("pkg/nets.py", function("wraps"), classes=[cls("Net")])
    (told,) = view_of("main.py", lib, nets, file("main.py", wants="pkg.lib.f")).functions.values()
    net = "pkg/nets.py:Net"
    assert told.marks == ("pkg/nets.py:wraps", "functools.cache")
    assert told.effects[0].what == (Made(INSTANCE, tensor.PLAIN, net),)
    assert told.returns == (
        (
            Named(net),
            Made(INSTANCE, tensor.PLAIN, net),
            Several(((Made(CONTAINER, tensor.PLAIN, holds=(Named("torch.relu"), Named(net))),),)),
        ),
    )


def test_a_name_may_come_through_a_package() -> None:
    package = file("pkg/__init__.py", imports={"step": ".engine.step"})
    engine = file("pkg/engine.py", function("step", effects=WALKS))
    view = view_of("main.py", package, engine, file("main.py", wants="pkg.step pkg.engine.step"))
    assert view.aliases == {"pkg.step": "pkg/engine.py:step", "pkg.engine.step": "pkg/engine.py:step"}
    assert [*view.functions] == ["pkg/engine.py:step"]


def test_a_file_is_told_nothing_of_its_own_functions_but_their_ids() -> None:
    package = file("pkg/__init__.py", imports={"step": ".engine.step"})
    engine = file("pkg/engine.py", function("step", effects=WALKS), wants="pkg.step")
    assert view_of("pkg/engine.py", package, engine) == View(aliases={"pkg.step": "pkg/engine.py:step"})


# -- other names -------------------------------------------------------------------------------------------------


def named(want: str, *, path: str = "main.py", **names: tuple[Thing, ...]) -> View:
    """What ``path`` is told that wants one name; ``names`` are those of the module ``pkg.lib``."""
    lib = replace(file("pkg/lib.py", function("f", effects=WALKS), function("g")), names=names)
    nets = file("pkg/nets.py", classes=[cls("Net", MODULE)], imports={"again": ".lib.again"})
    package = file("pkg/__init__.py", imports={"it": ".lib.it"})
    return view_of(path, lib, nets, package, file("pkg/sub/deep.py"), file(path, wants=want))


NET = Made(INSTANCE, tensor.PLAIN, ".nets.Net")


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("main.py", "pkg.lib.it"),
        ("main.py", "pkg.it"),
        ("pkg/use.py", ".lib.it"),
        ("pkg/use.py", ".it"),
        ("pkg/sub/use.py", "..lib.it"),
        ("pkg/sub/use.py", "..it"),
    ],
)
def test_a_name_for_something_from_outside(path: str, want: str) -> None:
    assert named(want, path=path, it=(Named("torch.no_grad"),)) == View(aliases={want: "torch.no_grad"})


def test_a_name_from_outside_that_is_called_so_is_not_told() -> None:
    assert named("torch.no_grad", it=(Named("torch.no_grad"),)) == EMPTY


@pytest.mark.parametrize("it", [Named("typing.Any"), Constant("cuda"), Constant(None), Made(SCALAR, tensor.PLAIN)])
def test_a_name_for_something_that_says_nothing_is_not_told(it: Thing) -> None:
    assert named("pkg.it", it=(it,)) == EMPTY


def test_a_constant() -> None:
    assert named("pkg.it", it=(Constant(False),)) == View(values={"pkg.it": (Constant(False),)})


def test_an_object_is_told_with_its_class() -> None:
    view = named("pkg.it", it=(Constant(None), NET))
    assert view.values == {"pkg.it": (Constant(None), Made(INSTANCE, tensor.PLAIN, "pkg/nets.py:Net"))}
    assert [*view.classes] == ["pkg/nets.py:Net"]


def test_a_name_may_be_one_of_several_things() -> None:
    view = named("pkg.it", it=(Named("torch.no_grad"), Named("pkg/lib.py:f"), Named("pkg/lib.py:g")))
    assert view.values == {"pkg.it": (Named("pkg/lib.py:f"), Named("pkg/lib.py:g"), Named("torch.no_grad"))}
    assert [*view.functions] == ["pkg/lib.py:f"]


@pytest.mark.parametrize("other", [Named(".missing.it"), Anything(), Named(".nets.again")])
def test_a_name_that_may_be_anything_is_not_told(other: Thing) -> None:
    assert named("pkg.it", it=(Named("torch.no_grad"), other), again=(Named(".nets.again"),)) == EMPTY


# -- classes -----------------------------------------------------------------------------------------------------


def test_a_class_of_another_file_that_is_a_module() -> None:
    base = file("base.py", classes=[cls("Base", MODULE)])
    nets = file("nets.py", function("Net.forward"), classes=[cls("Net", "base.Base", methods="forward")])
    view = view_of("main.py", base, nets, file("main.py", wants="nets.Net"))
    assert view.aliases == {"nets.Net": "nets.py:Net"}
    assert view.classes == {
        "nets.py:Net": cls("Net", "base.py:Base", methods="forward"),
        "base.py:Base": cls("Base", MODULE),
    }
    assert view.functions == {}


def test_a_class_is_told_with_the_methods_that_it_inherits() -> None:
    base = file("base.py", function("Base.fit", effects=WALKS), classes=[cls("Base", methods="fit")])
    lib = file("lib.py", function("Trainer.log"), classes=[cls("Trainer", "base.Base", methods="log")])
    view = view_of("main.py", base, lib, file("main.py", wants="lib.Trainer"))
    assert [*view.classes] == ["lib.py:Trainer", "base.py:Base"]
    assert [*view.functions] == ["base.py:Base.fit"]


def test_a_method_that_hides_one_is_told_although_nothing_is_known_of_it() -> None:
    base = file("base.py", function("Base.fit", effects=WALKS), classes=[cls("Base", methods="fit")])
    lib = file("lib.py", function("Trainer.fit"), classes=[cls("Trainer", "base.Base", methods="fit")])
    view = view_of("main.py", base, lib, file("main.py", wants="lib.Trainer"))
    assert set(view.functions) == {"base.py:Base.fit", "lib.py:Trainer.fit"}


def test_what_functions_return_and_attributes_hold_belongs_to_what_is_told() -> None:
    net = Made(INSTANCE, tensor.PLAIN, "nets.Net")
    nets = file("nets.py", classes=[cls("Net", MODULE, head=Made(INSTANCE, tensor.PLAIN, "heads.Head"))])
    heads = file("heads.py", classes=[cls("Head", MODULE, loss=Made(INSTANCE, tensor.PLAIN, "losses.Loss"))])
    losses = file("losses.py", classes=[cls("Loss", MODULE, box=Made(INSTANCE, tensor.PLAIN, "boxes.Box"))])
    boxes = file("boxes.py", classes=[cls("Box", MODULE)])
    lib = file("lib.py", function("build", returns=((net,),)))
    files = nets, heads, losses, boxes, lib
    view = view_of("main.py", *files, file("main.py", wants="lib.build"))
    assert [*view.functions] == ["lib.py:build"]
    assert [*view.classes] == ["nets.py:Net", "heads.py:Head"]
    assert view.classes["nets.py:Net"].attributes == {"head": (Made(INSTANCE, tensor.PLAIN, "heads.py:Head"),)}


def test_there_is_an_end_to_what_a_file_is_told() -> None:
    near = [function(f"f{index:03}", effects=WALKS) for index in range(MOST_ENTRIES + 50)]
    wants = " ".join(f"lib.{one.qualname}" for one in near)
    view = view_of("main.py", file("lib.py", *near), file("main.py", wants=wants))
    assert [*view.functions] == [f"lib.py:f{index:03}" for index in range(MOST_ENTRIES)]
    assert len(view.aliases) == MOST_ENTRIES


def test_what_a_file_names_is_told_before_what_belongs_to_it() -> None:
    methods = [f"m{index:03}" for index in range(MOST_ENTRIES)]
    big = cls("Big", methods=" ".join(methods))
    lib = file("lib.py", *(function(f"Big.{name}", effects=WALKS) for name in methods), classes=[big])
    other = file("other.py", function("step", effects=WALKS))
    view = view_of("main.py", lib, other, file("main.py", wants="lib.Big other.step"))
    assert view.aliases == {"lib.Big": "lib.py:Big", "other.step": "other.py:step"}
    assert len(view.functions) + len(view.classes) == MOST_ENTRIES


# -- overrides ---------------------------------------------------------------------------------------------------


def trainers(count: int, **known: Any) -> list[Interface]:
    base = file("base.py", function("Base.loss", abstract=True), classes=[cls("Base", methods="loss")])
    names = [f"t{index:02}" for index in range(count)]
    below = [
        file(f"{name}.py", function("T.loss", **known), classes=[cls("T", "base.Base", methods="loss")])
        for name in names
    ]
    return [base, *below]


def test_an_abstract_method_is_told_what_replaces_it() -> None:
    view = view_of("base.py", *trainers(2, effects=WALKS))
    assert view.overrides == {"Base.loss": ("t00.py:T.loss", "t01.py:T.loss")}
    assert [*view.functions] == ["t00.py:T.loss", "t01.py:T.loss"]


def test_what_replaces_a_method_without_saying_anything_is_not_told() -> None:
    assert view_of("base.py", *trainers(2)) == EMPTY


def test_all_that_may_replace_a_method_are_told_or_none() -> None:
    third = file("t99.py", function("T.loss"), classes=[cls("T", "base.Base", methods="loss")])
    assert [*view_of("base.py", *trainers(1, effects=WALKS), third).functions] == ["t00.py:T.loss", "t99.py:T.loss"]
    assert view_of("base.py", *trainers(MOST_ATOMS, effects=WALKS), third) == EMPTY


def test_a_method_with_code_is_told_what_replaces_it_if_it_asks() -> None:
    base = function("Base.loss", effects=WALKS)
    _, below = trainers(1, effects=WALKS)
    classes = [cls("Base", methods="loss")]
    assert view_of("base.py", file("base.py", base, classes=classes), below) == EMPTY
    asking = file("base.py", base, classes=classes, wants="base.py:Base.loss")
    assert view_of("base.py", asking, below).overrides == {"Base.loss": ("t00.py:T.loss",)}


# -- callers -----------------------------------------------------------------------------------------------------


def modes_told(view: View, name: str) -> list[tuple[int, bool]]:
    return [(caller.modes, caller.sure) for caller in view.callers.get(name, ())]


def test_a_function_is_told_who_calls_it_if_that_makes_a_difference_to_it() -> None:
    lib = file("lib.py", function("evaluate"), function("log", asks=False))
    main = file("main.py", function("main", call("lib.evaluate", modes=OFF), call("lib.log", modes=OFF)))
    view = view_of("lib.py", lib, main)
    assert [*view.callers] == ["evaluate"]
    assert modes_told(view, "evaluate") == [(OFF, True)]


def test_a_function_that_leads_to_one_that_asks_is_told_too() -> None:
    run = function("run", call("lib.py:evaluate"), asks=False)
    lib = file("lib.py", function("evaluate"), run, function("start", call("lib.py:run"), asks=False))
    view = view_of("lib.py", lib, file("main.py", function("main", call("lib.start", modes=OFF))))
    assert [*view.callers] == ["start"]


def test_a_sure_caller_that_does_not_guard_is_told_as_evidence() -> None:
    view = view_of("lib.py", file("lib.py", function("f")), file("main.py", function("main", call("lib.f", 7))))
    assert view.callers["f"][0].path == (("main.py", at(7), "main"),)


METHOD = file(
    "lib.py", function("Net.rollout_all", returns=((Given("x"),),)), classes=[cls("Net", methods="rollout_all")]
)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (call("?.rollout_all"), []),
        (call("?.rollout_all", modes=ON, uses="returned passed"), []),
        (call("?.rollout_all", modes=OFF), [(OFF, False)]),
        (call("?.rollout_all", uses="walked"), [(INHERITED, False)]),
    ],
)
def test_a_caller_known_by_name_alone_is_told_if_it_may_silence(made: Call, told: list[tuple[int, bool]]) -> None:
    main = file("main.py", function("main", made))
    assert modes_told(view_of("lib.py", METHOD, main), "Net.rollout_all") == told


def test_what_becomes_of_nothing_does_not_matter() -> None:
    returns_nothing = function("Net.rollout_all", returns=((Constant(None),),))
    lib = file("lib.py", returns_nothing, classes=METHOD.classes.values())
    main = file("main.py", function("main", call("?.rollout_all", uses="walked")))
    assert view_of("lib.py", lib, main) == EMPTY


def test_callers_of_the_same_file_are_not_told() -> None:
    lib = file("lib.py", function("evaluate"), function("main", call("lib.py:evaluate", modes=OFF)))
    assert view_of("lib.py", lib) == EMPTY


# -- asked -------------------------------------------------------------------------------------------------------


def test_functions_that_matter_to_somebody_are_asked_for() -> None:
    lib = file("lib.py", function("f", asks=False, solved=False), function("g", asks=False, solved=False))
    calls = (call("lib.f", matters=True), call("lib.g"))
    assert view_of("lib.py", lib, file("main.py", function("main", *calls))) == View(asked=frozenset(["f"]))


def test_functions_that_matter_in_their_own_file_are_not_asked_for() -> None:
    lib = file("lib.py", function("f", asks=False), function("g", call("lib.py:f", matters=True), asks=False))
    assert view_of("lib.py", lib) == EMPTY


def test_who_is_meant_by_name_alone_is_not_asked() -> None:
    main = file("main.py", function("main", call("?.rollout_all", matters=True)))
    assert view_of("lib.py", METHOD, main) == EMPTY


# -- the whole project -------------------------------------------------------------------------------------------


def small_project() -> list[Interface]:
    net = Made(INSTANCE, tensor.PLAIN, ".nets.Net")
    return [
        file("pkg/__init__.py", imports={"fit": ".engine.fit", "Net": ".nets.Net"}),
        file("pkg/nets.py", function("Net.forward"), classes=[cls("Net", MODULE, methods="forward")]),
        file("pkg/engine.py", function("fit", call("pkg.Net"), call(".tools.check"), effects=WALKS), wants="pkg.Net"),
        file("pkg/tools.py", function("check", call(".engine.fit", modes=OFF)), function("make", returns=((net,),))),
        *trainers(3, effects=WALKS),
        file("main.py", function("", call("pkg.fit", 3, uses="walked", matters=True)), wants="pkg.fit pkg.tools.make"),
        file("eval.py", function("main", call("pkg.fit", 4, modes=OFF), call("?.loss")), wants="pkg.fit pkg.Net"),
    ]


@given(st.permutations(small_project()), st.randoms(use_true_random=False))
def test_no_order_makes_a_difference(files: list[Interface], random: Random) -> None:
    def shuffled(entries: dict[str, T]) -> dict[str, T]:
        return dict(random.sample([*entries.items()], len(entries)))

    same = [replace(one, functions=shuffled(one.functions), classes=shuffled(one.classes)) for one in files]
    known, found = all_views(*small_project()), all_views(*same)
    assert {path: encode(view) for path, view in found.items()} == {path: encode(view) for path, view in known.items()}


def test_views_can_be_stored() -> None:
    found = all_views(*small_project())
    assert any(view != EMPTY for view in found.values())
    assert all(decode_view(encode(view)) == view for view in found.values())


def test_thousands_of_files_finish() -> None:
    count = 3000
    files = [
        file(
            f"pkg/m{index}.py",
            function("f", call(f".m{(index * 7 + 1) % count}.f", modes=(INHERITED, OFF)[index % 2]), effects=WALKS),
            function("Net.forward", call(f".m{(index * 3 + 2) % count}.f", uses="returned")),
            classes=[cls("Net", f".m{index // 2}.Net" if index else MODULE, methods="forward")],
            wants=f".m{(index * 7 + 1) % count}.f .m{index // 2}.Net",
        )
        for index in range(count)
    ]
    link = Link()
    for one in files:
        link.tell(one)
    told = link.views()
    assert len(told) == count
    assert all(len(encode(view)) < 10_000 for view in told.values())


# -- round by round ----------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_told_again() -> None:
    link = Link()
    lib, main = file("lib.py", function("f", effects=WALKS)), file("main.py", wants="lib.f")
    link.tell(lib)
    link.tell(main)
    told = link.views()
    assert [*told] == ["main.py"]
    assert told["main.py"] == view_of("main.py", lib, main)
    assert link.views() == {}
    link.tell(file("lib.py", function("f", effects=WALKS), function("g")))
    assert link.views() == {}
    link.tell(file("lib.py", function("f", wrappers=decorator("torch.no_grad"))))
    assert [*link.views()["main.py"].functions] == ["lib.py:f"]


def test_a_file_that_there_is_nothing_to_tell_any_more_is_told_so() -> None:
    link = Link()
    link.tell(file("lib.py", function("f", effects=WALKS)))
    link.tell(file("main.py", wants="lib.f"))
    link.views()
    link.tell(file("main.py"))
    assert link.views() == {"main.py": EMPTY}
    assert link.views() == {}


def test_what_a_function_was_asked_or_told_once_does_not_come_and_go() -> None:
    link = Link()
    main = file("main.py", function("main", call("lib.f", modes=OFF, matters=True)))
    link.tell(main)
    link.tell(file("lib.py", function("f")))
    told = link.views()
    link.tell(file("lib.py", function("f", asks=False)))
    link.tell(file("main.py", function("main", call("lib.f", modes=OFF))))
    assert link.views() == {}
    assert modes_told(told["lib.py"], "f") == [(OFF, True)]
    link.tell(file("lib.py"))
    assert link.views() == {"lib.py": View(asked=frozenset(["f"]))}


def test_a_project_of_nothing() -> None:
    assert Link().views() == {}
