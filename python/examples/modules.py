# /// coldstart
# roles = ["query"]
# modules = ["helper.py", "tools/picks.py", "tools/__init__.py"]
# ///
import helper
from tools import picks


def select(request, host):
    return picks.first(helper.pool(request), request.budget)
