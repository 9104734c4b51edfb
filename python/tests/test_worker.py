"""The worker from outside, over the frames: what it answers, and what it makes of scripts and hosts that go wrong."""

import os
import subprocess
import sys
import unittest

import msgpack
import numpy as np

from .fake_host import PYTHON, FakeHost, detail

FIRST = "def select(request, host):\n    return request.unlabelled[:request.budget]\n"


def body(line):
    """A script whose `select` is this."""
    return f"import numpy as np\nfrom coldstart_strategy import *\ndef select(request, host):\n    {line}\n"


class TestFlow(unittest.TestCase):
    def test_a_script_is_opened_created_asked_and_dismissed(self):
        with FakeHost(FIRST) as host:
            self.assertEqual(host.start(), ("created", {}))
            self.assertEqual(host.select(3), ("selected", [[1, 2, 3], []]))
            self.assertEqual(host.select(1, round=2), ("selected", [[1], []]))
            self.assertEqual(host.ask("save", {}), ("saved", {"state": b""}))
            self.assertEqual(host.ask("load", {"state": b""}), ("loaded", {}))
            host.send("goodbye", {})
            self.assertEqual(host.process.wait(120), 0)
            self.assertEqual(host.tensors, {})

    def test_a_thread_left_behind_does_not_keep_the_worker(self):
        source = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n" + FIRST
        with FakeHost(source) as host:
            host.start()
            host.send("goodbye", {})
            self.assertEqual(host.process.wait(120), 0)

    def test_the_source_that_the_host_hands_over_counts(self):
        with FakeHost("this is not what was checked") as host:
            self.assertEqual(host.start(source=FIRST)[0], "created")
            self.assertEqual(host.select(1), ("selected", [[1], []]))

    def test_named_modules_come_from_the_host_and_not_from_the_folder(self):
        first = "def first(request):\n    return request.unlabelled[:1]\n"
        for line, modules in [
            ("import helper; first = helper.first", {"helper.py": first}),
            ("from helper import first", {"helper.py": first}),
            ("from tools.picks import first", {"tools/picks.py": first}),
            ("from tools import picks; first = picks.first", {"tools/picks.py": first, "tools/__init__.py": ""}),
            ("from tools import first", {"tools/picks.py": first, "tools/__init__.py": "from .picks import first"}),
            ("import a.b.c as c; first = c.d.first", {"a/b/c/__init__.py": "from . import d", "a/b/c/d.py": first}),
        ]:
            source = f"{line}\ndef select(request, host):\n    return first(request)\n"
            with self.subTest(line), FakeHost(source) as host:
                # What lies there by now is something else.
                for path in modules:
                    host.script.parent.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
                    host.script.parent.joinpath(path).write_text("raise ImportError('not this one')")
                self.assertEqual(host.start(modules=modules), ("created", {}))
                self.assertEqual(host.select(1), ("selected", [[1], []]))

    def test_a_module_that_is_not_named_is_not_imported_and_told_how(self):
        for line, path in [
            ("import helper", "helper.py"),
            ("from helper import first", "helper.py"),
            ("import tools", "tools/__init__.py"),
            ("import named.other", "named/other.py"),
            ("from named import other", "named/other.py"),
            ("from folder import other", "folder/NAME.py"),
        ]:
            with self.subTest(line), FakeHost(f"{line}\n{FIRST}") as host:
                host.script.parent.joinpath(path).parent.mkdir(exist_ok=True)
                host.script.parent.joinpath(path).write_text("")
                name, fields = host.start(modules={"named/one.py": ""})
                self.assertEqual((name, fields["code"]), ("fault", 4))
                self.assertIn(f'write `modules = ["{path}"]`', fields["message"])

    def test_the_scripts_folder_is_no_place_to_import_from(self):
        source = "import random, statistics, sys, os\nassert os.path.dirname(__file__) not in sys.path\n" + FIRST
        with FakeHost(source, name="statistics.py") as host:
            host.script.with_name("random.py").write_text("raise ImportError('not this one')\n")
            self.assertEqual(host.start(), ("created", {}))
            self.assertEqual(host.select(1), ("selected", [[1], []]))
            self.assertEqual(sorted(os.listdir(host.folder.name)), ["random.py", "statistics.py"])

    def test_modules_that_cannot_be_are_refused_by_name(self):
        for path, text, message in [
            ("random.py", "", "`random` in its `modules` is the name of a module that Python has already"),
            ("numpy/__init__.py", "", "`numpy` in its `modules`"),
            ("coldstart_strategy/more.py", "", "`coldstart_strategy` in its `modules`"),
            ("__main__.py", "", "`__main__` in its `modules`"),
            ("helper.py", "def f(:\n", "helper.py:1"),
        ]:
            with self.subTest(path), FakeHost(FIRST) as host:
                name, fields = host.start(modules={path: text})
                self.assertEqual((name, fields["code"]), ("refused", "P009"))
                self.assertIn(message, fields["message"])

    def test_a_bug_in_a_module_is_shown_with_its_line(self):
        source = "import helper\ndef select(request, host):\n    return helper.first(request)\n"
        with FakeHost(source) as host:
            host.start(modules={"helper.py": "def first(request):\n    return request.nothing\n"})
            name, fields = host.select(1)
            self.assertEqual((name, fields["code"]), ("fault", 4))
            self.assertIn("return request.nothing", detail(fields)["backtrace"])

    def test_a_class_gets_params_and_keeps_state(self):
        source = (
            "class Strategy:\n"
            "    def __init__(self, params, host):\n        self.seen = params['from']; self.n = host.pool().images\n"
            "    def select(self, request, host):\n        self.seen += 1\n"
            "        assert request.params == {'from': 10}\n        return [self.seen, self.n]\n"
            "    def save(self):\n        return bytes([self.seen])\n"
            "    def load(self, state):\n        (self.seen,) = state\n"
        )
        pool = {"images": 7, "height": 1, "width": 1, "channels": 1, "classes": ["a"]}
        with FakeHost(source, serve={"pool.info/1": lambda args: (pool, [])}) as host:
            self.assertEqual(host.start('{"from": 10}'), ("created", {}))
            self.assertEqual(host.select(), ("selected", [[11, 7], []]))
            self.assertEqual(host.ask("save", {}), ("saved", {"state": b"\x0b"}))
            self.assertEqual(host.ask("load", {"state": b"\x20"}), ("loaded", {}))
            self.assertEqual(host.select(), ("selected", [[33, 7], []]))
            name, fields = host.ask("load", {"state": b""})
            self.assertEqual((name, fields["code"]), ("fault", 4))

    def test_the_request_says_what_the_host_said(self):
        source = body(
            "assert (request.round, request.budget, request.seed) == (4, 2, bytes(range(32)))\n"
            "    assert request.unlabelled.dtype == np.uint64 and not request.unlabelled.flags.writeable\n"
            "    assert request.pool().tolist() == [0, 1, 2, 3, 4, 5, 8], request.pool()\n"
            "    return request.unlabelled[request.rng('golden').sample(5, 2)]"
        )
        with FakeHost(source) as host:
            host.start()
            first = host.select(round=4)
            self.assertEqual(first[0], "selected", first)
            self.assertEqual(host.select(round=4), first)

    def test_sets_are_in_one_order_in_every_worker(self):
        seen = set()
        for _ in range(3):
            with FakeHost(body("return list({'a': 1, 'b': 2, 'c': 3, 'd': 4}[k] for k in {'a', 'b', 'c', 'd'})")) as host:
                host.start()
                seen.add(tuple(host.select(4)[1][0]))
        self.assertEqual(len(seen), 1)

    def test_many_ids_travel_in_a_memory_file(self):
        with FakeHost(body("return request.unlabelled[::-1][:2]")) as host:
            host.start()
            answer = host.select(unlabelled=range(1_000_000), labelled=())
            self.assertEqual(answer, ("selected", [[999_999, 999_998], []]))


