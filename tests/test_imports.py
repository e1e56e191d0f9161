"""Which module may import which, which one reads the environment, and that importing does nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = ("client", "server", "fedmx", "local", "bench", "examples", "fuzz")
GENERATED = {"fedmx/protocol/link_pb2.py"}

# The modules in which Flower documents its app API; everything else of flwr may change without notice.
PUBLIC_OF_FLOWER = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy"}
# Where private names of Flower are used all the same, and why.
PRIVATE_OF_FLOWER = {
    # The one module for fedmx, server and client; it gives the upstream reason beside each name.
    "fedmx/link/flower.py": {
        "flwr.app.exception",
        "flwr.app.message",
        "flwr.app.message.message",
        "flwr.supercore.run",
        "flwr.supercore.task_identity",
    },
    # What starts the simulation engine. Flower documents it in its API reference.
    "local/simulation/engine.py": {"flwr.simulation"},
    # Accounting and calibration of noise, which Flower ships with `flwr[dp]` and does not export.
    # The engine that the link is measured against is Flower's deprecated one.
    "bench/engines/deprecated.py": {
        "flwr.common",
        "flwr.compat.client.app",
        "flwr.compat.client.client",
        "flwr.compat.server.app",
        "flwr.server",
        "flwr.server.strategy",
    },
}
# Statements that do something at import; each has its reason beside it.
ACTS_ON_IMPORT = {
    "fedmx/__init__.py": {"libraries.silence()"},
    "client/mx.py": {
        "set_omp_threads(load_settings().client_threads)",
        "set_cpu_isa(load_settings().cpu_isa)",
        "restore_names()",
        """with _naming_missing_libraries(), _hiding('scipy.stats'):
    import mxnet as mx
    from mxnet import autograd, gluon""",
    },
}
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def list_modules() -> list[str]:
    found = (path.relative_to(ROOT).as_posix() for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    return sorted(set(found) - GENERATED)


MODULES = list_modules()


def parse(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(), module)


def list_imports(module: str) -> Iterator[str]:
    """Yield every absolute import of a module, wherever in it."""
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def list_imported_names(module: str) -> Iterator[str]:
    """Yield every absolute import of a module, and every name imported from one, which may be a module."""
    yield from list_imports(module)
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def is_definition(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return all(is_name(target) for target in statement.targets)
    if isinstance(statement, ast.AnnAssign):
        return isinstance(statement.target, ast.Name)
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)  # a docstring
    return isinstance(statement, DEFINITIONS) or is_program_entry(statement)


def is_name(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) or (isinstance(target, ast.Tuple) and all(map(is_name, target.elts)))


def is_program_entry(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def test_the_rules_apply_to_every_module() -> None:
    assert {"client/mx.py", "server/rounds.py", "fedmx/link/node.py", "bench/__main__.py"} <= set(MODULES)


@pytest.mark.parametrize(
    ("tree", "forbidden"),
    [
        ("fedmx", ("server", "client", "local", "bench", "examples", "fuzz")),
        ("server", ("client", "local", "bench", "examples", "fuzz")),
        ("client", ("server", "local", "bench", "examples", "fuzz")),
        ("local", ("bench", "examples", "fuzz")),
        ("fedmx/protocol", ("fedmx.link", "fedmx.pki", "grpc", "socket", "ssl", "threading", "asyncio")),
        # A link uses certificates; it issues none.
        ("fedmx/link", ("fedmx.pki.authority", "fedmx.pki.csr", "fedmx.pki.register", "fedmx.pki.renewal")),
        ("fedmx/pki", ("fedmx.link", "fedmx.protocol", "threading", "asyncio")),
    ],
)
def test_packages_import_only_what_is_below_them(tree: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        (module, name)
        for module in MODULES
        if module.startswith(f"{tree}/")
        for name in list_imported_names(module)
        if is_below(name, *forbidden)
    ]
    assert wrong == []


def test_fedmx_needs_flower_numpy_and_what_flower_needs() -> None:
    allowed = (
        *sys.stdlib_module_names,
        "fedmx",
        "flwr",
        "numpy",
        "blake3",
        "grpc",
        "google.protobuf",
        "cryptography",
    )
    wrong = [
        (module, name)
        for module in MODULES
        if module.startswith("fedmx/")
        for name in list_imports(module)
        if not is_below(name, *allowed)
    ]
    assert wrong == []


def test_mxnet_is_imported_in_one_module() -> None:
    assert [
        module for module in MODULES if any(is_below(name, "mxnet") for name in list_imports(module))
    ] == ["client/mx.py"]


def test_the_environment_is_read_in_one_module_and_set_for_libraries_in_another() -> None:
    touching = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    found = {
        module
        for module in MODULES
        for node in ast.walk(parse(module))
        if (isinstance(node, ast.Attribute) and node.attr in touching and ast.unparse(node.value) == "os")
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and touching & {a.name for a in node.names}
        )
    }
    assert found == {"fedmx/libraries.py", "fedmx/settings.py"}


def test_private_modules_of_flower_are_imported_only_where_the_table_says() -> None:
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for name in list_imports(module):
            if is_below(name, "flwr") and name not in PUBLIC_OF_FLOWER:
                found.setdefault(module, set()).add(name)
    assert found == PRIVATE_OF_FLOWER


def test_nothing_happens_at_import_but_definitions() -> None:
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for statement in parse(module).body:
            if not is_definition(statement):
                found.setdefault(module, set()).add(ast.unparse(statement))
    assert found == ACTS_ON_IMPORT


def test_importing_the_server_starts_no_thread_and_leaves_mxnet_out() -> None:
    names = [m.removesuffix(".py").replace("/", ".") for m in MODULES if m.startswith(("server/", "fedmx/"))]
    program = f"""
