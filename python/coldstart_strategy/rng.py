"""The contract's random generator: ChaCha8, number for number the one of the kit in Rust.

The keystream of ChaCha with 8 rounds: the 32-byte seed is the key, words 12 and 13 count blocks from 0, words 14 and 15
hold the stream, all little-endian. The plain stream is 0; a named one is the 64-bit FNV-1a hash of its name. A port to
Rust that draws in the same order from the same stream gets the same numbers, in every version of Python and numpy;
of `normal` alone the last bits belong to the platform's logarithm and cosine.
"""

from __future__ import annotations

import math
from typing import List, Union

import numpy as np
import numpy.random  # noqa: F401, now and not when it is used: a sandbox may open no file later

#: "expand 32-byte k", the constant of ChaCha.
_SIGMA = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
#: Blocks that are made at once, side by side: a detail of speed, not of the numbers.
_BLOCKS = 64
_U64 = (1 << 64) - 1


class Rng:
    """A seeded generator. Not for secrets."""

    def __init__(self, seed: bytes, nonce: int = 0):
        key = np.frombuffer(bytes(seed), dtype="<u4")
        if len(key) != 8:
            raise ValueError(f"a seed has 32 bytes, not {len(seed)}")
        self._head = np.concatenate([np.array(_SIGMA, dtype=np.uint32), key]).astype(np.uint32)
        self._nonce = np.array([nonce & 0xFFFFFFFF, nonce >> 32], dtype=np.uint32)
        self._next_block = 0
        self._words: List[int] = []
        self._used = 0

    @staticmethod
    def for_stream(seed: bytes, stream: str) -> Rng:
        """The named stream of a seed: independent of every other name's."""
        return Rng(seed, _fnv1a(stream.encode()))

    def next_u32(self) -> int:
        """The next word of the keystream."""
        if self._used == len(self._words):
            self._refill()
        self._used += 1
        return self._words[self._used - 1]

    def next_u64(self) -> int:
        """Two words, the first one low."""
        low = self.next_u32()
        return low | self.next_u32() << 32

    def bytes(self, n: int) -> bytes:
        """``n`` bytes of whole words, little-endian; the rest of a last partial word is dropped."""
        words = [self.next_u32() for _ in range((n + 3) // 4)]
        return np.array(words, dtype="<u4").tobytes()[:n]

    def below(self, n: int) -> int:
        """Uniform in ``0..n``, unbiased (Lemire's multiplication with rejection)."""
        n = int(n)
        if not 0 < n <= _U64:
            raise ValueError(f"cannot draw below {n}")
        threshold = (1 << 64) % n
        while True:
            wide = self.next_u64() * n
            if wide & _U64 >= threshold:
                return wide >> 64

    def uniform(self) -> float:
        """Uniform in [0, 1): the top 53 bits of one `next_u64`."""
        return (self.next_u64() >> 11) * 2.0**-53

    def normal(self) -> float:
        """Standard normal: the cosine branch of Box and Muller, two uniforms a draw."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return radius * math.cos(math.tau * self.uniform())

    def shuffle(self, items: Union[list, np.ndarray]) -> None:
        """Shuffle a list or a vector in place: Fisher and Yates, from the last position down."""
        if isinstance(items, np.ndarray):
            order = list(range(len(items)))
            self.shuffle(order)
            items[:] = items[order]
            return
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def sample(self, n: int, k: int) -> np.ndarray:
        """``k`` distinct positions of ``0..n`` in the order drawn; all of them, shuffled, if ``k >= n``."""
        moved: dict = {}
        drawn = []
        for i in range(min(k, n)):
            j = i + self.below(n - i)
            at_i = moved.pop(i, i)
            if i == j:
                drawn.append(at_i)
            else:
                drawn.append(moved.get(j, j))
                moved[j] = at_i
        return np.array(drawn, dtype=np.int64)

    def numpy(self) -> np.random.Generator:
        """numpy's generator, seeded from 16 bytes of this stream: for arrays of draws.

        What it draws has no counterpart in Rust, and numpy may change it from version to version.
        """
        return np.random.Generator(np.random.PCG64(int.from_bytes(self.bytes(16), "little")))

    def _refill(self) -> None:
        counters = np.arange(self._next_block, self._next_block + _BLOCKS, dtype=np.uint64)
        self._next_block += _BLOCKS
        start = np.empty((16, _BLOCKS), dtype=np.uint32)
        start[:12] = self._head[:, None]
        start[12], start[13] = counters & np.uint64(0xFFFFFFFF), counters >> np.uint64(32)
        start[14:] = self._nonce[:, None]
        self._words = _chacha8(start).T.ravel().tolist()
        self._used = 0


def _fnv1a(text: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 & _U64
    return value


def _chacha8(start: np.ndarray) -> np.ndarray:
    """The blocks of the states ``start``, a column each."""
    a, b, c, d = (start[row : row + 4].copy() for row in (0, 4, 8, 12))
    for _ in range(4):
        a, b, c, d = _quarter_rounds(a, b, c, d)
        # The diagonals are columns once the rows are turned.
        b, c, d = np.roll(b, -1, axis=0), np.roll(c, -2, axis=0), np.roll(d, -3, axis=0)
        a, b, c, d = _quarter_rounds(a, b, c, d)
        b, c, d = np.roll(b, 1, axis=0), np.roll(c, 2, axis=0), np.roll(d, 3, axis=0)
    return np.concatenate([a, b, c, d]) + start


def _quarter_rounds(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple:
    for turn_d, turn_b in ((16, 12), (8, 7)):
        a = a + b
        d = _turned(d ^ a, turn_d)
        c = c + d
        b = _turned(b ^ c, turn_b)
    return a, b, c, d


def _turned(words: np.ndarray, bits: int) -> np.ndarray:
    return words << np.uint32(bits) | words >> np.uint32(32 - bits)
