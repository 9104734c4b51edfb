"""The command `coldstart`: gives this process over to the program inside this package."""

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PROGRAM = PACKAGE / "program" / "bin" / "coldstart"

#: The libtorch that the program looks for, from where it lies: that of the same environment.
LIBTORCH = PACKAGE.parent / "torch" / "lib" / "libtorch_cpu.so"


def main():
    problem = what_is_missing()
    if problem:
        sys.exit(f"coldstart: {problem}")
    os.execv(PROGRAM, [str(PROGRAM), *sys.argv[1:]])


def what_is_missing():
    """A sentence, or None."""
    if not PROGRAM.is_file():
        return "this package has no program inside: it is made by `make wheel`, or installed with `make install`"
    if not LIBTORCH.is_file():
        return (
            f"there is no PyTorch in {PACKAGE.parent}, where this package is\n"
            "  hint: python3 -m pip install torch==2.11.0, in the same environment"
        )
    return None


if __name__ == "__main__":
    main()
