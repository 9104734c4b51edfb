"""The worker of a learner from outside, over the frames: what it is told, what it answers, and what it makes of scripts that go wrong."""

import os
import textwrap
import unittest
from pathlib import Path

import numpy as np

from .fake_host import PYTHON, FakeHost, detail

SHAPE = (2, 2, 1)
#: Pool ids have gaps; those of the test part follow them.
POOL, TEST = [0, 2, 3, 7], [8, 9, 10]

PLAIN = """
import numpy as np
class Learner:
    def fit(self, labelled, labels, seed, warm):
        self.counts = np.bincount(labels, minlength=2)
        self.warm = warm
    def predict(self, ids):
        return np.tile(self.counts / self.counts.sum(), (len(ids), 1))
"""


def packed(numbers):
    return np.asarray(numbers, "<i8").tobytes()


def pixels(ids):
    """Each image is filled with its id."""
    return np.repeat(np.asarray(ids, np.uint8), int(np.prod(SHAPE)))


class FakeProgram(FakeHost):
    """The program's side of a learner."""

    SERVE = ("-c", "import sys; from coldstart_strategy.__main__ import serve_learner; serve_learner(sys.argv[1])")

    def open(self, modules=()):
        """Greet and open; the answer to `open`."""
        name, fields = self.ask("hello", {"protocol": 1, "api": "1.3.0"})
        assert (name, fields["protocol"]) == ("hello", 1), (name, fields)
        modules = [{"path": path, "source": text.encode()} for path, text in dict(modules).items()]
        with open(os.memfd_create("script"), "wb") as file:
            file.write(self.script.read_bytes())
            file.flush()
            return self.ask("open", {"modules": modules, "log_level": 3}, file.fileno())

    def part(self, name, ids, labels=(), files=(), root=""):
        fields = {"name": name, "ids": packed(ids), "labels": packed(labels), "shape": SHAPE, "files": files, "root": root}
        fd = os.memfd_create(name)
        try:
            os.write(fd, pixels(ids).tobytes())
            assert self.ask("part", fields, fd) == ("taken", {})
        finally:
            os.close(fd)

    def start(self, params="{}", modules=(), **parts):
        """Greet, open, hand the data over and create; the answer to `create`."""
        opened = self.open(modules)
        assert opened[0] == "opened", opened
        self.part("pool", POOL, **parts)
        self.part("test", TEST)
        setting = {"params": params, "classes": ["cat", "dog"], "device": "cpu", "threads": 1, "log_level": 3}
        return self.ask("create", setting)

    def fit(self, labelled=(0, 2, 3), labels=(0, 1, 1), seed=7, warm=False):
        fields = {"labelled": packed(labelled), "labels": packed(labels), "seed": seed, "warm": warm, "log_level": 3}
        return self.ask("fit", fields)

    def answers(self, method="predict", ids=TEST, passes=0, seed=7):
        """The arrays of an answer, or the fault."""
        self.send("ask", {"ids": packed(ids), "method": method, "passes": passes, "seed": seed, "log_level": 3})
        arrays = []
        while True:
            name, fields = self.answer()
            if name == "array":
                arrays.append((fields["shape"], b""))
            elif name == "piece":
                arrays[-1] = (arrays[-1][0], arrays[-1][1] + fields["bytes"])
            elif name == "answered":
                return [np.frombuffer(content, "<f4").reshape(shape) for shape, content in arrays]
            else:
                return name, fields


def learner(*methods, fit="pass", predict="return np.full((len(ids), 2), 0.5)"):
    """A script with these bodies; `methods` are more of them, whole."""
    lines = ["import numpy as np", "class Learner:", "    def fit(self, labelled, labels, seed, warm):"]
    lines += [textwrap.indent(fit, " " * 8), "    def predict(self, ids):", textwrap.indent(predict, " " * 8)]
    lines += [textwrap.indent(method, " " * 4) for method in methods]
    return "\n".join(lines) + "\n"


