"""The package and its examples as they lie here: borders, versions, and what the examples choose."""

import ast
import re
import sys
import unittest

import numpy as np

import coldstart_strategy
from coldstart_strategy import BadParams, training
from coldstart_strategy.worker import API

from .fake_host import PYTHON, FakeHost

#: What the kit may import beside the standard library.
ALLOWED = {"msgpack", "numpy"}


class TestPackage(unittest.TestCase):
    @unittest.skipIf(sys.version_info < (3, 10), "this Python has no list of its own modules")
    def test_the_kit_imports_the_standard_library_msgpack_and_numpy(self):
        files = sorted((PYTHON / "coldstart_strategy").glob("*.py"))
        self.assertGreater(len(files), 5)
        for file in files:
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                for name in (name.split(".")[0] for name in names):
                    self.assertTrue(name in sys.stdlib_module_names or name in ALLOWED, f"{file.name} imports {name}")

    def test_versions_agree(self):
        project = (PYTHON / "pyproject.toml").read_text()
        version = re.search(r'^version = "(.*)"$', project, re.MULTILINE).group(1)
        contract = (PYTHON.parent / "plugin-api" / "Cargo.toml").read_text()
        contract = re.search(r'^version = "(.*)"$', contract, re.MULTILINE).group(1)
        self.assertEqual({version, coldstart_strategy.__version__, API}, {contract})


class TestExamples(unittest.TestCase):
    def test_my_idea_chooses_by_entropy_at_a_temperature(self):
        """Closed forms: two classes one apart have an entropy of 0.582, one class far ahead 0, equal ones ln 3."""
        logits = np.array([[0, 1, -1e9], [0, 50, 0], [3, 3, 3]], "<f4")
        serve = {"model.predict/1": lambda args, ids: ({}, [logits[: len(ids)]])}
        with FakeHost((PYTHON / "examples/my_idea.py").read_text(), serve=serve) as host:
            self.assertEqual(host.start('{"temperature": 1.0}'), ("created", {}))
            name, (ids, scores) = host.select(3, unlabelled=(4, 6, 9))
            self.assertEqual((name, ids), ("selected", [9, 4, 6]))
            # float32 sums of three terms.
            np.testing.assert_allclose(scores, [np.log(3), 0.582203, 0], atol=1e-6)

    def test_far_apart_takes_the_farthest_each_time(self):
        """Pixels 0, 1, 10, 10, 6: from any start the picks are settled by hand; equal images are never one pick twice."""
        pixels = np.array([0, 1, 10, 10, 6], "u1").reshape(5, 1, 1, 1)
        serve = {"pool.pixels/1": lambda args, ids: ({}, [pixels])}
        with FakeHost((PYTHON / "examples/far_apart.py").read_text(), serve=serve) as host:
            host.start()
            name, (ids, _) = host.select(5)
            self.assertEqual((name, sorted(ids)), ("selected", [1, 2, 3, 5, 8]))
            farthest = {1: 3, 2: 3, 3: 1, 5: 1, 8: 1}
            self.assertEqual(ids[1], farthest[ids[0]])
            self.assertEqual(host.progress[-1], ("chosen", 5, 5))


class TestReadme(unittest.TestCase):
    def test_its_script_chooses_the_least_sure(self):
        script = (PYTHON / "README.md").read_text().split("```python\n")[1].split("```")[0]
        probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]], "<f4")
        with FakeHost(script, serve={"model.predict/1": lambda args, ids: ({}, [probs])}) as host:
            host.start()
            self.assertEqual(host.select(2, unlabelled=(4, 6, 9))[1][0], [6, 9])


class TestTraining(unittest.TestCase):
    def test_drops_and_warm_up_keep_their_share(self):
        for name, epochs, drops, warmup in [
            ("rotation", 200, [60, 120, 160], 0),
            ("rotation", 15, [5, 9, 12], 0),
            ("rotation", 2, [1, 2], 0),
            ("simclr", 50, None, 1),
            ("simclr", 1, None, 0),
        ]:
            spec = training.with_epochs(training.preset(name), epochs)
            got = (spec["epochs"], spec["schedule"].get("epochs"), spec["warmup_epochs"])
            self.assertEqual(got, (epochs, drops, warmup), name)

    def test_an_unknown_preset_is_refused_with_the_known_ones(self):
        for name, setting, known in [("rotate", "cifar", "moco-v2"), ("rotation", "large", "imagenet")]:
            with self.assertRaisesRegex(BadParams, known):
                training.preset(name, setting)
