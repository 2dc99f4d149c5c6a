"""Ranks meet in a folder: who has started, what each leaves, and who is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradlint.runtime.verify import distributed
from gradlint.runtime.verify.distributed import (
    RENDEZVOUS,
    Gathered,
    RendezvousError,
    announce,
    gather,
    is_distributed,
    ranks,
    shield,
)

Become = Callable[..., None]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handlers of signals back."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    distributed._signals.hurried.clear()
    for number in numbers:
        signal.signal(number, before[number])


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, handlers: None) -> Become:
    """Make this process a rank of a launch of its own, with a folder for temporary files of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_ERROR_FILE", RENDEZVOUS):
        monkeypatch.delenv(name, raising=False)

    def be(rank: int, size: int = 2, **more: str) -> None:
        for name, value in {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_PORT": "29500", **more}.items():
            monkeypatch.setenv(name, value)

    return be


def own_folder() -> Path:
    own = ranks()
    assert own is not None
    return own.folder


def announce_dead(become: Become, rank: int, size: int = 2) -> None:
    """Announce ``rank`` as a process that has ended."""
    become(rank, size)
    announce()
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    own = ranks()
    assert own is not None
    file = own.announcement(rank)
    file.write_text(file.read_text().rpartition(" ")[0] + f" {done.pid}")


@pytest.mark.parametrize(
    ("environment", "distributed"),
    [
        ({}, False),
        ({"RANK": "0"}, False),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "2", "WORLD_SIZE": "2"}, False),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, False),
        ({"RANK": "one", "WORLD_SIZE": "two"}, False),
    ],
)
def test_ranks_are_read_from_the_environment(environment: dict[str, str], distributed: bool) -> None:
    assert (ranks(environment) is not None) is distributed


def test_ranks_of_one_launch_share_a_folder() -> None:
    launch = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a", "MASTER_PORT": "29500"}

    def folder(**more: str) -> Path:
        found = ranks({**launch, **more})
        assert found is not None
        return found.folder

    first = folder(RANK="0", LOCAL_RANK="0", TORCHELASTIC_ERROR_FILE="/tmp/x/attempt_0/0/error.json")
    assert first == folder(RANK="1", LOCAL_RANK="1", TORCHELASTIC_ERROR_FILE="/tmp/x/attempt_0/1/error.json")
    assert first != folder(RANK="1", LOCAL_RANK="1", TORCHELASTIC_ERROR_FILE="/tmp/y/attempt_0/1/error.json")
    assert folder(RANK="0") != folder(RANK="0", TORCHELASTIC_RESTART_COUNT="1")
    assert folder(RANK="0") != folder(RANK="0", MASTER_PORT="29501")


def test_only_ranks_of_one_machine_meet_unless_a_folder_is_shared(tmp_path: Path) -> None:
    launch = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
    alone = ranks(launch)
    assert alone is not None and alone.beside == range(2, 4)
    joined = ranks({**launch, RENDEZVOUS: str(tmp_path)})
    assert joined is not None and joined.beside == range(4) and joined.folder.parent == tmp_path


def test_one_process_gathers_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    announce()
    assert not is_distributed()
    assert gather(b"all") == Gathered({0: b"all"}, {})


def test_rank_0_gets_what_the_others_leave(become: Become) -> None:
    for rank in range(3):
        become(rank, 3)
        announce()
    for rank in (1, 2):
        become(rank, 3)
        assert is_distributed()
        assert gather(b"part %d" % rank) is None
    become(0, 3)
    folder = own_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    gathered = gather(b"part 0")
    assert gathered == Gathered({0: b"part 0", 1: b"part 1", 2: b"part 2"}, {})
    assert gathered.notes() == ()
    assert not folder.exists()


def test_a_rank_that_died_is_not_waited_for(become: Become) -> None:
    announce_dead(become, 1)
    become(0)
    announce()
    gathered = gather(b"0")
    assert gathered is not None and gathered.parts == {0: b"0"}
    assert gathered.notes() == ("rank 1 of 2 ended before it could report",)


