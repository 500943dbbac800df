"""Nothing in the source runs text as code, starts a shell, or unpickles; no modules import each other."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from pathlib import Path

import grimp


def test_no_shell_no_pickles_no_evaluation_in_the_source() -> None:
    root = Path(__file__).parents[1]
    files = [*root.glob("src/**/*.py"), *root.glob("benchmarks/**/*.py"), *root.glob("examples/*.py")]
    assert len(files) > 100
    found = [f"{file.name}:{line} {what}" for file in files for line, what in risky_calls(file.read_text())]
    assert found == []


def risky_calls(source: str) -> list[tuple[int, str]]:
    """List the calls that run text as code, start a shell, or unpickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"):
            found.append((node.lineno, name))
        if keywords.get("shell", "False") != "False":
            found.append((node.lineno, "shell"))
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append((node.lineno, "torch.load without weights_only"))
        if name in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False":
            found.append((node.lineno, "np.load with pickles"))
        if name == "yaml.load":
            found.append((node.lineno, name))
    return found


def test_the_search_of_the_source_finds_what_it_looks_for() -> None:
    bad = (
        "eval('1')\nos.system('x')\nsubprocess.run('x', shell=True)\ntorch.load('x')\npickle.load(f)\n"
        "np.load('x', allow_pickle=True)\ntorch.load('x', weights_only=True)\nexec('1')\n"
    )
    assert [line for line, _ in risky_calls(bad)] == [1, 2, 3, 4, 5, 6, 8]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("starvsr", exclude_type_checking_imports=False, cache_dir=None)
    assert len(graph.modules) > 200
    assert circles({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}) == []


def circles(imports: Mapping[str, Collection[str]]) -> list[set[str]]:
    """Return the sets of modules that reach each other, by taking away, again and again, what imports nothing left."""
    left = {module: set(imported) for module, imported in imports.items()}
    while ends := {module for module, imported in left.items() if not imported & left.keys()}:
        left = {module: imported for module, imported in left.items() if module not in ends}
    while starts := set(left).difference(*left.values()):
        left = {module: imported for module, imported in left.items() if module not in starts}
    return [set(left)] if left else []


def test_the_search_for_circles_finds_them() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []
    assert circles({"top": ["a"], "a": ["b"], "b": ["c", "low"], "c": ["a"], "low": []}) == [{"a", "b", "c"}]