class TestSelections(unittest.TestCase):
    def test_highest_and_lowest_break_ties_by_id_and_hide_no_nan(self):
        for scores, budget, highest, lowest in [
            ("[0.5, 0.9, -0.0, 0.9, 0.0]", 1, [2], [3]),
            ("[0.5, 0.9, -0.0, 0.9, 0.0]", 5, [2, 5, 1, 3, 8], [3, 8, 1, 2, 5]),
            ("np.array([1, 1 + 1e-12, 0, 0, 0])", 2, [1, 2], [3, 5]),
            ("[0.1, np.nan, 0.3, 0, 0]", 1, [2], [2]),
            ("np.array([0.1, -np.nan, 0.3, 0, 0], np.float32)", 1, [2], [2]),
            ("[0, 1e300, -1e300, 0, 1]", 2, [2, 8], [3, 1]),
        ]:
            for name, expected in [("highest", highest), ("lowest", lowest)]:
                with self.subTest(scores, name=name), FakeHost(body(f"return Selection.{name}(request, {scores})")) as host:
                    host.start()
                    chosen, (ids, given) = host.select(budget)
                    self.assertEqual((chosen, ids, len(given)), ("selected", expected, budget))

    def test_what_is_passed_on_for_the_host_to_judge(self):
        for line, ids, n_scores in [
            ("return request.unlabelled", [1, 2, 3, 5, 8], 0),
            ("return []", [], 0),
            ("return (7, 7)", [7, 7], 0),
            ("return np.array([3], dtype=np.int8)", [3], 0),
            ("return Selection([1, 2], [0.5])", [1, 2], 1),
            ("return Selection([2**64 - 1, 0], np.array([1, 2]))", [2**64 - 1, 0], 2),
        ]:
            with self.subTest(line), FakeHost(body(line)) as host:
                host.start()
                name, (got, scores) = host.select()
                self.assertEqual((name, got, len(scores)), ("selected", ids, n_scores))

    def test_what_is_no_selection_is_named(self):
        for line, code, message in [
            ("return None", 100, "`select` must return ids or a Selection, got NoneType"),
            ("return {1, 2}", 100, "`select` must return ids or a Selection, got set"),
            ("return [1.0, 2.0]", 100, "the chosen ids must be a list or vector of whole numbers, got 1.0"),
            ("return [True, False]", 100, "the chosen ids must be a list or vector of whole numbers, got True"),
            ("return np.zeros((2, 2), int)", 100, "whole numbers, got int64 of the shape (2, 2)"),
            ("return [[1], [2, 3]]", 100, "list or vector of whole numbers, got [1]"),
            ("return np.array([1.0])", 100, "a vector of whole numbers, got float64"),
            ("return [1, -1]", 100, "the chosen ids must not be negative, got -1"),
            ("return [2**64]", 100, "the chosen ids must be below 2**64, got 18446744073709551616"),
            ("return [1, 'two']", 100, "the chosen ids must be a list or vector of whole numbers, got 'two'"),
            ("return Selection([1, 2], ['a', 'b'])", 100, "the scores must be a list or vector of numbers"),
            ("return Selection.highest(request, [1, 2])", 4, "scores of the shape (2,); one for each of 5"),
        ]:
            with self.subTest(line), FakeHost(body(line)) as host:
                host.start()
                name, fields = host.select()
                self.assertEqual((name, fields["code"]), ("fault", code), fields)
                self.assertIn(message, fields["message"])


