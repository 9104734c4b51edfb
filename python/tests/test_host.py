"""Every operation of the kit against a host that answers it: what is asked, and what comes back as arrays."""

import unittest

import numpy as np

from .fake_host import FakeHost

POINTS = np.array([[0, 0], [0, 1], [5, 5]], "<f4")
#: A pick and its number.
PICKS = [np.array([4], "<u8"), np.array([[0.5]], "<f4")]

#: What a script does, and the operations that it meets: name -> (expected args, expected inputs, answer, outputs).
ROWS = [
    (
        "p = host.pool(); assert (p.images, p.height, p.width, p.channels, p.classes) == (7, 2, 3, 1, ['a', 'b'])",
        {"pool.info/1": ({}, [], {"images": 7, "height": 2, "width": 3, "channels": 1, "classes": ["a", "b"], "new": 1}, [])},
    ),
    (
        "e = host.env(); assert (e.threads, e.device) == (2, 'cpu')",
        {"env.info/1": ({}, [], {"threads": 2, "device": "cpu"}, [])},
    ),
    (
        "r = host.run(); assert (r.query.name, r.query.criterion, r.initial.criterion) == ('entropy', 'uncertainty', '')\n"
        "    assert (r.learner.name, r.learner.frozen, r.query_size, r.until) == ('linear-probe', True, 10, None)",
        {
            "run.info/1": (
                {},
                [],
                {
                    "initial": {"name": "random"},
                    "query": {"name": "entropy", "criterion": "uncertainty"},
                    "learner": {"name": "linear-probe", "frozen": True},
                    "query_size": 10,
                    "until": None,
                },
                [],
            )
        },
    ),
    (
        "p = host.prequential(3); assert (p.ids.tolist(), p.rounds.tolist(), p.right().tolist()) == ([4, 7], [1, 2], [True, False])",
        {
            "prequential.get/1": (
                {"rounds": 3},
                [],
                {},
                [np.array(column, "<u8") for column in ([4, 7], [1, 2], [0, 1], [0, 2])],
            )
        },
    ),
    (
        "assert host.choose_by('margin', [9, 4, 6], 2, 'first').tolist() == [6, 9]",
        {
            "strategy.select/1": (
                {"strategy": "margin", "count": 2, "stream": "first", "keep": False},
                [[9, 4, 6]],
                {},
                [np.array([6, 9], "<u8")],
            )
        },
    ),
    (
        "assert len(host.prequential().labels) == 0",
        {"prequential.get/1": ({}, [], {}, [np.array([], "<u8")] * 4)},
    ),
    (
        "p = host.predict([3, 1]).probabilities(); p /= 2; assert p.tolist() == [[0, 0], [0, 0.5], [2.5, 2.5]], p",
        {"model.predict/1": ({"outputs": ["probabilities"]}, [[3, 1]], {}, [POINTS])},
    ),
    (
        "l, e = host.predict([3]).outputs('logits', 'embeddings'); assert l.shape == (3, 2) and e.shape == (1, 3)",
        {"model.predict/1": ({"outputs": ["logits", "embeddings"]}, [[3]], {}, [POINTS, np.ones((1, 3), "<f4")])},
    ),
    (
        "v = Views([{'op': 'flip', 'p': 0.5}], 4, reduce='variance'); host.predict([1], of='m', views=v).embeddings()",
        {
            "model.predict/2": (
                {
                    "outputs": ["embeddings"],
                    "model": "m",
                    "views": {"ops": [{"op": "flip", "p": 0.5}], "count": 4, "clean": False, "reduce": "variance"},
                },
                [[1]],
                {},
                [POINTS],
            )
        },
    ),
    (
        "t = host.train({'name': 'x'}, [1, 2], classes=[0, 1]); assert (t.loss, t.accuracy, t.cached) == (0.5, None, True)\n"
        "    assert t.records[0].shape == (3, 2); host.predict([1], of=t).logits()",
        {
            "train/1": ({"name": "x"}, [[1, 2], [0, 1]], {"model": "m", "cached": True, "loss": 0.5}, [POINTS]),
            "model.predict/2": ({"outputs": ["logits"], "model": "m", "views": None}, [[1]], {}, [POINTS]),
        },
    ),
    (
        "t = host.train({}, [1], values=[[1, 2]]); assert (t.accuracy, t.records) == (0.25, [])",
        {"train/1": ({}, [[1], [[1, 2]]], {"model": "m", "cached": False, "loss": 1.0, "accuracy": 0.25}, [])},
    ),
    ("assert host.represent([4]).shape == (3, 2)", {"represent/1": ({}, [[4]], {"model": "m"}, [POINTS])}),
    (
        "c = host.kmeans([[1, 2]], 2, stream='s'); assert (c.inertia, c.of_point.tolist(), c.centres.shape) == (0.5, [0], (3, 2))",
        {
            "kmeans/1": (
                {"clusters": 2, "iterations": 300, "restarts": 10, "stream": "s"},
                [[[1, 2]]],
                {"inertia": 0.5},
                [np.zeros(1, "<u8"), POINTS],
            )
        },
    ),
    (
        "assert host.kmeans([[1, 2]], 2, tolerance=1e-4).inertia == 0.5",
        {
            "kmeans/1": (
                {"clusters": 2, "iterations": 300, "restarts": 10, "stream": "kmeans", "tolerance": 1e-4},
                [[[1, 2]]],
                {"inertia": 0.5},
                [np.zeros(1, "<u8"), POINTS],
            )
        },
    ),
    (
        "n = host.knn(np.ones((3, 2)), 2); assert n.positions.dtype == np.int64 and n.distances.shape == (3, 2)",
        {"knn/1": ({"k": 2}, [[[1, 1]] * 3], {}, [np.zeros((3, 2), "<u8"), POINTS])},
    ),
    (
        "n = host.nearest([[1, 2]], np.ones((3, 2)), 1, among=[0, 2]); assert n.positions.shape == (3, 1), n",
        {
            "nearest/1": (
                {"k": 1, "among": True},
                [[[1, 2]], [[1, 1]] * 3, [0, 2]],
                {},
                [np.zeros((3, 1), "<u8"), POINTS],
            )
        },
    ),
    (
        "assert host.kmeans_pp([[1, 2]], 1, first='largest-norm', times=[[3]]).tolist() == [4]",
        {
            "kmeans_pp/1": (
                {"k": 1, "first": "largest-norm", "stream": "kmeans_pp"},
                [[[1, 2]], [[3]]],
                {},
                [np.array([4], "<u8")],
            )
        },
    ),
    (
        "c = host.k_center([[1, 2]], 1, [5]); assert (c.positions.tolist(), c.scores.tolist()) == ([4], [0.5])",
        {"k_center/1": ({"k": 1, "stream": "k_center"}, [[[1, 2]], [5]], {}, PICKS)},
    ),
    (
        "c = host.coverage([[1, 2]], 1, {'rbf': {'bandwidth': 2.0}}, weights=[3], candidates=[4])\n"
        "    assert (c.positions.tolist(), c.scores.tolist()) == ([4], [0.5])",
        {
            "coverage/1": (
                {
                    "k": 1,
                    "kernel": {"rbf": {"bandwidth": 2.0}},
                    "weights": True,
                    "radii": False,
                    "candidates": True,
                    "bonus": None,
                },
                [[[1, 2]], [], [[3]], [4]],
                {"before": 0.0, "after": 0.5},
                PICKS,
            )
        },
    ),
    (
        "p = host.predict([1], dropout=Dropout(2, 0.25)).probabilities(); assert p.shape == (1, 2, 3)\n"
        "    assert host.reduce(p, 'bald').tolist() == [0.5]",
        {
            "model.predict/3": (
                {
                    "outputs": ["probabilities"],
                    "model": None,
                    "views": None,
                    "dropout": {"passes": 2, "p": 0.25, "shared": True, "clean": False},
                },
                [[1]],
                {},
                [np.ones((1, 2, 3), "<f4")],
            ),
            "reduce/1": ({"measure": "bald"}, [[[[1, 1, 1]] * 2]], {}, [np.array([[0.5]], "<f4")]),
        },
    ),
    ("assert host.labels([0]).tolist() == [9]", {"labels.get/1": ({}, [[0]], {}, [np.array([9], "<u8")])}),
    (
        "assert host.pixels(request.unlabelled[:1]).shape == (1, 2, 3, 1)",
        {"pool.pixels/1": ({}, [[1]], {}, [np.zeros((1, 2, 3, 1), "u1")])},
    ),
    ("host.put_artifact('a.csv', b'1')", {"artifact.put/1": ({"name": "a.csv", "bytes": b"1"}, [], {}, [])}),
    (
        "host.put_map('m', [1], [[0, 1]], [2], title='T', axes=('x', 'y'), group='cluster')",
        {
            "map.put/1": (
                {"name": "m", "title": "T", "x_axis": "x", "y_axis": "y", "group": "cluster"},
                [[1], [[0, 1]], [2]],
                {},
                [],
            )
        },
    ),
    ("assert host.supports('x-new/1') and not host.supports('x-old/1')", {"x-new/1": None}),
    (
        "answer, (a, b) = host.invoke('x-new/1', {'k': [1]}, [np.zeros((0, 3), np.uint8)])\n"
        "    assert answer == {'n': 1} and a.shape == (0, 4) and b.tolist() == 7, (a, b)",
        {"x-new/1": ({"k": [1]}, [[]], {"n": 1}, [np.zeros((0, 4), "<f4"), np.array(7, "<u8")])},
    ),
    (
        "assert host.represent([1]).shape == (100_000, 64)",
        {"represent/1": ({}, [[1]], {}, [np.ones((100_000, 64), "<f4")])},
    ),
]