class TestFlow(unittest.TestCase):
    def test_a_learner_is_opened_told_trained_and_asked(self):
        with FakeProgram(PLAIN) as program:
            self.assertEqual(program.start(), ("created", {}))
            self.assertEqual(program.fit(), ("fitted", {"loss": None, "accuracy": None}))
            (probs_nc,) = program.answers()
            np.testing.assert_allclose(probs_nc, [[1 / 3, 2 / 3]] * 3, rtol=1e-6)
            program.send("goodbye", {})
            self.assertEqual(program.process.wait(120), 0)

    def test_what_it_has_is_told_with_versions(self):
        methods = "def embed(self, ids): pass", "def save(self, path): pass", "def load(self, path): pass"
        with FakeProgram(learner(*methods)) as program:
            name, fields = program.open()
            self.assertEqual(name, "opened")
            self.assertEqual(fields["methods"], ["fit", "predict", "embed", "save", "load"])
            self.assertEqual(fields["versions"]["numpy"], np.__version__)
            self.assertIn("python", fields["versions"])

    def test_a_large_answer_comes_in_pieces_and_whole(self):
        body = "def embed(self, ids): return np.arange(len(ids) * 2_000_000, dtype=np.float32).reshape(len(ids), -1)"
        with FakeProgram(learner(body)) as program:
            program.start()
            (embeds_nd,) = program.answers("embed")
            self.assertEqual(embeds_nd.shape, (3, 2_000_000))
            self.assertTrue((embeds_nd.ravel() == np.arange(6_000_000, dtype=np.float32)).all())

    def test_params_device_threads_and_progress_are_there_before_init(self):
        init = "def __init__(self):\n    self.progress(1, 2)\n    assert (self.params, self.device, self.threads) == ({'k': 3}, 'cpu', 1)"
        with FakeProgram(learner(init)) as program:
            self.assertEqual(program.start('{"k": 3}'), ("created", {}))
            self.assertEqual(program.progress, [("training", 1, 2)])

    def test_what_fit_returns_is_told(self):
        for returned, expected in [
            ("None", (None, None)),
            ("{'loss': 0.5}", (0.5, None)),
            ("{'loss': np.float32(0.5), 'accuracy': 1}", (0.5, 1.0)),
            ("'all is well'", (None, None)),
        ]:
            with self.subTest(returned), FakeProgram(learner(fit=f"return {returned}")) as program:
                program.start()
                self.assertEqual(program.fit(), ("fitted", dict(zip(("loss", "accuracy"), expected))))

    def test_generators_of_nobody_are_seeded(self):
        fit = "import random\nself.drawn = [random.random(), np.random.random()]"
        with FakeProgram(learner(fit=fit, predict="return np.tile(self.drawn, (len(ids), 1))")) as program:
            program.start()
            first, again, other = [(program.fit(seed=seed), program.answers()[0])[1] for seed in (7, 7, 8)]
            self.assertTrue((first == again).all() and (first != other).any())

    def test_it_stores_itself_and_is_taken_up(self):
        save = "def save(self, path): open(path, 'w').write(self.state)"
        load = "def load(self, path): self.state = open(path).read()"
        body = learner(save, load, fit="self.state = str(labels.sum())", predict="return np.full((len(ids), 2), float(self.state))")
        with FakeProgram(body) as program:
            path = str(Path(program.folder.name, "model"))
            program.start()
            program.fit()
            self.assertEqual(program.ask("save", {"path": path}), ("saved", {}))
            program.fit(labels=(0, 0, 0))
            self.assertEqual(program.ask("load", {"path": path}), ("loaded", {}))
            self.assertEqual(program.answers()[0][0, 0], 2.0)

    def test_modules_come_from_the_program(self):
        with FakeProgram("from tools.net import half\n" + learner(predict="return half(ids)")) as program:
            half = "import numpy as np\ndef half(ids): return np.full((len(ids), 2), 0.5)\n"
            self.assertEqual(program.start(modules={"tools/net.py": half}), ("created", {}))
            self.assertEqual(program.answers()[0].shape, (3, 2))


