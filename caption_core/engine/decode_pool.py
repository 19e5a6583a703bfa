"""Decoding on other CPUs of the cluster, through Ray Data, for captioners that their own CPUs can't keep busy."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

import ray.data
from ray.data import Dataset, TaskPoolStrategy
from ray.util.annotations import RayDeprecationWarning

from caption_core.captioner import Captioner
from caption_core.engine.console import quiet_ray_data
from caption_core.engine.image_loader import MAX_GIVEN_UP, ImageLoader, LoadedImage, LoadRequest, not_tried
from caption_core.engine.work import CaptioningWork
from caption_core.errors import ImageError
from caption_core.records import ErrorKind, ImageRef

# Images a task: enough that a task's own costs don't count, and few enough that a shard keeps many CPUs busy.
_TASK_IMAGES = 16

# Tasks' images that wait for the captioner here; Ray Data holds back beyond them.
_TASKS_HELD = 4

_RETRIES = 2
_BEAT_S = 1.0

# Beyond what one image may take to be read and decoded, before tasks of which nothing is heard are given up.
_PATIENCE_S = 60.0
_WORN_OUT_EXIT_CODE = 75  # EX_TEMPFAIL

_LOGGER = logging.getLogger(__name__)

_LOADERS: dict[tuple[str, str], ImageLoader] = {}
"""Of this process, at most one, by the run's output and settings."""

_Arrived = Queue[list[LoadedImage] | None]
"""Images of a task each; None after the last."""


class DecodePool:
    """Loads a shard's images by tasks of a CPU each, anywhere on the cluster, so many at a time.

    Each task reads and decodes a few images, and their pixels come back through Ray's object store. What tasks fail to
    give back, above all images that kill their processes, the actor loads itself: there such images are found out. It
    does so with all that are left, too, when no task is heard of for long, as on a cluster without a free CPU.

    Args:
        work: the run's.
        image_size: (height, width) in pixels that the captioner takes.
        own: the actor's own loader.
        beat: called while tasks are waited for.
    """

    def __init__(
        self, work: CaptioningWork, image_size: tuple[int, int], own: ImageLoader, beat: Callable[[], None]
    ) -> None:
        self._work, self._own, self._beat = work, own, beat
        without_captioner = replace(work.captioner, load=_no_captioner)  # which may be large
        self._task = _DecodeImages(replace(work, captioner=without_captioner, threads=1), image_size)
        self._patience_s = 2 * work.image_timeout_s + _PATIENCE_S
        quiet_ray_data()

    @property
    def is_worn_out(self) -> bool:
        """See `ImageLoader`."""
        return self._own.is_worn_out

    def held_back(self) -> AbstractContextManager[None]:
        """See `ImageLoader`."""
        return self._own.held_back()

    def load(self, wanted: LoadRequest) -> Iterator[LoadedImage]:
        """Load images, in order but for those that tasks failed to give back; all by itself where each is noted."""
        by_tasks = wanted.positions if wanted.note is None else ()
        missing, num_given_up = dict.fromkeys(wanted.positions), 0
        with closing(self._from_tasks(wanted.refs, by_tasks)) as images:
            for image in images:
                del missing[image.position]
                num_given_up += isinstance(image.result, ImageError) and image.result.kind is ErrorKind.TIMED_OUT
                yield image
                if num_given_up >= MAX_GIVEN_UP:
                    yield from (not_tried(position, self._work.image_timeout_s) for position in missing)
                    return
        yield from self._own.load(replace(wanted, positions=list(missing)))

    def _from_tasks(self, refs: Sequence[ImageRef], positions: Sequence[int]) -> Generator[LoadedImage, None, None]:
        if not positions:
            return
        # Waited for in a thread, since Ray Data doesn't return before there is something.
        arrived: _Arrived = Queue(_TASKS_HELD)
        is_over = Event()
        Thread(target=_hand_over, args=(self._dataset(refs, positions), arrived, is_over), daemon=True).start()
        try:
            while (images := self._awaited(arrived)) is not None:
                yield from images
        finally:
            is_over.set()

    def _awaited(self, arrived: _Arrived) -> list[LoadedImage] | None:
        """The next task's images; None after the last."""
        while True:
            self._beat()
            with suppress(Empty):
                return arrived.get(timeout=_BEAT_S)

    def _dataset(self, refs: Sequence[ImageRef], positions: Sequence[int]) -> Dataset:
        chunks = [positions[begin : begin + _TASK_IMAGES] for begin in range(0, len(positions), _TASK_IMAGES)]
        rows = [{"images": pickle.dumps([(position, refs[position]) for position in chunk])} for chunk in chunks]
        with warnings.catch_warnings():
            # Without a limit Ray Data tries tasks that die for ever, and what replaces this argument isn't there yet.
            warnings.simplefilter("ignore", RayDeprecationWarning)
            dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                self._task,
                compute=TaskPoolStrategy(min(self._work.decoders, len(rows))),
                num_cpus=1,
                max_retries=_RETRIES,
            )
        dataset.context.max_errored_blocks = -1  # a task that fails leaves the others be
        dataset.context.execution_no_progress_timeout_s = self._patience_s
        dataset.context.execution_options.preserve_order = True
        return dataset


def _hand_over(dataset: Dataset, arrived: _Arrived, is_over: Event) -> None:
    """Hand over what tasks give back, until it is over; at the end None, whatever ended it."""
    try:
        for row in dataset.iter_rows():
            if is_over.is_set():
                break
            _put(arrived, pickle.loads(row["images"]), is_over)
    except Exception:
        if not is_over.is_set():
            _LOGGER.exception("decoding elsewhere failed; the captioner's own CPUs go on")
    finally:
        _put(arrived, None, is_over)


def _put(arrived: _Arrived, images: list[LoadedImage] | None, is_over: Event) -> None:
    while not is_over.is_set():
        with suppress(Full):
            arrived.put(images, timeout=_BEAT_S)
            return


@dataclass(frozen=True)
class _DecodeImages:
    """What a task does."""

    work: CaptioningWork
    image_size: tuple[int, int]

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        positions, refs = zip(*pickle.loads(row["images"]), strict=True)
        images = self._loader().load(LoadRequest(refs, range(len(refs)), ahead=len(refs), together=len(refs)))
        loaded = [replace(image, position=positions[image.position]) for image in images]
        return {"images": pickle.dumps(loaded, protocol=pickle.HIGHEST_PROTOCOL)}

    def _loader(self) -> ImageLoader:
        """This process's, kept from task to task."""
        key = (str(self.work.output), self.work.identity.fingerprint)
        loader = _LOADERS.get(key)
        if loader is not None and loader.is_worn_out:
            os._exit(_WORN_OUT_EXIT_CODE)  # before anything is begun: Ray gives the task to another process
        if loader is None:
            _LOADERS.clear()
            loader = _LOADERS[key] = ImageLoader(self.work, self.image_size)
        return loader


def _no_captioner(threads: int) -> Captioner:
    raise NotImplementedError("tasks that decode have no captioner")
