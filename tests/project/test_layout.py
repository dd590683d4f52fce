"""The layout: who may import whom, how long a module may be, what the package offers and what importing it costs."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
import token
import tokenize
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import annotation_queue

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(annotation_queue.__file__).parent
# Each module may import those before it.
ORDER = [
    # ground: nothing of queues
    "errors",
    "values",
    "json_values",
    "walks",
    "schemas",
    "ids",
    "backoff",
    "docstrings",
    "construction",
    "tables",
    "entities",
    "converters",
    # the domain, pure
    "states",
    "moves",
    "items",
    "records",
    "counters",
    "sorting",
    "cursors",
    "query",
    "labels",
    "changes",
    "scans",
    # the contract
    "repository",
    "storage",
    # the service
    "arguments",
    "decisions",
    "answers",
    "lists",
    "queues",
    # beside it
    "batch",
    "aio",
    "telemetry",
    "agreement",
    "frames",
    "exports",
    "cli",
]
GROUND = ORDER[: ORDER.index("converters") + 1]
CONTRACT = ORDER[: ORDER.index("repository") + 1]
SERVICE = ORDER[: ORDER.index("queues") + 1]
# Packages beside the order: what they may import besides themselves.
BESIDE = {
    "repositories": {*CONTRACT},
    "testing": {*SERVICE},
    "wire": {*SERVICE},
    "web": {*SERVICE, "wire", "exports", ""},
    "client": {*SERVICE, "wire"},
    "cli": {*ORDER, "repositories", "wire", "web", ""},
    "__main__": {"cli"},
    # The samples are programs of a user: they know the public names only.
    "samples": {""},
}
# What the storages may import of one another: nothing, but for what the two that speak SQL share.
STORAGES: dict[str, set[str]] = {"memory": set(), "sql": set(), "sqlite": {"sql"}, "postgres": {"sql"}}
EVERYWHERE = {"attr", "attrs"}
# What only some modules may import, for its weight or because it is an extra.
RESERVED: dict[str, str | tuple[str, ...]] = {
    "sqlite3": ("repositories.sqlite", "repositories.sql.files"),
    "psycopg": "repositories.postgres",
    "psycopg_pool": "repositories.postgres",
    "cattrs": ("wire", "converters"),
    "pydantic": "entities",
    "pydantic_core": "entities",
    "starlette": "web",
    "limits": "web",
    "httpx": "client",
    "jinja2": "web.pages",
    "uvicorn": ("cli.serve", "cli.connections"),
    "jsonschema_rs": "schemas",
    "statsmodels": "agreement",
    "numpy": ("agreement", "frames"),
    "pandas": "frames",
    "pyarrow": "cli.exports",
    "click": "cli",
    "rich": ("cli", "batch.progress"),
    "tqdm": "batch.progress",
    "opentelemetry": "telemetry",
    "pytest": "testing",
    "hypothesis": "testing",
}
MOST_LINES = 310
"""Most lines of code of a module: no docstrings, comments, imports or blank lines count."""


def modules() -> Iterator[tuple[str, Path]]:
    """Name every module of the package, without the package's own name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Take a file apart, once for all rules; the module itself is the first."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[str]:
    """Name every module that a file imports, wherever in the file it does."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            assert node.module is not None
            if node.module == "annotation_queue":
                # A module of the package, or a name that the package itself offers.
                for alias in node.names:
                    is_module = (PACKAGE / f"{alias.name}.py").exists() or (PACKAGE / alias.name).is_dir()
                    yield f"annotation_queue.{alias.name}" if is_module else "annotation_queue"
            else:
                yield node.module


MODULES = dict(modules())


def test_imports_run_downwards_only() -> None:
    above = [f"{name} imports {each}" for name, path in MODULES.items() for each in imports_from_above(name, path)]
    assert above == []


def imports_from_above(name: str, path: Path) -> Iterator[str]:
    """Find what a module imports although it stands above it, or although nobody said where the module stands."""
    noun = name.partition(".")[0]
    if not noun:
        return  # the package itself offers what its modules hold
    if noun not in ORDER and noun not in BESIDE:
        yield "something, and has no place in the order of imports yet"
        return
    allowed = (BESIDE[noun] if noun in BESIDE else set(ORDER[: ORDER.index(noun)])) | {noun}
    for each in imports(path):
        if is_ours(each) and each.removeprefix("annotation_queue").removeprefix(".").partition(".")[0] not in allowed:
            yield each


def test_what_is_reserved_is_imported_in_its_own_module_only() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in imports(path)
        if not is_at_home(name, imported)
    ]
    assert wrong == []


def is_at_home(name: str, imported: str) -> bool:
    """Tell whether a module may import what it imports, from outside the package."""
    root = imported.partition(".")[0]
    if root in RESERVED:
        return name.startswith(RESERVED[root])
    return root in sys.stdlib_module_names | EVERYWHERE or is_ours(imported)


def test_the_storages_import_nothing_of_one_another() -> None:
    wrong = []
    for name, path in MODULES.items():
        parts = name.split(".")
        if parts[0] != "repositories" or len(parts) == 1 or parts[1] not in STORAGES:
            continue
        for imported in imports(path):
            other = imported.split(".")[2:3] if imported.startswith("annotation_queue.repositories.") else []
            if other and other[0] in STORAGES and other[0] not in STORAGES[parts[1]] | {parts[1]}:
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_the_conformance_suite_imports_no_storage() -> None:
    # A stranger's storage is tested by the same suite as ours, so it can know nothing of ours.
    wrong = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in imports(path)
        if name.split(".")[0] == "testing" and "repositories" in imported.split(".")
    ]
    assert wrong == []


def test_no_module_grows_past_310_lines_of_code() -> None:
    sizes = {name: lines_of_code(path) for name, path in MODULES.items()}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}


def lines_of_code(path: Path) -> int:
    """Count the lines that hold code: no docstrings, comments, imports or blank lines."""
    beside = {token.COMMENT, token.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER}
    with path.open(encoding="utf-8") as file:
        lines = {each.start[0] for each in tokenize.generate_tokens(file.readline) if each.type not in beside}
    for node in nodes(path):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_lines_of_code_are_counted_without_docstrings_comments_imports_and_blank_lines(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""What."""\n\nimport os\n\n\ndef f():\n    """Do."""\n    # why\n    return os\n')
    assert lines_of_code(module) == 2


