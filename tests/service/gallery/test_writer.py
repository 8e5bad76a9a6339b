"""Changes that wait together share a transaction, and each has its own result or error."""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest

from service.errors import NotFoundError, StorageError, UnavailableError
from service.gallery.local.events import (
    Change,
    Deleted,
    Events,
    Updated,
    Upserted,
    merge_events,
)
from service.gallery.local.store import Store
from service.gallery.local.writer import GroupCommitWriter
from service.gallery.types import Item

ITEM = Item(id="mine", label="cyan", predicted=None, source="added")


class Recorder:
    """A listener that records the events it applies, and can be made to fail."""

    def __init__(self) -> None:
        self.applied: list[Events] = []
        self.rebuilt = 0
        self.fails = False

    def rebuild(self) -> None:
        self.rebuilt += 1
        if self.fails and self.rebuilt > 1:
            raise RuntimeError

    def apply(self, events: Events) -> None:
        if self.fails:
            raise RuntimeError
        self.applied.append(events)


@pytest.fixture
def listener() -> Recorder:
    return Recorder()


@pytest.fixture
def writer(tmp_path: Path, listener: Recorder) -> Iterator[GroupCommitWriter]:
    store = Store(tmp_path)
    store.lock()
    made = GroupCommitWriter(store)
    made.attach(listener)
    yield made
    made.shared.release()


def insert(writer: GroupCommitWriter, image_id: str) -> Change[str]:
    item = dataclasses.replace(ITEM, id=image_id)
    writer.store.insert(item, "network", None, {})
    return Change(image_id, {image_id: Updated(item)})


def ids(writer: GroupCommitWriter) -> list[str]:
    return [row.item.id for row in writer.store.rows()]


def test_changes_that_wait_together_are_one_transaction(
    writer: GroupCommitWriter, listener: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[None] = []

    def counted() -> object:
        begun.append(None)
        return writer.store.transaction()

    monkeypatch.setattr(writer, "_begin", counted)
    with writer.lock:
        first = writer.submit(lambda: insert(writer, "first"))
        while not first.running():  # taken by the writer, which now waits for the lock
            time.sleep(0.001)
        others = [writer.submit(lambda n=n: insert(writer, f"{n}")) for n in range(20)]  # type: ignore[misc]
    assert [one.result() for one in others] == [str(n) for n in range(20)]
    assert len(begun) == 2
    assert [len(events) for events in listener.applied] == [1, 20]


def test_a_change_that_raises_is_undone_and_the_others_are_made(
    writer: GroupCommitWriter, listener: Recorder
) -> None:
    def insert_and_fail() -> Change[str]:
        insert(writer, "half")
        raise NotFoundError("no such image")

    with writer.lock:
        futures = [
            writer.submit(lambda: insert(writer, "one")),
            writer.submit(insert_and_fail),
            writer.submit(lambda: insert(writer, "other")),
        ]
    wait(futures)
    with pytest.raises(NotFoundError, match="no such image"):
        futures[1].result()
    assert (futures[0].result(), futures[2].result()) == ("one", "other")
    assert ids(writer) == ["one", "other"]
    assert "half" not in {image_id for events in listener.applied for image_id in events}


def test_when_a_shared_transaction_fails_each_change_is_tried_alone(
    writer: GroupCommitWriter,
) -> None:
    def too_large() -> Change[None]:
        insert(writer, "large")
        raise StorageError("no room")

    with writer.lock:
        before = writer.submit(lambda: insert(writer, "before"))
        large = writer.submit(too_large)
        after = writer.submit(lambda: insert(writer, "after"))
    with pytest.raises(StorageError):
        large.result()
    assert (before.result(), after.result()) == ("before", "after")
    assert sorted(ids(writer)) == ["after", "before"]


def test_a_result_comes_after_the_listeners_have_applied_the_change(
    writer: GroupCommitWriter, listener: Recorder
) -> None:
    for n in range(50):
        writer.submit(lambda n=n: insert(writer, f"{n}")).result()  # type: ignore[misc]
        assert f"{n}" in listener.applied[-1]


def test_a_change_is_acknowledged_even_if_the_snapshot_cannot_be_rebuilt(
    writer: GroupCommitWriter, listener: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    listener.fails = True
    assert writer.submit(lambda: insert(writer, "one")).result() == "one"
    assert listener.rebuilt == 2
    assert "could not be rebuilt" in caplog.text
    listener.fails = False
    assert writer.submit(lambda: insert(writer, "other")).result() == "other"
    assert ids(writer) == ["one", "other"]


def test_a_change_that_is_cancelled_before_it_begins_is_not_made(
    writer: GroupCommitWriter,
) -> None:
    with writer.lock:
        first = writer.submit(lambda: insert(writer, "first"))
        while not first.running():
            time.sleep(0.001)
        second = writer.submit(lambda: insert(writer, "second"))
        assert second.cancel()
        assert not first.cancel()
    assert first.result() == "first"
    with pytest.raises(CancelledError):
        second.result()
    assert writer.submit(lambda: insert(writer, "third")).result() == "third"
    assert ids(writer) == ["first", "third"]


def test_closing_finishes_what_waits_and_refuses_what_comes_later(
    tmp_path: Path, listener: Recorder
) -> None:
    store = Store(tmp_path)
    store.lock()
    writer = GroupCommitWriter(store)
    with writer.lock:
        waiting = [writer.submit(lambda n=n: insert(writer, f"{n}")) for n in range(5)]  # type: ignore[misc]
        closing = threading.Thread(target=writer.shared.release)
        closing.start()
    closing.join()
    assert [one.result(timeout=0) for one in waiting] == [str(n) for n in range(5)]
    with pytest.raises(UnavailableError, match="closed"):
        writer.submit(lambda: insert(writer, "late")).result(timeout=0)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities here")
def test_changes_run_at_low_priority(writer: GroupCommitWriter) -> None:
    def priority() -> Change[int]:
        return Change(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), {})

    assert writer.submit(priority).result() >= 10


def test_an_edit_after_an_addition_keeps_the_vectors_of_the_addition() -> None:
    added = Upserted(1, ITEM, "network", {})
    edited = dataclasses.replace(ITEM, label="blue")
    merged = merge_events([{"mine": added}, {"mine": Updated(edited)}, {"other": Deleted()}])
    assert merged == {"mine": dataclasses.replace(added, item=edited), "other": Deleted()}
    assert merge_events([merged, {"mine": Deleted()}])["mine"] == Deleted()
