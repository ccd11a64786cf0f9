"""Compiles the table ops for the TensorFlow that is installed, and says where their library is."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mexport_pb.errors import InvalidArgumentError, MexportError

__all__ = ["COMMAND", "build_ops", "find_ops_library"]

COMMAND = "mexport build-ops"

_HERE = Path(__file__).resolve().parent
# Of a package that was installed from a wheel, and of the source tree.
_SOURCES = (_HERE / "_table_ops_source", _HERE.parent.parent / "cpp")
_CORE_FLAGS = (
    "-std=c++20",
    "-O3",
    "-DNDEBUG",
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-pthread",
)
_KERNEL_FLAGS = ("-std=c++17", *_CORE_FLAGS[1:])
_LONGEST_OUTPUT = 4000
# All of them are imported as tensorflow. cpp/tf_ops/CMakeLists.txt has the same.
_PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-rocm", "tf-nightly", "tf-nightly-cpu")


def tensorflow_version() -> str:
    """The installed TensorFlow's version; it is not imported.

    Raises:
        MexportError: there is none.
    """
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    raise MexportError("mexport_pb.runtime: tensorflow is not installed")


def find_ops_library() -> Path:
    """The ops library for the installed TensorFlow: the package's own, or one that :func:`build_ops` made.

    Raises:
        MexportError: there is none. The message names the command that makes one.
    """
    version = tensorflow_version()
    candidates = [_HERE / f"_table_ops.tf{version}.so"]
    if _source_folder() is not None:
        candidates.append(_cached_path(version))
    for path in candidates:
        if path.is_file():
            return path
    others = sorted(path.name for path in _HERE.glob("_table_ops.tf*.so"))
    found = f"got {', '.join(others)}" if others else "got none"
    raise MexportError(
        f"mexport_pb.runtime: the library of table ops: {found}, want one for tensorflow {version}; "
        f"run `{COMMAND}` to compile it"
    )


def build_ops(output: str | os.PathLike[str] | None = None, *, jobs: int | None = None) -> Path:
    """Compile the table ops for the installed TensorFlow; takes a minute or two.

    Args:
        output: The library's path; by default one in the user's cache, where :func:`find_ops_library` looks. Its name
            carries TensorFlow's version and a digest of the sources.
        jobs: Compilers at a time; as many as there are processors when None.

    Returns:
        The library's path.

    Raises:
        InvalidArgumentError: `jobs` is less than 1.
        MexportError: there is no TensorFlow, no compiler (``$CXX``, by default g++) or no source, or compiling fails.
    """
    version = tensorflow_version()
    source = _source_folder()
    if source is None:
        raise MexportError(f"mexport_pb.runtime: {_SOURCES[0]}: the sources of the table ops are not there")
    path = Path(output) if output is not None else _cached_path(version)
    if jobs is not None and jobs < 1:
        raise InvalidArgumentError(f"jobs: got {jobs}, want at least 1")
    compiler = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    if shutil.which(compiler[0]) is None:
        raise MexportError(
            f"mexport_pb.runtime: no compiler: got {compiler[0]!r}, want a C++20 compiler; set CXX to one"
        )
    compile_flags, link_flags = _tensorflow_flags()
    # Those headers are not ours to warn of.
    compile_flags = [flag.replace("-I", "-isystem", 1) if flag.startswith("-I") else flag for flag in compile_flags]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mexport-ops-") as folder:

        def compile_one(numbered: tuple[int, Path]) -> Path:
            number, file = numbered
            target = Path(folder, f"{number}.o")
            kernel = file.parent.name == "kernels"
            flags = [*_KERNEL_FLAGS, *compile_flags] if kernel else list(_CORE_FLAGS)
            _run([*compiler, *flags, f"-I{source}", "-c", str(file), "-o", str(target)])
            return target

        with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, enumerate(_translation_units(source))))
        # Made beside its place and renamed: a library is there as a whole or not at all.
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            _run([*compiler, "-shared", "-pthread", *map(str, objects), *link_flags, "-o", str(unfinished)])
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def _source_folder() -> Path | None:
    return next((folder for folder in _SOURCES if (folder / "tf_ops").is_dir()), None)


def _translation_units(source: Path) -> list[Path]:
    """The slow ones first."""
    folders = (source / "tf_ops" / "kernels", source / "tf_ops", source / "core")
    return [file for folder in folders for file in sorted(folder.glob("*.cc"))]


@functools.cache
def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    for folder in ("core", "tf_ops"):
        for file in sorted((source / folder).rglob("*")):
            if file.suffix in (".cc", ".h"):
                digest.update(f"{file.relative_to(source)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _cached_path(version: str) -> Path:
    source = _source_folder()
    assert source is not None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mexport_pb" / f"table_ops.tf{version}.{_digest(source)}.so"


def _tensorflow_flags() -> tuple[list[str], list[str]]:
    """Compile and link flags, asked of a process of its own: importing TensorFlow here may not be wanted."""
    script = (
        "import json, tensorflow as tf; "
        "print('\\n' + json.dumps([tf.sysconfig.get_compile_flags(), tf.sysconfig.get_link_flags()]))"
    )
    output = _run([sys.executable, "-c", script])
    compile_flags, link_flags = json.loads(output.strip().rsplit("\n", 1)[-1])
    return compile_flags, link_flags


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MexportError(f"{' '.join(command[:1])} failed: {done.stderr.strip()[-_LONGEST_OUTPUT:]}")
    return done.stdout