class TestData(unittest.TestCase):
    def shown(self, expression, **parts):
        """What an expression about the data comes to."""
        body = learner("def embed(self, ids):\n    return np.atleast_2d(np.asarray(%s, dtype=float))" % expression)
        with FakeProgram(body) as program:
            program.start(**parts)
            answer = program.answers("embed")
            return answer[0].tolist() if isinstance(answer, list) else answer

    def test_images_are_found_by_id_in_either_part(self):
        for expression, expected in [
            ("self.data.images([3, 0])[:, 0, 0, 0]", [[3, 0]]),
            ("self.data.images([10])[:, 1, 1, 0]", [[10]]),
            ("self.data.pool.pixels[:, 0, 0, 0]", [POOL]),
            ("self.data.test.images(self.data.test.ids).sum(axis=(1, 2, 3))", [[4 * id for id in TEST]]),
            ("self.data.pool.rows([7, 2])", [[3, 1]]),
            ("self.data.shape", [list(SHAPE)]),
            ("[len(self.data.pool), len(self.data.test), self.data.validation is None]", [[4, 3, 1]]),
            ("[self.data.part_of([9]) is self.data.test, self.data.part_of([2]) is self.data.pool]", [[1, 1]]),
        ]:
            with self.subTest(expression):
                self.assertEqual(self.shown(expression), expected)

    def test_a_run_of_images_is_a_view_and_nobody_can_write_to_it(self):
        for ids, view in [("self.data.test.ids", 1), ("[2, 3]", 1), ("[3, 2]", 0), ("[0, 3]", 0)]:
            with self.subTest(ids):
                expression = f"[np.shares_memory(self.data.images({ids}), self.data.part_of({ids}).pixels)]"
                self.assertEqual(self.shown(expression), [[view]])
        name, fields = self.shown("self.data.images([2, 3]).__setitem__(0, 1)")
        self.assertEqual(name, "fault")
        self.assertIn("read-only", fields["message"])

    def test_files_have_paths_where_they_lie_in_a_folder(self):
        files = ["a.png", "b/c.png", "d.png", "e.png"]
        expression = "[p == '/set/b/c.png' for p in self.data.paths([2])]"
        self.assertEqual(self.shown(expression, files=files, root="/set"), [[1]])
        for parts, words in [({}, "has no files"), ({"files": files}, "lie in an archive")]:
            name, fields = self.shown("self.data.paths([2])", **parts)
            self.assertEqual(name, "fault")
            self.assertIn(words, fields["message"])

    def test_an_id_of_nobody_is_told(self):
        for expression in ("self.data.images([1])", "self.data.pool.rows([9])", "self.data.images([99])"):
            name, fields = self.shown(expression)
            self.assertEqual(name, "fault")
            self.assertIn("the image", fields["message"])