class TestFaults(unittest.TestCase):
    def test_an_exception_is_a_fault_with_its_place(self):
        for line, code, message, place in [
            ("return [][3]", 4, "IndexError: list index out of range", "my_idea.py:4, in select\n"),
            ("return np.ones(2) @ np.ones(3)", 4, "ValueError: matmul", "my_idea.py:4, in select\n"),
            ("return host.predict([0.5])", 100, "ids must be a list or vector of whole numbers", None),
            ("raise Error('too hot', hint='cool it')", 100, "too hot", None),
            ("raise BadParams('no')", 3, "no", None),
            ("import sys; sys.exit(0)", 4, "SystemExit: 0", "my_idea.py:4, in select\n"),
            ("raise MemoryError()", 6, "out of memory", "my_idea.py:4, in select\n"),
            ("return select(request, host)", 4, "RecursionError", "my_idea.py:4, in select\n"),
            ("raise Error('\\ud800')", 100, "?", None),
            ("request.rng('a').shuffle(request.unlabelled)", 4, "read-only", "my_idea.py:4, in select\n"),
        ]:
            with self.subTest(line), FakeHost(body(line)) as host:
                host.start()
                name, fields = host.select()
                self.assertEqual((name, fields["code"]), ("fault", code), fields)
                self.assertIn(message, fields["message"])
                first = detail(fields).get("backtrace", "")
                self.assertEqual(bool(first), place is not None)
                self.assertIn(place or "", first)
                self.assertNotIn("coldstart_strategy/worker.py", first)

    def test_details_of_an_own_error_arrive(self):
        with FakeHost(body("raise Error('too hot', hint='cool it')")) as host:
            host.start()
            self.assertEqual(detail(host.select()[1]), {"hint": "cool it"})
            self.assertEqual(host.select()[1]["code"], 100, "an error that was meant poisons nothing")

    def test_words_that_are_too_long_are_cut_and_say_what_is_left_out(self):
        for line in ["raise Error('é' * 500000)", "raise ValueError('é' * 500000)", "raise Error('x', hint='é' * 500000)"]:
            with FakeHost(body(line)) as host:
                host.start()
                name, fields = host.select(1)
                self.assertEqual(name, "fault")
                self.assertLess(len(fields["message"].encode()) + len(fields["detail"]), 1 << 18, line)
                said = fields["message"] + str(msgpack.unpackb(fields["detail"] or b"\x80"))
                self.assertIn("bytes left out", said, line)

    def test_after_a_bug_the_instance_refuses(self):
        with FakeHost(body("return 1 / 0")) as host:
            host.start()
            self.assertEqual(host.select()[1]["code"], 4)
            for question in [host.select, lambda: host.ask("save", {}), lambda: host.ask("load", {"state": b""})]:
                self.assertEqual(question()[1]["code"], 5)

    def test_a_script_that_cannot_be_a_strategy_is_named(self):
        for source, code, message in [
            ("def select(request, host)\n    pass", "P009", "SyntaxError: "),
            ("x = '\0'", "P009", "source code"),
            ("", 100, "neither a function `select(request, host)` nor a class `Strategy`"),
            ("select = 3", 100, "`select` is no function"),
            (FIRST + "class Strategy: pass", 100, "both `select` and `Strategy`"),
            (FIRST + "def save(): return b''", 100, "`save` and `load` belong together"),
            ("import no_such_module", 4, "ModuleNotFoundError: No module named 'no_such_module'"),
            ("raise SystemExit", 4, "SystemExit"),
        ]:
            with self.subTest(source), FakeHost(source) as host:
                name, fields = host.start()
                self.assertEqual((name, fields["code"]), ("refused" if code == "P009" else "fault", code), fields)
                self.assertIn(message, fields["message"])

    def test_a_sizer_answers_with_a_report(self):
        function = (
            "from coldstart_strategy import Sizing\n"
            "def size(request, bounds, host):\n"
            "    if request.round == 0: return Sizing(bounds.least, 'the least', {'most': bounds.most})\n"
            "    return Sizing.go_on(request, 'more').also(labels=len(request.labelled))\n"
        )
        method = (
            "from coldstart_strategy import Sizing\n"
            "class Sizer:\n"
            "    def __init__(self, params, host): self.asked = 0\n"
            "    def size(self, request, bounds, host):\n"
            "        self.asked += 1\n"
            "        return Sizing.enough(request, f'asked {self.asked} times')\n"
            "    def save(self): return bytes([self.asked])\n"
            "    def load(self, state): (self.asked,) = state\n"
        )
        with FakeHost(function) as host:
            self.assertEqual(host.start(roles=["sizer"]), ("created", {}))
            told = {"wanted": 1, "reason": "the least", "measures": {"most": 9.0}}
            self.assertEqual(host.size(round=0, labelled=()), ("selected", told))
            self.assertEqual(host.size(), ("selected", {"wanted": 4, "reason": "more", "measures": {"labels": 2.0}}))
        with FakeHost(method) as host:
            host.start(roles=["sizer"])
            host.size()
            self.assertEqual(host.ask("save", {}), ("saved", {"state": b"\x01"}))
            told = {"wanted": 2, "reason": "asked 2 times", "measures": {}}
            self.assertEqual(host.size(), ("selected", told))

    def test_what_is_no_sizing_is_named(self):
        for answer, message in [
            ("3", "`size` must return a Sizing, got int"),
            ("Sizing(2.5, '')", "whole number of images, got 2.5"),
            ("Sizing(-1, '')", "got -1"),
            ("Sizing(True, '')", "got True"),
            ("Sizing(2, None)", "the reason must be a text"),
            ("Sizing(2, '', {'x': float('nan')})", "the measure `x` is nan"),
            ("Sizing(2, '', {'x': 'y'})", "the measure `x` is no number"),
        ]:
            source = f"from coldstart_strategy import Sizing\ndef size(request, bounds, host): return {answer}\n"
            with self.subTest(answer), FakeHost(source) as host:
                host.start(roles=["sizer"])
                name, fields = host.size()
                self.assertEqual((name, fields["code"]), ("fault", 100))
                self.assertIn(message, fields["message"])

    def test_the_role_says_what_a_script_must_define(self):
        both = FIRST + "def size(request, bounds, host): return None\n"
        with FakeHost(both) as host:
            host.start()
            self.assertEqual(host.select(1), ("selected", [[1], []]))
        with FakeHost(FIRST) as host:
            name, fields = host.start(roles=["sizer"])
            self.assertEqual((name, fields["code"]), ("fault", 100))
            self.assertIn("neither a function `size(request, bounds, host)` nor a class `Sizer`", fields["message"])

    def test_a_state_that_is_none_is_refused(self):
        for source, question, code in [
            (FIRST, {"load": {"state": b"x"}}, 3),
            (FIRST + "def save(): return 'text'\ndef load(state): pass\n", {"save": {}}, 100),
        ]:
            with self.subTest(source), FakeHost(source) as host:
                host.start()
                self.assertEqual(host.ask(*question.popitem())[1]["code"], code)

    def test_functions_of_a_script_keep_state(self):
        source = "seen = 0\ndef save(): return bytes([seen])\ndef load(state):\n    global seen\n    seen = state[0]\n" + FIRST
        with FakeHost(source) as host:
            host.start()
            self.assertEqual(host.ask("load", {"state": b"\x07"}), ("loaded", {}))
            self.assertEqual(host.ask("save", {}), ("saved", {"state": b"\x07"}))


