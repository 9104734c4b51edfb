# What a sandbox has to leave open for this interpreter. Asked outside of it, before any script, with a search that knows no
# current folder; nothing but the standard library is imported.
import json
import os
import site
import sysconfig
from importlib import util


def kit():
    """The folder of the kit; looking for it runs nothing of it."""
    spec = util.find_spec("coldstart_strategy")
    return os.path.dirname(os.path.realpath(spec.origin)) if spec and spec.origin else None


def folders():
    """Where modules come from, and what the interpreter itself reads to start."""
    found = [*sys.path, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_config_var("LIBDIR")]
    found += [os.path.join(prefix, "lib") for prefix in (sys.base_prefix, sys.base_exec_prefix)]
    # Says that this is a virtual environment, and of which interpreter.
    found += [os.path.join(sys.prefix, "pyvenv.cfg"), sys.executable]
    return sorted({os.path.realpath(path) for path in found if path and os.path.isabs(path) and os.path.exists(path)})


def homes():
    found = {os.path.expanduser("~"), os.environ.get("HOME", "")}
    try:
        import pwd

        found.add(pwd.getpwuid(os.getuid()).pw_dir)
    except (ImportError, KeyError):
        pass
    return sorted(os.path.realpath(home) for home in found if os.path.isabs(home))


place = kit()
answer = {
    "python": sys.executable,
    "kit": place,
    "current": bool(place) and os.path.exists(os.path.join(place, "learner.py")),
    "missing": [name for name in ("coldstart_strategy", "numpy", "msgpack") if util.find_spec(name) is None],
    "path": [path for path in sys.path if os.path.isabs(path)],
    "read": folders(),
    "homes": homes(),
    "user_base": site.getuserbase() if site.ENABLE_USER_SITE else None,
}
print(json.dumps(answer))
