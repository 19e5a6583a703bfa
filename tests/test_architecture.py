"""Which way imports point, and which module may import what: the rules that CONTRIBUTING.md's map gives in words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("caption_core", "compression", "jobs")  # each may import itself and what stands before it

# A heavy library, and the modules (with all that is below them) that may import it.
HOMES = {
    "PIL": ["caption_core.images"],
    "ai_edge_litert": ["caption_core.runtimes.litert", "compression"],
    "keras": [],  # Keras 3; the models are functional Keras 2
    "pillow_heif": ["caption_core.images"],
    "matplotlib": ["compression.report"],
    "ray": [
        "caption_core.engine",
        "caption_core.training.distributed",
        "caption_core.training.session",
        "compression.distributed",
        "jobs",
    ],
    "tensorflow": ["caption_core.models", "caption_core.runtimes.tensorflow", "caption_core.training", "compression"],
    "tensorflow_model_optimization": ["compression.encoder_quantization", "compression.steps"],
    "tf_keras": ["caption_core.models", "caption_core.runtimes.tensorflow", "caption_core.training", "compression"],
    "urllib3": ["caption_core.archive.sources.web", "caption_core.archive.sources.web_connections"],
}

LIGHT_MODULES = ("caption_core.archive", "caption_core.metrics", "caption_core.records", "caption_core.search")
LIGHT_LIBRARIES = {"numpy", "pyarrow", "nltk"}


@dataclass(frozen=True)
class Import:
    """One imported name.

    Attributes:
        name: as written, with what is imported from it: `from a import b` gives `a.b`, which may be a module.
        on_load: whether loading the file runs it; False inside a function.
    """

    name: str
    on_load: bool


def read_imports(source: str, package: str) -> Iterator[Import]:
    """What a file in `package` imports, less what only a type checker sees."""
    yield from _visit(ast.parse(source), package, on_load=True)


def _visit(node: ast.AST, package: str, *, on_load: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, on_load) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, package)
        yield from (Import(f"{base}.{alias.name}", on_load) for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (Import(arg.value, on_load) for arg in node.args[:1] if _is_text(arg))  # type: ignore[attr-defined]
    inside = on_load and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in _runtime_children(node):
        yield from _visit(child, package, on_load=inside)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _runtime_children(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return list(node.orelse)
    return list(ast.iter_child_nodes(node))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


FILES = {module_name(path): path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))}
IMPORTS = {name: list(read_imports(path.read_text(), package_name(path))) for name, path in FILES.items()}


def is_within(name: str, modules: tuple[str, ...] | list[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def own_modules(name: str) -> list[str]:
    """The files of this project that importing `name` loads: the module and the packages around it."""
    parts = name.split(".")
    return [prefix for end in range(1, len(parts) + 1) if (prefix := ".".join(parts[:end])) in FILES]


def libraries_on_load(start: str) -> dict[str, str]:
    """Libraries outside the standard one that loading `start` loads, each with the file that imports it."""
    seen, todo, libraries = set[str](), own_modules(start), dict[str, str]()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        for found in (found for found in IMPORTS[module] if found.on_load):
            top = found.name.split(".")[0]
            if top in LAYERS:
                todo.extend(own_modules(found.name))
            elif top not in sys.stdlib_module_names:
                libraries.setdefault(top, module)
    return libraries


def test_the_reader_sees_every_form_of_import() -> None:
    source = """
import a.b as c
from d import e
from . import f
from ..g import h
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import unseen
try:
    import i
except ImportError:
    pass
class K:
    import l
    def m(self):
        import n
        importlib.import_module("o.p")
"""
    found = {(imported.name, imported.on_load) for imported in read_imports(source, "x.y")}
    on_load = {"a.b", "d.e", "x.y.f", "x.g.h", "typing.TYPE_CHECKING", "i", "l"}
    assert found == {(name, True) for name in on_load} | {("n", False), ("o.p", False)}


def test_every_layer_is_read() -> None:
    assert {name.split(".")[0] for name in FILES} == set(LAYERS)
    assert any(is_within(imported.name, ["tensorflow"]) for imported in IMPORTS["caption_core.models.captioning"])


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module: str) -> None:
    level = LAYERS.index(module.split(".")[0])
    higher = [imported.name for imported in IMPORTS[module] if is_within(imported.name, LAYERS[level + 1 :])]
    assert not higher, f"{module} is in {LAYERS[level]} and imports {higher}"


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_only_where_it_lives(library: str) -> None:
    strays = [
        module
        for module, found in IMPORTS.items()
        if not is_within(module, HOMES[library]) and any(is_within(imported.name, [library]) for imported in found)
    ]
    assert not strays, f"{library} belongs to {HOMES[library]}"


@pytest.mark.parametrize("module", [name for name in FILES if is_within(name, LIGHT_MODULES)])
def test_a_light_module_loads_nothing_heavy(module: str) -> None:
    allowed = LIGHT_LIBRARIES | {library for library, homes in HOMES.items() if is_within(module, homes)}
    heavy = {lib: where for lib, where in libraries_on_load(module).items() if lib not in allowed}
    assert not heavy, f"{module} loads {heavy}"


def test_the_captioning_driver_names_no_tensorflow() -> None:
    assert "jobs.caption_batch" in FILES
    libraries = libraries_on_load("jobs.caption_batch")
    assert not {"tensorflow", "tf_keras"} & libraries.keys(), f"loaded: {libraries}"


@pytest.mark.parametrize(
    "work",
    [
        "import jobs.caption_batch",
        "import caption_core.engine.shard_actor; from caption_core.captioner import load_captioner; "
        "from caption_core.engine.captioner_spec import DEFAULT_BUNDLE; load_captioner(DEFAULT_BUNDLE)",
    ],
    ids=["driver", "actor with the bundled captioner"],
)
def test_captioning_loads_nothing_that_it_does_not_need(work: str) -> None:
    script = f"import sys; {work}; print(*{{'tensorflow', 'tf_keras', 'pandas', 'ray.data'}} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def mapped_paths() -> set[str]:
    """The paths that CONTRIBUTING.md's map names, from the folder lines and the indented lines below them."""
    (block,) = re.findall(r"^```\n(jobs/.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    above, paths = list[str](), set[str]()
    for indent, names in re.findall(r"^( *)((?:\S+, )*\S+)", block, re.MULTILINE):
        for name in names.split(", "):
            above = [*above[: len(indent) // 2], name]
            paths.add("".join(above))
    return paths


def test_the_map_names_only_what_is_there() -> None:
    assert [path for path in mapped_paths() if not (ROOT / path).exists()] == []


def test_the_map_names_every_package_and_every_module_on_the_first_level() -> None:
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in FILES.values() if path.name == "__init__.py"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "caption_core").glob("*.py")}
    assert {*packages, *modules} - mapped_paths() == {"caption_core/__init__.py"}