class TestMischief(unittest.TestCase):
    def test_what_is_no_learner_is_refused_with_its_place(self):
        for source, words in [
            ("x = 1", "defines no class `Learner`"),
            ("Learner = 3", "defines no class `Learner`"),
            ("class Learner:\n    def predict(self, ids): pass", "no method `fit(self, labelled, labels, seed, warm)`"),
            ("class Learner:\n    def fit(self, a, b, c, d): pass", "no method `predict(self, ids)`"),
            ("class Learner:\n    def fit(self, ids): pass\n    def predict(self, ids): pass", "cannot be called as `fit("),
            ("class Learner:\n    def fit(self, *all): pass\n    predict = 3", "`predict` of the class `Learner` is no method"),
            (learner("def save(self, path): pass"), "define both or neither"),
            ("def (", "SyntaxError"),
            ("import no_such_module", "No module named 'no_such_module'"),
            ("raise SystemExit(3)", "SystemExit: 3"),
        ]:
            with self.subTest(source), FakeProgram(source) as program:
                name, fields = program.open()
                self.assertEqual((name, detail(fields).get("kind")), ("fault", "script"), fields)
                self.assertIn(words, fields["message"])

    def test_an_exception_comes_with_its_last_line(self):
        for body, words in [
            ("raise ValueError('two\\nlines')", "ValueError: two\nlines"),
            ("assert False", "AssertionError"),
            ("import sys; sys.exit('gone')", "SystemExit: gone"),
            ("from coldstart_strategy import Error; raise Error('a sentence', hint='a hint')", "a sentence"),
        ]:
            with self.subTest(body), FakeProgram(learner(fit=body)) as program:
                program.start()
                name, fields = program.fit()
                self.assertEqual((name, fields["message"]), ("fault", words))
                self.assertEqual(detail(fields)["place"], f"my_idea.py:4, in fit: {body}")
                # The next question is answered: whether the run goes on is for the program to say.
                self.assertEqual(len(program.answers()), 1)

    def test_what_is_no_array_of_numbers_is_told(self):
        for body, words in [
            ("return None", "returned NoneType"),
            ("return ['a', 'b', 'c']", "returned an array of <U1"),
            ("return [[1, 2], [3]]", "an array of numbers"),
            ("return {1: 2}", "returned dict"),
            ("return np.zeros((3, 2), complex)", "returned an array of complex128"),
        ]:
            with self.subTest(body), FakeProgram(learner(predict=body)) as program:
                program.start()
                name, fields = program.answers()
                self.assertEqual((name, detail(fields).get("kind")), ("fault", "shape"))
                self.assertIn(words, fields["message"])

    def test_any_kind_of_number_becomes_a_float(self):
        for body in ("return [[1, 0]] * 3", "return np.eye(3, 2, dtype=bool)", "return np.ones((3, 2), np.float64)"):
            with self.subTest(body), FakeProgram(learner(predict=body)) as program:
                program.start()
                self.assertEqual(program.answers()[0].shape, (3, 2))

    def test_a_file_elsewhere_is_told_with_the_remedy(self):
        load = "def load(self, path): pass"
        with FakeProgram(learner("def save(self, path): np.savez(path, x=1)", load)) as program:
            program.start()
            name, fields = program.ask("save", {"path": str(Path(program.folder.name, "model"))})
            self.assertEqual(name, "fault")
            self.assertIn("model.npz", fields["message"])

    def test_a_wish_to_stop_reaches_progress(self):
        fit = "for i in range(10**9): self.progress(i, 10**9)"
        with FakeProgram(learner(fit=fit)) as program:
            program.start()
            fields = {"labelled": packed([0]), "labels": packed([0]), "seed": 1, "warm": False, "log_level": 3}
            program.send("fit", fields)
            self.assertEqual(program.receive()[0], "progress")
            program.send("cancel", {})
            name, fields = program.answer()
            self.assertEqual((name, fields["code"]), ("fault", 1))

    def test_what_is_printed_is_logged(self):
        with FakeProgram(learner(fit="print('epoch 1')")) as program:
            program.start()
            program.fit()
            self.assertIn((3, "print", "epoch 1"), [log[:3] for log in program.logs])


class TestExamples(unittest.TestCase):
    def test_the_numpy_example_learns_in_every_way(self):
        source = (PYTHON / "examples" / "softmax_learner.py").read_text()
        with FakeProgram(source) as program:
            self.assertEqual(program.start('{"steps": 50, "lr": 5.0}'), ("created", {}))
            program.fit(labelled=(0, 2, 3, 7), labels=(0, 0, 0, 1))
            (probs_nc,) = program.answers()
            np.testing.assert_allclose(probs_nc.sum(axis=1), 1, rtol=1e-6)
            self.assertEqual(program.answers("embed")[0].shape, (3, 5))
            (passes_nkc,) = program.answers("predict_dropout", passes=4)
            self.assertEqual(passes_nkc.shape, (3, 4, 2))
            (again_nkc,) = program.answers("predict_dropout", passes=4)
            self.assertTrue((passes_nkc == again_nkc).all())
            path = str(Path(program.folder.name, "model"))
            program.ask("save", {"path": path})
            program.fit(labels=(1, 1, 1))
            program.ask("load", {"path": path})
            self.assertTrue((program.answers()[0] == probs_nc).all())


if __name__ == "__main__":
    unittest.main()
