"""Makes a component of a plugin in Python. Runs with the tools on its path.

Owns: what only the tools' own language can do. Reads a job as JSON from standard input; says on standard output, as JSON, what
it did, or a problem. Decides nothing about worlds: it is given one with and one without the hook settings.
"""

import ast
import json
import os
import subprocess
import sys


def names_of(path):
    """What a module has at its top level, without running it."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), filename="plugin.py")
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def entry(hooks):
    """The module that the bindings look into: one class for each hook, which hands on to the plugin's."""
    lines = ["import pomona.guest", "import plugin"]
    for hook in hooks:
        lines.append(f"class {hook['class']}:")
        for function in hook["functions"]:
            name = json.dumps(function)
            lines.append(f"    def {function}(self, *given):")
            lines.append(f"        return pomona.guest.call(plugin, {json.dumps(hook['class'])}, {name}, *given)")
    return "\n".join([*lines, "pomona.guest.prepare()", ""])


def run(job):
    try:
        names = names_of(os.path.join(job["folder"], "plugin.py"))
    except SyntaxError as error:
        return {"problem": f"plugin.py:{error.lineno}: {error.msg}"}
    missing = [hook["class"] for hook in job["hooks"] if hook["class"] not in names]
    if missing:
        wanted = " and ".join(f"`class {name}(pomona.{name})`" for name in missing)
        return {"problem": f"plugin.toml names a hook that plugin.py does not have; write {wanted}"}
    settings = "Settings" in names
    hooks = job["hooks"] + ([job["settings"]] if settings else [])
    with open(os.path.join(job["work"], "pomona_entry.py"), "w", encoding="utf-8") as file:
        file.write(entry(hooks))
    # Packages of this machine are none of the plugin's: a folder without any stands in for where they are.
    nothing = os.path.join(job["work"], "nothing")
    os.makedirs(os.path.join(nothing, "lib", "python3", "site-packages"), exist_ok=True)
    arguments = ["-d", job["wit_with_settings"] if settings else job["wit"], "-w", "plugin", "componentize", "--stub-wasi"]
    for place in (job["work"], job["library"], job["folder"]):
        arguments += ["-p", place]
    arguments += ["-o", os.path.join(job["work"], "plugin.wasm"), "pomona_entry"]
    code = "import sys, componentize_py; sys.exit(componentize_py.script())"
    made = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "VIRTUAL_ENV": nothing},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        return {"problem": (made.stderr + made.stdout).strip()[-4000:]}
    return {"settings": settings}


print(json.dumps(run(json.load(sys.stdin))))
