"""Data sets of conversational question answering: `load("mtrag", path)`.

None is bundled. Licences of the data: iKAT and TREC CAsT MIT, MTRAG Apache-2.0, QReCC CC BY-SA 3.0,
TopiOCQA CC BY-NC-SA 4.0, MultiDoc2Dial Apache-2.0 (code), FaithDial MIT (code), INSCIT without a
licence file; Search-R1 and ChatR1 rows follow the data sets that they are made of.
"""

from __future__ import annotations

from pathlib import Path

from turngym.envs.conversational_qa.loaders.rows import Loader
from turngym.envs.conversational_qa.tasks import SPLITS, Dataset, Split, Task
from turngym.errors import DataError
from turngym.registry import Registry
from turngym.seeding import derive

__all__ = ["LOADERS", "load", "split_of"]

LOADERS: Registry[Loader] = Registry("conversational data format")
"""Format name to loader; add your own with `LOADERS.add(name, function)`."""

_HERE = "turngym.envs.conversational_qa.loaders"
for _name, _module in (
    ("search_r1", "search_r1"),
    ("chatr1", "search_r1"),
    ("ikat", "topics"),
    ("cast", "topics"),
    ("mtrag", "mtrag"),
    ("qrecc", "wikipedia"),
    ("topiocqa", "wikipedia"),
    ("inscit", "wikipedia"),
    ("faithdial", "wikipedia"),
    ("multidoc2dial", "multidoc2dial"),
):
    LOADERS.add(_name, f"{_HERE}.{_module}:{_name}")


def load(format: str, path: str | Path) -> Dataset:
    """The tasks and passages of a data set, split 60/20/20 by conversation.

    Args:
        format: name in `LOADERS`.
        path: the file, or the folder where the format has several.

    Raises:
        UnknownNameError: no such format.
        DataError: missing file or malformed row, with its place; no task; a task id that comes twice.
    """
    loaded = LOADERS[format](Path(path))
    if not loaded.tasks:
        raise DataError(f"{path}: no task of format {format!r} in it")
    tasks: dict[Split, list[Task]] = {split: [] for split in SPLITS}
    seen = set[str]()
    for conversation, task in loaded.tasks:
        if task.id in seen:
            raise DataError(f"{path}: task id {task.id!r} comes twice")
        seen.add(task.id)
        tasks[split_of(conversation)].append(task)
    return Dataset(tasks, loaded.passages)


def split_of(conversation: str) -> Split:
    """The split of a conversation: decided by its id alone, 60 % train, 20 % dev, 20 % test."""
    share = derive("split", conversation) % 10
    return "train" if share < 6 else "dev" if share < 8 else "test"