def is_ours(imported: str) -> bool:
    """Tell whether a module is one of the package's."""
    return imported.partition(".")[0] == "annotation_queue"


def test_the_public_names_are_sorted_distinct_and_there() -> None:
    names = annotation_queue.__all__

    def place(name: str) -> tuple[int, str]:
        """Sort constants first, then classes, then functions, as the linter does."""
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert names == sorted(set(names), key=place)
    assert [name for name in names if not hasattr(annotation_queue, name)] == []
    assert {"AnnotationQueues", "MemoryRepository", "SQLiteRepository", "run_batch"} <= set(names)


def test_every_public_class_function_and_method_is_documented() -> None:
    bare = []
    for name in annotation_queue.__all__:
        value = getattr(annotation_queue, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not vars(value).get("__doc__", value.__doc__ if inspect.isfunction(value) else None):
            bare.append(name)
        if inspect.isclass(value):
            methods = {key: made for key, made in vars(value).items() if not key.startswith("_")}
            bare += [
                f"{name}.{key}"
                for key, made in methods.items()
                if (inspect.isfunction(made) or isinstance(made, property)) and not made.__doc__
            ]
    assert bare == []


def test_every_module_says_what_it_is_for() -> None:
    trees = {name: nodes(path)[0] for name, path in MODULES.items()}
    assert [name for name, tree in trees.items() if isinstance(tree, ast.Module) and not ast.get_docstring(tree)] == []


def run_bare(code: str) -> str:
    """Run code in a fresh interpreter that measures no coverage and sees no environment."""
    return subprocess.run([sys.executable, "-I", "-c", code], env={}, capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_but_the_two_requirements() -> None:
    code = """
import json, sys
before = set(sys.modules)
import annotation_queue
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
    roots = set(json.loads(run_bare(code)))
    assert "annotation_queue" in roots
    assert roots - sys.stdlib_module_names - EVERYWHERE == {"annotation_queue"}


def test_importing_the_package_leaves_out_what_is_slow_to_import() -> None:
    # How long it takes in all is measured by the benchmarks; these would cost the most.
    slow = {"asyncio", "multiprocessing", "email", "http", "unittest", "concurrent.futures.process", "xml"}
    loaded = run_bare("import annotation_queue, sys; print(*sys.modules)").split()
    assert "annotation_queue" in loaded
    assert slow.isdisjoint(loaded)


IN_EACH = {"statements.sql", "queries", "migrations/0001.sql", "check", "connections"}
"""What the tour says of both storages that speak SQL."""


def test_every_place_that_the_tour_of_the_code_names_is_there() -> None:
    doc = annotation_queue.__doc__ or ""
    tour = doc[doc.index("## For those who change the code") : doc.index("Logs are below")]
    named = set(re.findall(r"`+([a-z_0-9./]+)`+", tour))
    assert named >= IN_EACH
    storages = [PACKAGE / "repositories" / name for name in ("sqlite", "postgres")]
    missing = [name for name in named & IN_EACH for folder in storages if not is_there(folder, name)]
    # The benchmarks stand beside the package.
    around = (PACKAGE, PACKAGE / "repositories", PACKAGE.parent)
    missing += [name for name in named - IN_EACH if not any(is_there(folder, name) for folder in around)]
    assert missing == []


def is_there(folder: Path, name: str) -> bool:
    """Tell whether a folder has a file, a module or a folder of a name."""
    return (folder / name).exists() or any((folder / f"{name.replace('.', '/')}{end}").exists() for end in ("", ".py"))
