"""Which of the files that are to be told something are told first."""

from __future__ import annotations

from gradlint.linking import turns
from gradlint.linking.interface import Call, Function, Interface, Place, View
from gradlint.linking.link import Link
from gradlint.linking.names import Names
from gradlint.linking.views import views_and_leads


def test_a_file_waits_for_those_that_it_leads_to() -> None:
    leads = {"main.py": {"lib.py"}, "lib.py": {"base.py"}, "base.py": set[str]()}
    assert turns.first(["main.py", "base.py"], leads) == {"base.py"}
    assert turns.first(["main.py", "lib.py"], leads) == {"lib.py"}
    assert turns.first(["main.py"], leads) == {"main.py"}


def test_files_that_lead_to_each_other_do_not_wait() -> None:
    leads = {"a.py": {"b.py"}, "b.py": {"a.py"}, "c.py": {"a.py"}}
    assert turns.first(["a.py", "b.py", "c.py"], leads) == {"a.py", "b.py"}
    assert turns.first([], leads) == set()


def test_a_call_leads_to_a_function_of_which_nothing_is_known_yet() -> None:
    call = Call("lib.f", Place(1, 1, 1, 2), 1, matters=True)
    main = Interface("main.py", functions={"run": Function("run", Place(1, 1, 1, 2), (), solved=True, calls=(call,))})
    lib = Interface("lib.py", functions={"f": Function("f", Place(1, 1, 1, 2), ())})
    files = {"main.py": main, "lib.py": lib}
    told, leads = views_and_leads(files, Names(files), {})
    assert told["lib.py"] == View(asked=frozenset({"f"}))
    assert leads["main.py"] == {"lib.py"}
    assert not leads["lib.py"]


def test_who_waits_is_told_in_the_end() -> None:
    link = Link()
    call = Call("lib.f", Place(1, 1, 1, 2), 1, matters=True)
    link.tell(
        Interface("main.py", functions={"run": Function("run", Place(1, 1, 1, 2), (), solved=True, calls=(call,))})
    )
    link.tell(Interface("lib.py", functions={"f": Function("f", Place(1, 1, 1, 2), ())}))
    assert [*link.views()] == ["lib.py"]
    assert link.views() == {}