class TestBrokenHosts(unittest.TestCase):
    def test_what_is_no_frame_ends_the_worker_with_a_sentence(self):
        for mischief, sentence in [
            (lambda host: host.send("dance", {}), "unknown frame `dance`"),
            (lambda host: host.send("hello", {"protocol": 1}), "unknown frame `hello`"),
            (lambda host: host.send_body(b"\xc1"), "a frame is no MessagePack"),
            (lambda host: host.send_body(b""), "a frame is no MessagePack"),
            (lambda host: host.send_body(msgpack.packb([1])), "expected a map with one name"),
            (lambda host: host.send_body(msgpack.packb({"save": {}, "load": {}})), "expected a map with one name"),
            (lambda host: host.send_body(msgpack.packb({"save": 3})), "expected a map with one name"),
            (lambda host: host.send("load", {}), "the frame `load` has no field `state` of type bytes"),
            (lambda host: host.send("create", {"params": 3}), "no field `params` of type str"),
            (lambda host: host.socket.sendall(b"\xff\xff\xff\xff"), "a frame of 4294967295 bytes"),
            (lambda host: host.socket.sendall(b"\x05\x00"), "a frame ends after 0 of 2 bytes"),
            (lambda host: host.socket.sendall(b"\x05\x00\x00\x00\x81"), "a frame ends after 1 of 5 bytes"),
            (lambda host: None, ""),
        ]:
            with self.subTest(sentence), FakeHost(FIRST) as host:
                host.start()
                mischief(host)
                code, output = host.end()
                self.assertEqual((code, sentence in output), (1 if sentence else 0, True), output)
                self.assertNotIn("Traceback", output)

    def test_another_protocol_is_refused(self):
        with FakeHost(FIRST) as host:
            self.assertEqual(host.ask("hello", {"protocol": 2, "api": "9.0.0"})[1]["protocol"], 1)
            code, output = host.end()
            self.assertEqual((code, "the host speaks protocol 2, this kit 1" in output), (1, True), output)

    def test_a_wrong_reply_ends_the_worker_even_past_a_bare_except(self):
        source = body("try: host.pool()\n    except Exception: pass\n    return request.unlabelled[:2]")
        for answer, sentence in [
            ({"dance": {}}, "expected the answer `invoked`, got `dance`"),
            ({}, "expected a map with one name"),
            ({"invoked": {"answer": b""}}, "no field `outputs`"),
            ({"fault": {"code": "x"}}, "a fault without code and message"),
        ]:
            with self.subTest(sentence), FakeHost(source) as host:
                host.start()
                host.before_reply = lambda ask, answer=answer: (answer, None) if "op" in ask else None
                self.assertRaises((EOFError, ConnectionError), host.select)
                code, output = host.end()
                self.assertEqual((code, sentence in output), (1, True), output)

    def test_a_tensor_that_ends_early_is_the_hosts_failure(self):
        with FakeHost(FIRST) as host:
            host.start()
            for fd in [None, os.memfd_create("short")]:
                host.before_reply = lambda ask, fd=fd: ({"tensor": {"dtype": 1, "shape": [3]}}, fd)
                name, fields = host.select()
                self.assertEqual((name, fields["code"]), ("fault", 7))
                self.assertIn("the host gave 0 of a tensor's 24 bytes", fields["message"])

    def test_fields_of_a_newer_host_are_skipped(self):
        with FakeHost(FIRST) as host:
            host.start()
            self.assertEqual(host.ask("save", {"how": "well"}), ("saved", {"state": b""}))