def test_without_rank_0_there_is_no_report(become: Become) -> None:
    announce_dead(become, 0)
    become(1)
    said: list[str] = []
    assert gather(b"1", say=said.append) is None
    assert said == ["rank 0 has ended: there will be no report"]
    assert not own_folder().exists()


def test_a_rank_that_ended_well_is_heard(become: Become) -> None:
    announce_dead(become, 1)
    gather(b"1")
    become(0)
    assert gather(b"0") == Gathered({0: b"0", 1: b"1"}, {})


def test_a_rank_that_runs_on_is_waited_for_in_vain(become: Become) -> None:
    become(1)
    announce()
    become(0)
    said: list[str] = []
    gathered = gather(b"0", patience=0, say=said.append)
    assert gathered is not None and gathered.notes() == ("rank 1 of 2 did not end its program in time",)
    assert said == []
    become(1)
    assert gather(b"late") is None


def test_who_waits_says_so(become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    become(1, 3)
    announce()
    become(2, 3)
    announce()
    become(0, 3)
    monkeypatch.setattr(distributed, "_QUIET", 0.0)
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        for rank in (1, 2):
            become(rank, 3)
            gather(b"late")
        become(0, 3)

    gathered = gather(b"0", say=say)
    assert gathered is not None and gathered.missing == {}
    assert said == ["waiting for ranks 1 and 2"]


def test_ranks_that_never_came_are_given_up(become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    become(0, 4)
    announce()
    monkeypatch.setattr(distributed, "HURRY", 0.0)
    gathered = gather(b"0")
    assert gathered is not None and gathered.notes() == ("ranks 1 to 3 of 4 never started",)


def test_rank_0_hurries_when_it_is_told_to_end(become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    become(1)
    announce()
    become(0)
    announce()
    shield()
    monkeypatch.setattr(distributed, "HURRY", 0.0)
    os.kill(os.getpid(), signal.SIGTERM)
    gathered = gather(b"0")
    assert gathered is not None and list(gathered.missing) == [1]


def test_ranks_of_other_machines_are_named(become: Become) -> None:
    become(0, 4, LOCAL_WORLD_SIZE="1", LOCAL_RANK="0")
    announce()
    gathered = gather(b"0")
    assert gathered is not None
    assert gathered.notes() == (
        f"ranks 1 to 3 of 4 ran on another machine; set {RENDEZVOUS} to a folder that all machines share",
    )


def test_what_an_earlier_launch_left_is_not_taken(become: Become) -> None:
    become(1)
    announce()
    gather(b"old")
    announce()
    become(0)
    gathered = gather(b"0", patience=0)
    assert gathered is not None and list(gathered.missing) == [1]


def test_a_folder_that_cannot_be_used_is_an_error(become: Become, tmp_path: Path) -> None:
    become(1)
    own_folder().write_text("in the way")
    with pytest.raises(RendezvousError, match="the ranks cannot meet here"):
        announce()
    own_folder().unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    own_folder().symlink_to(elsewhere)
    with pytest.raises(RendezvousError, match="somebody else"):
        announce()


def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_the_program_and_not_the_report(become: Become) -> None:
    become(0)
    announce(interrupted.__code__)
    with pytest.raises(SystemExit) as ended:
        interrupted()
    assert ended.value.code == 128 + signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)
    shield()
    interrupted()


def test_the_second_interrupt_is_obeyed(become: Become) -> None:
    become(0)
    shield()
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("size", [1, 2])
def test_signals_are_left_alone_in_a_thread_and_in_a_single_process(become: Become, size: int) -> None:
    become(0, size)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def both() -> None:
        announce()
        shield()

    thread = threading.Thread(target=both)
    thread.start()
    thread.join()
    if size == 1:
        both()
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
