#!/usr/bin/env python3
"""Fetch the libtorch that Coldstart links: `python3 host/setup/libtorch.py [FOLDER]`.

Downloads three wheels with pip, checks each against the sha256 below, and unpacks from them only what a
CPU build needs (headers, libtorch_cpu, the two small CUDA libraries it is linked to, and their licences) into
FOLDER, by default `.libtorch`. Wheels stay in a cache outside the checkout, so a second clone downloads nothing; one
that does not match its sha256 is deleted and fetched again. Running it twice does nothing twice.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# One wheel per requirement and machine: (requirement, platform tags for pip, sha256 by machine). The CPython tag
# is fixed, because only the libraries inside are used: any Python 3 with pip can run this script.
WHEELS = [
    (
        "torch==2.11.0",
        ["manylinux_2_28"],
        {
            "x86_64": "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
            "aarch64": "f99924682ef0aa6a4ab3b1b76f40dc6e273fca09f367d15a524266db100a723f",
        },
    ),
    (
        "nvidia-cuda-runtime==13.0.96",
        ["manylinux_2_17", "manylinux2014"],
        {
            "x86_64": "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            "aarch64": "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
        },
    ),
    (
        "nvidia-cuda-cupti==13.0.85",
        ["manylinux_2_25"],
        {
            "x86_64": "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            "aarch64": "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
        },
    ),
]

# What to unpack. Without libtorch_cuda.so in the folder, torch-sys links no CUDA; the program loads it at run
# time from an installed PyTorch when it is asked for a GPU.
WANTED = re.compile(
    r"torch/include/.*"
    r"|torch/lib/lib(?!.*(cuda|nvshmem|nvrtc|python|shm\b|global_deps))[^/]*\.so[^/]*"
    r"|torch\.libs/.*"
    r"|nvidia/cu13/lib/lib(cudart|cupti)\.so\.13"
    r"|[^/]*\.dist-info/licenses/[^/]+"
)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".libtorch")
    machine = platform.machine()
    if machine not in WHEELS[0][2]:
        sys.exit(f"libtorch: no wheel for {machine}; set LIBTORCH to a libtorch 2.11.0 folder instead")
    stamp = folder / "unpacked"
    # A folder that was unpacked by other rules is unpacked again.
    wanted = "\n".join([*(f"{name} {sums[machine]}" for name, _, sums in WHEELS), WANTED.pattern]) + "\n"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coldstart" / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    wheels = [fetch(cache, name, tags, sums[machine], machine) for name, tags, sums in WHEELS]
    unpack(wheels, folder, stamp, wanted)
    print(f"libtorch: ready in {folder}", file=sys.stderr)


def fetch(cache: Path, requirement: str, tags: list[str], sha256: str, machine: str) -> Path:
    """The wheel's path in the cache, downloaded if it is not there or not whole."""
    stem = requirement.replace("-", "_").replace("==", "-")
    for path in sorted(cache.glob(f"{stem}-*{machine}.whl")):
        if digest(path) == sha256:
            return path
        print(f"libtorch: {path.name} does not match its sha256, fetching it again", file=sys.stderr)
        path.unlink()
    print(f"libtorch: downloading {requirement} ({machine})", file=sys.stderr)
    # pip writes into a folder of its own and the rename is the commit: a killed download leaves no wheel behind.
    with tempfile.TemporaryDirectory(dir=cache) as partial:
        requirements = Path(partial) / "requirements.txt"
        requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312", "--abi", "none"]
        for tag in tags:
            command += ["--platform", f"{tag}_{machine}"]
        command += ["--require-hashes", "-r", str(requirements), "-d", partial]
        if subprocess.run(command).returncode != 0:
            sys.exit(
                f"libtorch: pip could not download {requirement}\n"
                "hint: check the network and free disk space (1.5 GB), or set LIBTORCH to a libtorch 2.11.0 folder"
            )
        wheel = next(Path(partial).glob("*.whl"))
        path = cache / f"{stem}-{machine}.whl"
        wheel.rename(path)
    return path


def digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def unpack(wheels: list[Path], folder: Path, stamp: Path, wanted: str) -> None:
    """Unpack beside the folder, then swap: an interrupted unpack is never mistaken for a whole one."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if WANTED.fullmatch(name) and not name.endswith("/")]
            archive.extractall(partial, members)
    (partial / stamp.name).write_text(wanted)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


if __name__ == "__main__":
    main()
