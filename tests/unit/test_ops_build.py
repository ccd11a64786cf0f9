"""Finding and compiling the library of table ops, without TensorFlow."""

from __future__ import annotations

import pytest

from mexport_pb.cli import main
from mexport_pb.errors import MexportError
from mexport_pb.runtime import build_ops, ops_build


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that writes its command into each output, in place of a real one."""
    path = tmp_path / "compiler"
    # No Python: it runs for each source.
    path.write_text(
        "#!/bin/sh\n"
        'for word; do [ "$last" = -o ] && output=$word; last=$word; done\n'
        'printf \'%s\\n\' "$@" > "$output"\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ops_build, "tensorflow_version", lambda: "9.8.7")
    monkeypatch.setattr(ops_build, "_tensorflow_flags", lambda: (["-I/tf/include", "-DTF=1"], ["-L/tf", "-l:tf.so"]))
    return path


def test_the_library_goes_to_the_cache_where_it_is_found(compiler, tmp_path, capsys):
    with pytest.raises(MexportError, match=r"want one for tensorflow 9\.8\.7; run `mexport build-ops` to compile it"):
        ops_build.find_ops_library()
    assert main(["build-ops", "-j", "2"]) == 0
    path = ops_build.find_ops_library()
    assert capsys.readouterr().out == f"{path}\n"
    assert path.parent == tmp_path / "cache" / "mexport_pb"
    assert path.name.startswith("table_ops.tf9.8.7.")
    assert list(path.parent.iterdir()) == [path]
    command = path.read_text().splitlines()
    assert command[0] == "-shared"
    assert command[-4:-1] == ["-L/tf", "-l:tf.so", "-o"]
    assert sum(part.endswith(".o") for part in command) > 50


def test_kernels_are_compiled_as_tensorflow_wants_it(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", f"env {compiler}")  # as "ccache g++"
    commands = []
    run = ops_build._run
    monkeypatch.setattr(ops_build, "_run", lambda command: (commands.append(command), run(command))[1])
    assert build_ops(tmp_path / "here.so", jobs=1) == tmp_path / "here.so"
    compiled = {command[command.index("-c") + 1]: command for command in commands if "-c" in command}
    for source, command in compiled.items():
        kernel = "/tf_ops/kernels/" in source
        assert ("-isystem/tf/include" in command) == kernel
        assert ("-DTF=1" in command) == kernel
        assert ("-std=c++17" if kernel else "-std=c++20") in command


def test_what_goes_wrong_is_told(compiler, tmp_path, monkeypatch):
    compiler.write_text("#!/bin/sh\necho 'x.cc:1: error: no such type' >&2\nexit 1\n")
    with pytest.raises(MexportError, match=r"compiler failed: x\.cc:1: error: no such type"):
        build_ops()
    assert not list((tmp_path / "cache" / "mexport_pb").iterdir())
    with pytest.raises(MexportError, match="jobs: got 0, want at least 1"):
        build_ops(jobs=0)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MexportError, match=r"no compiler: got 'no-such-compiler'"):
        build_ops()
    monkeypatch.setattr(ops_build, "_SOURCES", (tmp_path / "nowhere",))
    with pytest.raises(MexportError, match=r"nowhere: the sources of the table ops are not there"):
        build_ops()
    with pytest.raises(MexportError, match="run `mexport build-ops`"):
        ops_build.find_ops_library()


@pytest.mark.parametrize("package", ["tensorflow", "tensorflow-cpu", "tf-nightly"])
def test_each_package_of_tensorflow_will_do(package, monkeypatch):
    def version(name):
        if name != package:
            raise ops_build.importlib.metadata.PackageNotFoundError(name)
        return "9.8.7"

    monkeypatch.setattr(ops_build.importlib.metadata, "version", version)
    assert ops_build.tensorflow_version() == "9.8.7"


def test_without_tensorflow(monkeypatch):
    def missing(name):
        raise ops_build.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(ops_build.importlib.metadata, "version", missing)
    with pytest.raises(MexportError, match="tensorflow is not installed"):
        build_ops()
