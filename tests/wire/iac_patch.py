"""Reads a patch view (JSON, standard input) with other people's parsers; prints what they made of it.

Override files are read by python-hcl2; JSON Patches are applied by jsonpatch to templates that have the resources and
none of the properties, then to ones that have others.
"""

import json
import sys

import hcl2
import jsonpatch


def plain(value):
    """python-hcl2 keeps the quotes of strings, and templates of bare names, in some of its versions."""
    if isinstance(value, str):
        if value.startswith("${") and value.endswith("}"):
            value = value[2:-1]
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if not key.startswith("__")}
    return value


def blocks(text):
    found = {}
    for block in plain(hcl2.loads(text)).get("resource", []):
        for kind, named in block.items():
            for name, body in named.items():
                body = dict(body)
                for lifecycle in body.pop("lifecycle", []):
                    body.update(lifecycle)
                assert name not in found.setdefault(kind, {}), f"{kind}.{name} stands twice"
                found[kind][name] = body
    return found


def applied(stack):
    names = {op["path"].split("/")[2] for op in stack["patch"]}
    bare = {"Resources": {name: {"Properties": {}} for name in names}}
    other = json.loads(json.dumps(bare))
    for op in stack["patch"]:
        other["Resources"][op["path"].split("/")[2]]["Properties"][op["path"].split("/")[4]] = "something else"
    if any(op["op"] == "remove" for op in stack["patch"]):
        return jsonpatch.JsonPatch(stack["patch"]).apply(other)
    results = [jsonpatch.JsonPatch(stack["patch"]).apply(template) for template in (bare, other)]
    assert results[0] == results[1], results
    return results[0]


view = json.load(sys.stdin)
print(
    json.dumps(
        {
            "terraform": {file["module"]: blocks(file["text"]) for file in view["terraform"]},
            "stacks": {stack["stack"]: applied(stack) for stack in view["cloudformation"]},
        }
    )
)