#: What a script does that fails, the fault's code and a part of its message, and what the host answers.
FAILURES = [
    ("host.predict([1]).logits()", 2, "model.predict/1: not offered", None),
    ("host.predict([1]).logits()", 7, "the model's output holds nan at row 1", [np.array([[1], [np.nan]], "<f4")]),
    ("host.predict([1]).logits()", 7, "instead of 1", []),
    ("host.predict([1]).logits()", 7, "expected a matrix", [np.ones(3, "<f4")]),
    ("host.predict(['a'])", 100, "whole numbers", None),
    ("host.knn([[1.0, np.inf]], 1)", 100, "row 0 holds a number that is not finite", None),
    ("host.knn([1.0], 1)", 100, "expected a matrix", None),
    ("host.invoke('x/1', {}, [np.zeros(3)])", 100, "x/1: an array of float64", None),
]


class TestOperations(unittest.TestCase):
    def test_each_asks_for_what_the_contract_says(self):
        for line, operations in ROWS:
            met = []
            serve = {op: self._served(op, met, *row) if row else None for op, row in operations.items()}
            with self.subTest(line), FakeHost(self._script(line), serve=serve) as host:
                host.start()
                self.assertEqual(host.select(), ("selected", [[1, 2], []]))
                self.assertEqual(met, [op for op, row in operations.items() if row])
                self.assertEqual(host.tensors, {}, "every tensor is released")

    def test_a_failure_is_named_and_leaks_no_tensor(self):
        for line, code, message, outputs in FAILURES:
            serve = {} if outputs is None else {"model.predict/1": lambda args, ids, outputs=outputs: ({}, outputs)}
            with self.subTest(line, outputs=outputs), FakeHost(self._script(line), serve=serve) as host:
                host.start()
                name, fields = host.select()
                self.assertEqual((name, fields["code"]), ("fault", code), fields)
                self.assertIn(message, fields["message"])
                self.assertEqual(host.tensors, {})

    def test_a_fault_of_the_host_can_be_caught_with_its_hint(self):
        line = "try: host.pool()\n    except Unsupported as error: assert error.details == {'hint': 'ask later'}, error.details"
        with FakeHost(self._script(line)) as host:
            host.start()
            self.assertEqual(host.select()[0], "selected")

    def _script(self, line):
        return f"import numpy as np\nfrom coldstart_strategy import *\ndef select(request, host):\n    {line}\n    return [1, 2]\n"

    def _served(self, op, met, expected_args, expected_inputs, answer, outputs):
        def serve(args, *inputs):
            met.append(op)
            self.assertEqual(args, expected_args)
            self.assertEqual([array.tolist() for array in inputs], expected_inputs)
            return answer, outputs

        return serve
