"""The generator against published vectors, the golden values of the kit in Rust, and its own promises."""

import unittest

import numpy as np

from coldstart_strategy import Rng

SEED = bytes(range(32))


class TestRng(unittest.TestCase):
    def test_keystream_equals_the_published_vectors(self):
        """draft-strombergson-chacha-test-vectors, TC1 and TC2, 256-bit key, 8 rounds."""
        for seed, expected in [
            (bytes(32), "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"),
            (bytes([1]) + bytes(31), "cf5ee9a0494aa9613e05d5ed725b804b12f4a465ee635acc3a311de8740489ea"),
        ]:
            self.assertEqual(Rng(seed).bytes(32).hex(), expected)

    def test_draws_are_those_of_rust(self):
        """The golden values of plugin-api/src/rng.rs."""
        rng = Rng.for_stream(SEED, "golden")
        self.assertEqual(rng.next_u64(), 15450004416201523525)
        self.assertEqual(rng.below(1000), 940)
        self.assertEqual(rng.uniform(), 0.25424301948491534)
        # The last bits belong to the platform's logarithm and cosine.
        self.assertAlmostEqual(rng.normal(), -0.2710992369477144, delta=1e-12)
        self.assertEqual(rng.sample(10, 4).tolist(), [2, 4, 3, 6])
        order = list(range(6))
        rng.shuffle(order)
        self.assertEqual(order, [5, 1, 2, 4, 0, 3])

    def test_the_counter_carries_into_the_next_word(self):
        """Block 2**32 of the vector's key: the same as a fresh one whose counter starts there."""
        long, far = Rng(bytes(32)), Rng(bytes(32))
        long._next_block = (1 << 32) - 64
        long.bytes(64 * 64)
        far._next_block = 1 << 32
        self.assertEqual(long.bytes(64), far.bytes(64))

    def test_an_array_is_shuffled_as_a_list(self):
        order, array = list(range(100)), np.arange(100)
        Rng.for_stream(SEED, "a").shuffle(order)
        Rng.for_stream(SEED, "a").shuffle(array)
        self.assertEqual(order, array.tolist())
        self.assertNotEqual(order, sorted(order))

    def test_sample_is_distinct_complete_and_a_prefix(self):
        for n, k in [(0, 0), (0, 3), (1, 1), (5, 0), (5, 5), (5, 9), (1000, 7)]:
            drawn = Rng.for_stream(SEED, "s").sample(n, k).tolist()
            self.assertEqual(len(drawn), min(k, n))
            self.assertEqual(len(set(drawn)), len(drawn))
            self.assertTrue(all(0 <= i < n for i in drawn))
            self.assertEqual(drawn, Rng.for_stream(SEED, "s").sample(n, k + 2).tolist()[: len(drawn)])

    def test_what_cannot_be_drawn_is_refused(self):
        for draw in [lambda rng: rng.below(0), lambda rng: rng.below(-1), lambda rng: rng.below(1 << 64)]:
            self.assertRaises(ValueError, draw, Rng(SEED))
        self.assertRaises(ValueError, Rng, b"short")

    def test_streams_differ_and_numpy_is_seeded(self):
        first, second = (Rng.for_stream(SEED, name).bytes(16) for name in ("a", "b"))
        self.assertNotEqual(first, second)
        draws = [Rng.for_stream(SEED, "a").numpy().random(3).tolist() for _ in range(2)]
        self.assertEqual(draws[0], draws[1])
