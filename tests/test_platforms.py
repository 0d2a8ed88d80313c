"""Every platform that TensorFlow serves: the requirements can be installed there, and every module imports there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("training", "export", "app", "models")
PLATFORMS = {  # sys_platform, platform_machine, os_name, platform_system: does onnxruntime-gpu have a wheel there
    ("linux", "x86_64", "posix", "Linux"): True,
    ("linux", "aarch64", "posix", "Linux"): False,
    ("win32", "AMD64", "nt", "Windows"): True,
    ("win32", "ARM64", "nt", "Windows"): False,
    ("darwin", "arm64", "posix", "Darwin"): False,
    ("darwin", "x86_64", "posix", "Darwin"): False,
}


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def requirements() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def required_on(platform: tuple[str, ...], python: str = "3.12") -> list[str]:
    """Names of the packages that pip installs on a platform."""
    names = dict(zip(("sys_platform", "platform_machine", "os_name", "platform_system"), platform, strict=True))
    environment = {**default_environment(), **names, "python_version": python, "python_full_version": f"{python}.1"}
    return [each.name for each in requirements() if each.marker is None or each.marker.evaluate(environment)]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("platform", "has_gpu_wheel"), PLATFORMS.items(), ids=lambda value: str(value))
def test_exactly_one_onnxruntime_and_it_has_a_wheel(platform, has_gpu_wheel, python):
    found = [name for name in required_on(platform, python) if name.startswith("onnxruntime")]
    assert found == ["onnxruntime-gpu" if has_gpu_wheel else "onnxruntime"]


def test_both_onnxruntimes_are_of_the_same_versions():
    ranges = {each.name: each.specifier for each in requirements() if each.name.startswith("onnxruntime")}
    assert len(ranges) == 2
    assert len(set(map(str, ranges.values()))) == 1


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda value: str(value))
def test_all_else_is_required_everywhere(platform):
    everywhere = {each.name for each in requirements()} - {"onnxruntime", "onnxruntime-gpu"}
    assert {"tensorflow", "filelock", "psutil"} <= everywhere <= set(required_on(platform))


def test_every_module_imports_without_the_modules_that_windows_lacks():
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files()]
    code = (
        "import importlib, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "sys.modules.update(fcntl=None, resource=None)\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "print(len(sys.argv) - 1)"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) == len(names) > 100


def test_text_is_read_and_written_in_utf_8_on_every_platform():
    """Windows takes the machine's code page where no encoding is named."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not silent
