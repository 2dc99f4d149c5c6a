"""What names, annotations and calls of one file stand for in the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from gradlint.linking.interface import (
    Anything,
    Call,
    Class,
    Constant,
    Function,
    Given,
    Interface,
    Made,
    Named,
    Place,
    Several,
    Thing,
)
from gradlint.linking.names import MOST_REPLACING, Names

PLACE = Place(1, 1, 1, 2)


def call(callee: str) -> Call:
    return Call(callee, PLACE, 1)


def function(qualname: str, *calls: str, abstract: bool = False) -> Function:
    return Function(qualname, PLACE, (), abstract=abstract, calls=tuple(map(call, calls)))


def cls(qualname: str, bases: str = "", methods: str = "", **attributes: Thing) -> Class:
    """Make a class; a base that may be several things has bars between them."""
    return Class(
        qualname,
        PLACE,
        tuple(tuple(map(Named, base.split("|"))) for base in bases.split()),
        {name: f"{qualname}.{name}" for name in methods.split()},
        {name: (thing,) for name, thing in attributes.items()},
    )


def interface(
    path: str,
    names: Mapping[str, str | Thing] | None = None,
    stars: str = "",
    functions: str | Iterable[Function] = (),
    classes: Iterable[Class] = (),
) -> Interface:
    """Make an interface in which all methods of the classes are functions, concrete ones unless they are given."""
    classes = list(classes)
    if isinstance(functions, str):
        functions = map(function, functions.split())
    methods = (function(qualname) for each in classes for qualname in each.methods.values())
    things: dict[str, tuple[Thing, ...]] = {
        name: tuple(map(Named, value.split("|"))) if isinstance(value, str) else (value,)
        for name, value in (names or {}).items()
    }
    return Interface(
        path,
        names=things,
        stars=tuple(stars.split()),
        functions={each.qualname: each for each in [*methods, *functions]},
        classes={each.qualname: each for each in classes},
    )


def names_of(*interfaces: Interface) -> Names:
    return Names({each.path: each for each in interfaces})


PACKAGE = names_of(
    interface("pkg/__init__.py", {"Net": ".models.Net", "run": ".engine.run", "engine": ".engine"}, ".ops"),
    interface("pkg/models.py", {"nn": "torch.nn"}, classes=[cls("Net", "Base", "forward"), cls("Base", "", "save")]),
    interface("pkg/engine.py", {"go": "pkg/engine.py:run"}, functions="run _private Trainer.fit"),
    interface("pkg/ops.py", {"_hidden": "pkg/ops.py:relu"}, functions="relu run"),
    interface("train.py", {"P": "pkg", "helper": "missing.helper"}, functions=[function(""), function("main")]),
    interface("ns/deep/a.py", functions="f outer.inner"),
)


@pytest.mark.parametrize(
    ("path", "dotted", "found"),
    [
        # imports
        ("train.py", "pkg.engine.run", "pkg/engine.py:run"),
        ("train.py", "pkg.engine", "pkg/engine.py:"),
        ("train.py", "pkg", "pkg/__init__.py:"),
        ("pkg/models.py", ".engine.run", "pkg/engine.py:run"),
        ("pkg/models.py", ".", "pkg/__init__.py:"),
        ("train.py", "ns.deep.a.f", "ns/deep/a.py:f"),
        # re-exports
        ("train.py", "pkg.Net", "pkg/models.py:Net"),
        ("train.py", "pkg.run", "pkg/engine.py:run"),
        ("pkg/models.py", ".run", "pkg/engine.py:run"),
        ("train.py", "pkg.engine.go", "pkg/engine.py:run"),
        ("train.py", "pkg.relu", "pkg/ops.py:relu"),
        ("train.py", "pkg._hidden", None),
        ("train.py", "pkg.ops._hidden", "pkg/ops.py:relu"),
        # attributes of what a name stands for
        ("pkg/engine.py", "train.P.Net", "pkg/models.py:Net"),
        ("pkg/engine.py", "train.P.ops.relu", "pkg/ops.py:relu"),
        ("pkg/engine.py", "train.P.missing", None),
        # members of classes
        ("train.py", "pkg.Net.forward", "pkg/models.py:Net.forward"),
        ("train.py", "pkg.Net.missing", None),
        ("train.py", "pkg.Net.forward.missing", None),
        # ids
        ("train.py", "pkg/engine.py:run", "pkg/engine.py:run"),
        ("train.py", "ns/deep/a.py:outer.inner", "ns/deep/a.py:outer.inner"),
        ("train.py", "train.py:", "train.py:"),
        ("train.py", "pkg/engine.py:Net", None),
        ("train.py", "missing.py:run", None),
        ("train.py", "missing.py:", None),
        ("train.py", "pkg/__init__.py:Net.forward", "pkg/models.py:Net.forward"),
        # what is not there
        ("train.py", "torch.nn.Linear", None),
        ("train.py", "train.helper", None),
        ("train.py", "", None),
        ("nowhere.py", "pkg.run", "pkg/engine.py:run"),
    ],
)
def test_a_name_stands_for(path: str, dotted: str, found: str | None) -> None:
    assert PACKAGE.resolve(path, dotted) == found


def test_a_name_may_stand_for_what_is_outside() -> None:
    assert PACKAGE.stands_for("train.py", "pkg.models.nn.Linear") == ("torch.nn.Linear",)
    assert PACKAGE.stands_for("train.py", "torch.no_grad") == ("torch.no_grad",)
    assert PACKAGE.stands_for("pkg/ops.py", "train.helper") == ("missing.helper",)
    assert PACKAGE.stands_for("train.py", "") == PACKAGE.stands_for("train.py", "pkg.missing") == ()


def test_a_name_of_several_things_is_none_of_them() -> None:
    names = names_of(
        interface("fast.py", functions="f"),
        interface("slow.py", {"g": "outside.g|slow.py:g", "h": Anything()}, functions="f g h"),
        interface("both.py", {"f": "fast.f|slow.f"}),
        interface("stars.py", stars="fast slow"),
    )
    for file in ("both", "stars"):
        assert names.resolve("t.py", f"{file}.f") is None
        assert names.stands_for("t.py", f"{file}.f") == ("fast.py:f", "slow.py:f")
    assert names.resolve("t.py", "slow.g") == "slow.py:g"
    assert names.resolve("t.py", "slow.h") is None  # the name no longer stands for the function


def test_the_name_of_a_package_hides_its_module() -> None:
    names = names_of(
        interface("p/__init__.py", {"loss": ".loss.loss", "net": ".net", "lazy": Made("result", 0)}, ".ops"),
        interface("p/loss.py", functions="loss"),
        interface("p/net.py", functions="net"),
        interface("p/lazy.py", functions="f"),
        interface("p/ops.py", functions="ops"),
        interface("t.py", {"m": "p.loss"}),
    )
    assert names.resolve("t.py", "p.loss") == "p/loss.py:loss"
    assert names.resolve("u.py", "t.m") == "p/loss.py:loss"
    assert names.stands_for("p/net.py", ".loss") == ("p/loss.py:", "p/loss.py:loss")  # whatever runs first
    assert names.targets("p/net.py", call(".loss")) == sure("p/loss.py:loss")
    assert names.resolve("t.py", "p.loss.loss") == "p/loss.py:loss"  # `from p.loss import loss`
    assert names.resolve("t.py", "p.net") == "p/net.py:"
    assert names.resolve("t.py", "p.ops") == "p/ops.py:ops"
    assert names.resolve("t.py", "p.lazy") is None
    assert names.resolve("t.py", "p.lazy.f") == "p/lazy.py:f"


def test_star_imports_go_through_files_and_give_way_to_own_names() -> None:
    names = names_of(
        interface("a.py", stars="b missing torch"),
        interface("b.py", {"g": "c.py:h"}, "c a b"),
        interface("c.py", functions="f g h _f"),
    )
    assert names.resolve("t.py", "a.f") == "c.py:f"
    assert names.resolve("t.py", "a.g") == names.resolve("t.py", "b.g") == "c.py:h"
    assert names.resolve("t.py", "a._f") is None


def test_names_that_lead_in_circles_stand_for_nothing() -> None:
    names = names_of(
        interface("a.py", {"x": "b.x", "y": "a.y.y", "z": "b.z", "s": "a.py:s"}, "b"),
        interface("b.py", {"x": "a.x", "z": "a.z|b.py:z"}, "a", functions="z"),
    )
    assert [names.resolve("t.py", f"a.{name}") for name in "xysq"] == [None] * 4
    assert names.resolve("t.py", "a.z") == names.resolve("t.py", "b.z") == "b.py:z"


def test_functions_and_classes_by_id() -> None:
    assert PACKAGE.function("train.py:") == function("")
    assert PACKAGE.function("pkg/models.py:Net.forward") == function("Net.forward")
    assert PACKAGE.function("pkg/models.py:Net") is None
    assert PACKAGE.class_("pkg/models.py:Net.forward") is None
    assert PACKAGE.class_("pkg/models.py:Base") == cls("Base", "", "save")
    assert PACKAGE.path_of("pkg/models.py:Base.save") == "pkg/models.py"
    assert PACKAGE.path_of("C:/pkg/models.py:Base") == "C:/pkg/models.py"
    assert PACKAGE.path_of("torch.nn.Module") == ""


# -- classes -------------------------------------------------------------------------------------------------------

CLASSES = names_of(
    interface("compat.py", {"Module": "torch.nn.Module", "Mixin": "mix.Mixin", "Two": "mix.Mixin|torch.nn.Module"}),
    interface("mix.py", classes=[cls("Mixin", "", "save helper")]),
    interface(
        "base.py",
        {"Base": "base.py:Base"},
        functions=[function("Base.step", abstract=True)],
        classes=[cls("Base", "compat.Module", "__init__ save step", net=Named(".other.Net"), size=Constant("s"))],
    ),
    interface(
        "net.py",
        {"A": "net.py:A", "B": "net.py:B", "C": "net.py:C", "do": "net.py:A.step"},
        classes=[
            cls("A", "base.Base", "step", net=Made("instance", 0, of="net.py:B")),
            cls("B", "net.py:A", "step other"),
            cls("C", "compat.Mixin base.Base", "step"),
            cls("D", "compat.Two|.gone.Base net.py:A.Inner net.py:make"),
            cls("A.Inner", "", "f"),
        ],
        functions="make",
    ),
)


def test_bases_go_through_names() -> None:
    assert CLASSES.bases("base.py:Base") == ("torch.nn.Module",)
    assert CLASSES.bases("net.py:C") == ("mix.py:Mixin", "base.py:Base")
    assert CLASSES.bases("net.py:D") == ("mix.py:Mixin", "torch.nn.Module", ".gone.Base", "net.py:A.Inner")
    unknown = names_of(interface("a.py"), interface("b.py", classes=[cls("B", "a.Gone a.py:Gone")]))
    assert unknown.bases("b.py:B") == ("a.Gone",)
    assert CLASSES.bases("mix.py:Mixin") == CLASSES.bases("missing.py:A") == CLASSES.bases("torch.nn.Module") == ()


def test_lineage_is_depth_first() -> None:
    assert CLASSES.lineage("net.py:C") == ("net.py:C", "mix.py:Mixin", "base.py:Base", "torch.nn.Module")
    assert CLASSES.lineage("torch.nn.Module") == CLASSES.lineage("net.py:Missing") == ()
    diamond = names_of(
        interface("a.py", classes=[cls(*each.split(";")) for each in ["T;", "L;a.py:T", "R;a.py:T", "D;a.py:L a.py:R"]])
    )
    assert diamond.lineage("a.py:D") == ("a.py:D", "a.py:L", "a.py:T", "a.py:R")


def test_methods_are_inherited() -> None:
    assert CLASSES.method("net.py:B", "step") == "net.py:B.step"
    assert CLASSES.method("net.py:B", "save") == "base.py:Base.save"
    assert CLASSES.method("net.py:C", "save") == "mix.py:Mixin.save"
    assert CLASSES.method("net.py:C", "forward") is CLASSES.method("net.py:Missing", "save") is None
    assert CLASSES.resolve("t.py", "net.B.save") == CLASSES.resolve("t.py", "net.py:B.save") == "base.py:Base.save"
    assert CLASSES.resolve("t.py", "net.A.Inner.f") == "net.py:A.Inner.f"


def test_a_method_that_is_no_function_hides_the_inherited_one() -> None:
    net = Class("Net", PLACE, ((Named("a.py:Base"),),), {"step": "Net.step"})
    names = Names({"a.py": interface("a.py", functions="Base.step", classes=[cls("Base", "", "step")])})
    assert names.method("a.py:Base", "step") == "a.py:Base.step"
    base = interface("a.py", classes=[cls("Base", "", "step")])
    names = names_of(Interface("a.py", functions=base.functions, classes={**base.classes, "Net": net}))
    assert names.method("a.py:Net", "step") is None


def test_attributes_are_collected_over_the_lineage() -> None:
    made = Made("instance", 0, of="net.py:B")
    assert CLASSES.attribute("net.py:B", "net") == (made, Anything())  # `.other.Net` says nothing outside of base.py
    assert CLASSES.attribute("net.py:B", "size") == (Constant("s"),)
    assert CLASSES.attribute("net.py:B", "missing") == CLASSES.attribute("missing.py:B", "net") == ()


def test_things_are_settled_for_everybody() -> None:
    held = Made("container", 0, holds=(Named("net.A"), Named("net.py:A"), Given("x")))
    assert CLASSES.settled("t.py", held) == (Made("container", 0, holds=(Named("net.py:A"), Given("x"))),)
    several = Several(((Named("compat.Two"),), (Constant(None),)))
    both = (Named("mix.py:Mixin"), Named("torch.nn.Module"))
    assert CLASSES.settled("t.py", several) == (Several((both, (Constant(None),))),)
    assert CLASSES.settled("t.py", Named("net.unknown")) == (Named("net.unknown"),)
    assert CLASSES.settled("t.py", Made("instance", 0, of="gone.Net")) == (Made("instance", 0, of="gone.Net"),)


def test_subclasses_are_all_below() -> None:
    assert CLASSES.subclasses("base.py:Base") == ("net.py:A", "net.py:B", "net.py:C")
    assert CLASSES.subclasses("mix.py:Mixin") == ("net.py:C", "net.py:D")
    assert CLASSES.subclasses("net.py:B") == CLASSES.subclasses("net.py:Missing") == ()
    assert CLASSES.subclasses("torch.nn.Module") == ("base.py:Base", "net.py:A", "net.py:B", "net.py:C", "net.py:D")


def test_overrides_replace_a_method_below() -> None:
    assert CLASSES.overrides("base.py:Base.step") == ("net.py:A.step", "net.py:B.step", "net.py:C.step")
    assert CLASSES.overrides("net.py:A.step") == ("net.py:B.step",)
    assert CLASSES.overrides("base.py:Base.save") == ("mix.py:Mixin.save",)  # for instances of C
    assert CLASSES.overrides("net.py:make") == CLASSES.overrides("net.py:A.Inner") == CLASSES.overrides("x.y") == ()


def test_overrides_are_not_found_above() -> None:
    tops = [cls("Top", "", "f"), cls("Left", "a.py:Top"), cls("Right", "a.py:Top", "f")]
    names = names_of(interface("a.py", classes=[*tops, cls("Bottom", "a.py:Left a.py:Right")]))
    assert names.overrides("a.py:Right.f") == ()
    assert names.overrides("a.py:Top.f") == ("a.py:Right.f",)


# -- calls ---------------------------------------------------------------------------------------------------------


def sure(*functions: str) -> tuple[tuple[str, bool], ...]:
    return tuple((each, True) for each in functions)


@pytest.mark.parametrize(
    ("callee", "functions"),
    [
        ("net.make", ["net.py:make"]),
        ("net.py:make", ["net.py:make"]),
        ("base.Base.save", ["base.py:Base.save", "mix.py:Mixin.save"]),
        ("net.py:A.step", ["net.py:A.step", "net.py:B.step"]),
        ("net.A.step", ["net.py:A.step", "net.py:B.step"]),
        ("net.do", ["net.py:A.step", "net.py:B.step"]),
        # the abstract one is left out, its overrides run
        ("base.Base.step", ["net.py:A.step", "net.py:B.step", "net.py:C.step"]),
        # inherited: what replaces it in classes that this object cannot be of does not run
        ("net.A.save", ["base.py:Base.save"]),
        ("net.py:A.save", ["base.py:Base.save"]),
        # classes
        ("net.A", ["base.py:Base.__init__"]),
        ("net.py:B", ["base.py:Base.__init__"]),
        ("mix.Mixin", []),
        ("compat.Two", []),
        # nothing of the project
        ("net", []),
        ("net.py:", []),
        ("torch.nn.Linear", []),
        ("net.missing", []),
        (".relative", []),
        ("", []),
    ],
)
def test_a_call_runs(callee: str, functions: list[str]) -> None:
    assert CLASSES.targets("t.py", call(callee)) == sure(*functions)


def test_a_call_of_several_functions_may_run_each() -> None:
    names = names_of(
        interface("fast.py", functions="f"),
        interface("slow.py", functions="f"),
        interface("both.py", {"f": "fast.f|slow.f|torch.f"}),
    )
    assert names.targets("t.py", call("both.f")) == sure("fast.py:f", "slow.py:f")


def test_constructors_are_not_replaced_below() -> None:
    names = names_of(interface("a.py", classes=[cls("A", "", "__init__"), cls("B", "a.py:A", "__init__")]))
    assert names.targets("t.py", call("a.A")) == sure("a.py:A.__init__")
    assert names.targets("t.py", call("a.py:A.__init__")) == sure("a.py:A.__init__")  # `super().__init__()`
    assert names.targets("t.py", call("a.B")) == sure("a.py:B.__init__")


def test_a_method_that_calls_what_it_replaces_means_just_that() -> None:
    names = names_of(
        interface("a.py", classes=[cls("A", "", "step")], functions=[function("use", "a.A.step")]),
        interface("b.py", classes=[cls("B", "a.A", "step")], functions=[function("B.step", "a.A.step")]),
        interface("c.py", classes=[cls("C", "b.B", "step")]),
    )
    everything = sure("a.py:A.step", "b.py:B.step", "c.py:C.step")
    assert names.targets("t.py", call("a.A.step")) == everything
    assert names.targets("b.py", call("a.A.step")) == sure("a.py:A.step")
    assert names.targets("b.py", call("a.py:A.step")) == everything  # another call, of another function


def test_a_method_that_very_many_replace_stands_for_itself() -> None:
    below = [cls(f"B{index}", "a.py:A", "f") for index in range(MOST_REPLACING + 1)]
    for some, count in ((below[1:], MOST_REPLACING + 1), (below, 1)):
        names = names_of(interface("a.py", classes=[cls("A", "", "f"), *some]))
        assert len(names.targets("t.py", call("a.A.f"))) == count


def test_an_abstract_method_that_nobody_replaces_is_called() -> None:
    names = names_of(interface("a.py", functions=[function("A.step", abstract=True)], classes=[cls("A", "", "step")]))
    assert names.targets("t.py", call("a.A.step")) == sure("a.py:A.step")


def test_a_method_of_something_unknown_is_told_by_its_name() -> None:
    unsure = (("net.py:B.other", False),)
    assert CLASSES.targets("t.py", call("?.other")) == unsure
    assert CLASSES.targets("t.py", call("?.missing")) == ()


def test_a_method_name_that_everything_has_tells_nothing() -> None:
    methods = "forward step train eval run get update close reset append items __call__ __enter__ attribute_all"
    names = names_of(interface("a.py", classes=[cls("A", "", methods)]))
    told = [name for name in methods.split() if names.targets("t.py", call(f"?.{name}"))]
    assert told == ["attribute_all"]


@pytest.mark.parametrize(("families", "told"), [(1, 3), (4, 12), (5, 0)])
def test_a_method_name_of_many_families_tells_nothing(families: int, told: int) -> None:
    classes = [
        each
        for family in range(families)
        for each in (
            cls(f"A{family}", "", "sweep"),
            cls(f"B{family}", f"a.py:A{family}", "sweep"),
            cls(f"C{family}", f"a.py:Root a.py:B{family}", "sweep"),
        )
    ]
    names = names_of(interface("a.py", classes=[*classes, cls("Root")]))
    assert len(names.targets("t.py", call("?.sweep"))) == told


def test_two_families_that_meet_are_one() -> None:
    classes = [cls(f"A{index}", "", "sweep") for index in range(6)]
    joined = cls("All", " ".join(f"a.py:A{index}" for index in range(6)), "sweep")
    assert names_of(interface("a.py", classes=classes)).targets("t.py", call("?.sweep")) == ()
    assert len(names_of(interface("a.py", classes=[*classes, joined])).targets("t.py", call("?.sweep"))) == 7


def test_an_abstract_method_is_not_told_by_its_name() -> None:
    names = names_of(
        interface(
            "a.py",
            functions=[function("A.sweep", abstract=True)],
            classes=[cls("A", "", "sweep"), cls("B", "a.py:A", "sweep")],
        )
    )
    assert names.targets("t.py", call("?.sweep")) == (("a.py:B.sweep", False),)


# -- annotations ---------------------------------------------------------------------------------------------------

ANNOTATED = names_of(
    interface(
        "a.py",
        {"Net": "a.py:Net", "lib": "b", "Loss": "b.Loss", "np": "numpy", "Either": "b.Loss|a.py:Net"},
        classes=[cls("Net"), cls("Net.Config")],
        functions="make",
    ),
    interface("b.py", classes=[cls("Loss")]),
    interface("c.py", stars="b"),
)
NET, LOSS = ("a.py:Net",), ("b.py:Loss",)


@pytest.mark.parametrize(
    ("annotation", "found"),
    [
        ("Net", NET),
        (" Net ", NET),
        ("'Net'", NET),
        ("lib.Loss", LOSS),
        ("Net.Config", ("a.py:Net.Config",)),
        ("Optional[Net]", NET),
        ("typing.Optional['Net']", NET),
        ("Net | None", NET),
        ('"Net | None"', NET),
        ("'Net' | 'Loss'", (*NET, *LOSS)),
        ("Union[Loss, Net, int]", (*NET, *LOSS)),
        ("t.Union[Optional[Net], Dict[str, Loss]]", NET),
        ("Annotated[Net, Loss]", NET),
        ("Final[Net]", NET),
        ("Net[int, Loss]", NET),
        ("Either", (*NET, *LOSS)),
        ("list[Net]", ()),
        ("Dict[str, Net] | None", ()),
        ("type[Net]", ()),
        ("Callable[[Net], Loss]", ()),
        ("Literal['Net', 'a|Net']", ()),
        ("np.ndarray", ()),
        ("make", ()),
        ("lib", ()),
        ("Missing", ()),
        ("missing.Net", ()),
        ("None", ()),
        ("", ()),
        ("'", ()),
        ("Net)", ()),
        ("]", ()),
        ("Optional[", ()),
    ],
)
def test_annotations_name_classes(annotation: str, found: tuple[str, ...]) -> None:
    assert ANNOTATED.annotated("a.py", annotation) == found


def test_annotations_go_by_the_names_of_their_file() -> None:
    assert ANNOTATED.annotated("c.py", "Loss") == LOSS
    assert ANNOTATED.annotated("c.py", "Net") == ANNOTATED.annotated("missing.py", "Net") == ()


def test_annotations_may_be_deep() -> None:
    assert ANNOTATED.annotated("a.py", "Optional[" * 50 + "Net" + "]" * 50) == NET


# -- sizes ---------------------------------------------------------------------------------------------------------


def test_a_chain_of_classes() -> None:
    count = 2000
    classes = [
        cls(f"C{index}", f"a.py:C{index - 1}" if index else "", "f sweep" if index % 10 == 0 else "")
        for index in range(count)
    ]
    names = names_of(interface("a.py", classes=classes))
    last = f"a.py:C{count - 1}"
    assert len(names.lineage(last)) == count
    assert names.method(last, "f") == f"a.py:C{count - 10}.f"
    assert len(names.subclasses("a.py:C0")) == count - 1
    assert len(names.overrides("a.py:C0.f")) == count // 10 - 1
    assert len(names.targets("t.py", call("?.sweep"))) == count // 10


def test_a_circle_of_classes() -> None:
    count = 2000
    classes = [cls(f"C{index}", f"a.py:C{(index + 1) % count}", "f") for index in range(count)]
    names = names_of(interface("a.py", classes=classes))
    assert len(names.lineage("a.py:C7")) == count
    assert len(names.subclasses("a.py:C7")) == count - 1
    assert names.overrides("a.py:C7.f") == ()  # each is above the others as well


def test_many_files_that_pass_names_on() -> None:
    count = 3000
    chain = [interface(f"p/m{index}.py", stars=f".m{index + 1}", functions=f"f{index}") for index in range(count)]
    names = names_of(interface("p/__init__.py", {f"f{index}": f".m{index}.f{index}" for index in range(count)}), *chain)
    for index in range(0, count, 100):
        assert names.resolve("t.py", f"p.f{index}") == f"p/m{index}.py:f{index}"
        assert names.resolve("t.py", f"p.m{index // 2}.f{index}") == f"p/m{index}.py:f{index}"