import importlib, os, sys, threading
before = dict(os.environ)
for name in {names}:
    importlib.import_module(name)
changed = sorted(name for name in os.environ if os.environ[name] != before.get(name))
print(threading.active_count(), "mxnet" in sys.modules, changed)
"""
    environment = {"FLWR_TELEMETRY_ENABLED": "1", "FLWR_DISABLE_UPDATE_CHECK": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    # Flower sets GRPC_VERBOSITY, and tensorboardX CRC32C_SW_MODE, for a package that it may use.
    names = ["CRC32C_SW_MODE", "FLWR_DISABLE_UPDATE_CHECK", "FLWR_TELEMETRY_ENABLED"]
    names += ["GRPC_ENABLE_FORK_SUPPORT", "GRPC_VERBOSITY"]
    assert done.stdout == f"1 False {names}\n"
    assert done.stderr == ""


# Modules that read npy files with numpy although nodes may be threads: before they join, or after they end.
# The cache of datasets is of a client, which is a process.
READS_BY_NUMPY = {
    "bench/larger_than_memory/sets.py",
    "client/cache/entry.py",
    "server/record/checkpoint.py",
    "tests/server/federation.py",
}


def test_nodes_that_are_threads_do_not_parse_arrays_with_pythons_parser() -> None:
    # `Array.numpy()` and `numpy.load` parse a header by `ast`, in which two threads at once can fail before
    # Python 3.11.9; `fedmx.arrays.view` does not.
    of_link = sorted((ROOT / "tests" / "fedmx" / "link").glob("*.py"))
    of_server = ("tests/server/federation.py", "tests/server/nodes.py")
    modules = [*MODULES, *of_server, *(path.relative_to(ROOT).as_posix() for path in of_link)]
    found = {
        module
        for module in modules
        for node in ast.walk(parse(module))
        if isinstance(node, ast.Attribute) and (node.attr == "numpy" or ast.unparse(node) == "np.load")
    }
    assert found == READS_BY_NUMPY
