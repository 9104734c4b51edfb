"""The data set as a learner has it: images or features by id, in memory that the program shares, without a copy."""

from __future__ import annotations

import mmap
import os
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .errors import Error

#: Ids of images: a list, or a vector of whole numbers.
Ids = Union[Sequence[int], np.ndarray]


class Content(NamedTuple):
    """What the program says of a part."""

    name: str
    ids: np.ndarray
    #: The class of each image; empty where a learner is not told.
    labels: np.ndarray
    #: Height, width and channels; of a set without images the number of features.
    shape: Tuple[int, ...]
    #: The file of each image, or none at all.
    files: List[str]
    #: The folder that the files are in; empty where they lie in an archive.
    root: str


class Part:
    """A part of the data set: the pool, the test part, or the validation images."""

    def __init__(self, content: Content, values: Optional[np.ndarray]):
        #: ``pool``, ``test`` or ``validation``.
        self.name = content.name
        #: The ids, ascending (int64, read-only): no image of another part has one of them.
        self.ids = content.ids
        #: The classes (int64) of the validation images, which are paid for; none of other parts.
        self.labels = content.labels if len(content.labels) else None
        #: Height, width and channels; of a set without images the number of features.
        self.shape = content.shape
        self._files, self._root, self._values = content.files, content.root, values

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pixels(self) -> np.ndarray:
        """All images (uint8, n x height x width x channels) in the order of `ids`: shared memory, read-only, not copied."""
        if self._values is None or len(self.shape) == 1:
            raise Error("this data set has no images: ask for `features`")
        return self._values

    @property
    def vectors(self) -> np.ndarray:
        """All features of a set without images (float32, n x d) in the order of `ids`: shared memory, read-only, not copied."""
        if self._values is None or len(self.shape) != 1:
            raise Error("this data set has images, and no features: ask for `images`")
        return self._values

    def rows(self, ids: Ids) -> np.ndarray:
        """The positions of these ids in the part, for `pixels` and arrays of your own. Errs at one that it has not."""
        wanted = np.asarray(ids, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.ids, wanted), max(len(self.ids) - 1, 0))
        known = self.ids[rows] == wanted if len(self.ids) else np.zeros(len(wanted), bool)
        if not known.all():
            raise Error(f"the image {wanted[~known][0]} is not in the {self.name} part")
        return rows

    def images(self, ids: Ids) -> np.ndarray:
        """The images of these ids (uint8, n x height x width x channels).

        What stands together in the part, such as all of it, is a read-only view of shared memory; any other choice is a copy.
        """
        return self._chosen(self.pixels, ids)

    def features(self, ids: Ids) -> np.ndarray:
        """The features of these ids (float32, n x d) in a set without images; a view or a copy as for `images`."""
        return self._chosen(self.vectors, ids)

    def _chosen(self, values: np.ndarray, ids: Ids) -> np.ndarray:
        rows = self.rows(ids)
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return values[rows[0] : rows[-1] + 1]
        return values[rows]

    def files(self, ids: Ids) -> List[str]:
        """The file of each id, relative to the set's folder with ``/`` between folders. Errs where the set has none."""
        if not self._files:
            raise Error("this data set has no files for single images: ask for `images`")
        return [self._files[row] for row in self.rows(ids)]

    def paths(self, ids: Ids) -> List[str]:
        """The path of each id's file. Errs where the files lie in an archive, or the set has none."""
        files = self.files(ids)
        if not self._root:
            raise Error("the images lie in an archive, so that they have no paths: ask for `images`")
        return [os.path.join(self._root, file) for file in files]


class Data:
    """The data set: its parts, and every image by its id."""

    def __init__(self, parts: Dict[str, Part], classes: List[str]):
        empty = Content("", np.zeros(0, np.int64), np.zeros(0, np.int64), (0, 0, 0), [], "")
        #: What may be labelled, labelled images among it.
        self.pool = parts.get("pool") or Part(empty, None)
        #: What is measured on; its ids follow those of the training part. Its labels stay with the program.
        self.test = parts.get("test")
        #: Images held out of the pool with their labels, by ``dataset.validation``; none without.
        self.validation = parts.get("validation")
        #: The classes' names; class c is ``classes[c]``.
        self.classes = classes
        self._parts = [part for part in (self.pool, self.test, self.validation) if part is not None]

    @property
    def shape(self) -> Tuple[int, ...]:
        """Height, width and channels of every image; of a set without images the number of features."""
        return self.pool.shape

    def part_of(self, ids: Ids) -> Part:
        """The one part that has these ids. Errs where there is none."""
        wanted = np.asarray(ids, dtype=np.int64)
        if not len(wanted):
            return self.pool
        for part in self._parts:
            if len(part) and part.ids[0] <= wanted[0] <= part.ids[-1] and wanted[0] in part.ids:
                return part
        raise Error(f"no part of the data set has the image {wanted[0]}")

    def images(self, ids: Ids) -> np.ndarray:
        """As `Part.images`, of whichever part has the ids."""
        return self.part_of(ids).images(ids)

    def features(self, ids: Ids) -> np.ndarray:
        """As `Part.features`, of whichever part has the ids."""
        return self.part_of(ids).features(ids)

    def files(self, ids: Ids) -> List[str]:
        """As `Part.files`, of whichever part has the ids."""
        return self.part_of(ids).files(ids)

    def paths(self, ids: Ids) -> List[str]:
        """As `Part.paths`, of whichever part has the ids."""
        return self.part_of(ids).paths(ids)


def numbers(packed: bytes) -> np.ndarray:
    """Whole numbers as they travel, read-only."""
    found = np.frombuffer(packed, "<i8")
    found.setflags(write=False)
    return found


def part(content: Content, fd: Optional[int]) -> Part:
    """A part whose pixels, or features, are in the memory file ``fd``, which stays mapped and may be closed."""
    n, size = len(content.ids), int(np.prod(content.shape))
    dtype = np.dtype(np.uint8) if len(content.shape) == 3 else np.dtype("<f4")
    if fd is None or not n * size:
        return Part(content, None)
    # Private pages: whoever writes to them past numpy changes nobody else's images.
    mapped = mmap.mmap(fd, n * size * dtype.itemsize, access=mmap.ACCESS_COPY)
    values = np.frombuffer(mapped, dtype).reshape(n, *content.shape)
    values.setflags(write=False)
    return Part(content, values)