class TestTalk(unittest.TestCase):
    def test_cancellation_is_heard_between_and_within_calls(self):
        loop = body("import time\n    while True:\n        host.check(); time.sleep(0.01)")
        with FakeHost(loop) as host:
            host.start()
            host.before_reply = lambda ask: host.send("cancel", {})
            name, fields = host.select()
            self.assertEqual((name, fields["code"], fields["message"]), ("fault", 1, "cancelled"))
        for line in ["host.pool()", "assert host.cancelled(); host.check()"]:
            with self.subTest(line), FakeHost(body(line)) as host:
                host.start()
                host.send("cancel", {})
                self.assertEqual(host.select()[1]["code"], 1)

    def test_a_script_may_finish_although_it_was_cancelled(self):
        with FakeHost(FIRST) as host:
            host.start()
            host.send("cancel", {})
            self.assertEqual(host.select(1), ("selected", [[1], []]))

    def test_printing_does_not_break_the_frames(self):
        source = body(
            "print('hello', ''); print('a\\nb', end=''); print('c'); import os; os.write(1, b'raw\\n'); return [1, 2]"
        )
        expected = [(3, "print", "early"), (3, "print", "hello "), (3, "print", "a"), (3, "print", "bc")]
        with FakeHost("print('early')\n" + source) as host:
            host.start()
            self.assertEqual(host.select()[0], "selected")
            self.assertEqual([(level, target, message) for level, target, message, _ in host.logs], expected)
            self.assertEqual(host.end(), (0, "raw\n"))

    def test_standard_input_is_empty(self):
        with FakeHost(body("import sys; assert sys.stdin.read() == ''; return [1, 2]")) as host:
            host.start()
            self.assertEqual(host.select(), ("selected", [[1, 2], []]))

    def test_logging_reaches_the_host_at_its_level(self):
        source = (
            "import logging, warnings\nlog = logging.getLogger(__name__)\n"
            "def save():\n    log.error('from save')\n    return b''\ndef load(state): pass\n"
            "def select(request, host):\n    log.debug('fine %d', 1); log.info('plain'); log.critical('%d', 'bad')\n"
            "    try: 1 / 0\n    except ZeroDivisionError: log.exception('caught')\n"
            "    warnings.warn('careful')\n    host.progress('half', 1, 2)\n    return [1, 2]\n"
        )
        with FakeHost(source) as host:
            host.start(log_level=2)
            host.select(log_level=4)
            first = [(level, target, message.split("\n")[0]) for level, target, message, _ in host.logs]
            self.assertEqual(first[:2], [(4, "strategy_my_idea", "fine 1"), (3, "strategy_my_idea", "plain")])
            self.assertEqual(first[2][0], 1)
            self.assertIn("cannot be formatted", first[2][2])
            self.assertEqual(first[3], (1, "strategy_my_idea", "caught"))
            self.assertIn("ZeroDivisionError", msgpack.unpackb(host.logs[3][3])["traceback"])
            self.assertEqual(first[4][:2], (2, "py.warnings"))
            self.assertEqual(host.progress, [("half", 1, 2)])
            for level, expected in [(0, []), (1, [1, 1]), (2, [1, 1, 2])]:
                host.logs.clear()
                host.select(log_level=level)
                self.assertEqual([log[0] for log in host.logs], expected)
            host.logs.clear()
            host.ask("save", {})
            self.assertEqual(host.logs, [], "nobody listens between calls")
            host.select(log_level=1)
            self.assertEqual(host.logs[0][2], "from save")

    def test_threads_of_a_script_may_ask_and_log_at_once(self):
        source = body(
            "import logging; from concurrent.futures import ThreadPoolExecutor\n"
            "    def work(i):\n        logging.info('%d', i); return host.knn(np.full((3, 2), i), 1).distances[0, 0]\n"
            "    with ThreadPoolExecutor(8) as pool: got = list(pool.map(work, range(50)))\n"
            "    assert got == list(range(50)), got\n    return [1, 2]"
        )

        def knn(args, points):
            return {}, [np.zeros((3, 1), "<u8"), points[:, :1].copy()]

        with FakeHost(source, serve={"knn/1": knn}) as host:
            host.start()
            self.assertEqual(host.select(), ("selected", [[1, 2], []]))
            self.assertEqual(len(host.logs), 50)
            self.assertEqual(host.tensors, {})

    def test_a_host_kept_for_later_is_refused(self):
        source = "kept = []\ndef select(request, host):\n    kept.append(host); return [1, 2]\n"
        source += "def save():\n    kept[0].progress('x', 1, 1)\n    kept[0].pool()\ndef load(state): pass\n"
        with FakeHost(source) as host:
            host.start()
            host.select()
            name, fields = host.ask("save", {})
            self.assertEqual((name, fields["code"]), ("fault", 100))
            self.assertIn("only during a call", fields["message"])


class TestByHand(unittest.TestCase):
    def test_started_by_hand_it_says_what_it_is(self):
        for args in [[], ["my_idea.py"], ["a", "b"]]:
            command = [sys.executable, "-m", "coldstart_strategy", *args]
            ended = subprocess.run(command, cwd=PYTHON, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.assertEqual((ended.returncode, b"strategy = " in ended.stderr), (2, True))
