"""Holds raw answers against AWS's own service models, as botocore ships them.

botocore's parsers ignore what they do not know; this does not. Every element, key and value of an answer must be
in the model: no unknown members, required members present, enumerations, numbers and times as they must be.
"""

import datetime
import re
import xml.etree.ElementTree as ET

# Documented, and absent from the enumeration (AWS.md 1.1).
EXTRA_ENUM_VALUES = {"FailoverStatus": {"switching-over"}}
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
METADATA = {"ResponseMetadata", "RequestId", "requestId"}


class Drift(AssertionError):
    """An answer that AWS's model does not allow."""


def local(tag):
    return tag.rsplit("}", 1)[-1]


def check_scalar(shape, value, where, raw):
    kind = shape.type_name
    if kind == "string":
        if not isinstance(value, str):
            raise Drift(f"{where}: {value!r} is not a string")
        allowed = set(getattr(shape, "enum", []) or [])
        if allowed and value not in allowed | EXTRA_ENUM_VALUES.get(shape.name, set()):
            raise Drift(f"{where}: {value!r} is not in the enumeration {shape.name}")
    elif kind in ("integer", "long"):
        if raw == "xml":
            int(value)
        elif not isinstance(value, int) or isinstance(value, bool):
            raise Drift(f"{where}: {value!r} is not an integer")
    elif kind in ("double", "float"):
        if raw == "xml":
            float(value)
        elif not isinstance(value, (int, float)) and value != "NaN":
            raise Drift(f"{where}: {value!r} is not a number")
    elif kind == "boolean":
        if raw == "xml" and value not in ("true", "false") or raw != "xml" and not isinstance(value, bool):
            raise Drift(f"{where}: {value!r} is not a boolean")
    elif kind == "timestamp":
        ok = {
            "xml": lambda: bool(ISO.match(value)),
            "json": lambda: isinstance(value, (int, float)),
            "cbor": lambda: isinstance(value, datetime.datetime),
        }[raw]()
        if not ok:
            raise Drift(f"{where}: {value!r} is not a timestamp of this protocol")
    elif kind != "blob":
        raise Drift(f"{where}: shape {kind} is not expected here")


def check_xml(shape, node, where):
    if shape.type_name == "structure":
        check_xml_structure(shape, node, where)
    elif shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        for child in node:
            if local(child.tag) != name:
                raise Drift(f"{where}: list element <{local(child.tag)}>, expected <{name}>")
            check_xml(shape.member, child, f"{where}/{name}")
    elif shape.type_name == "map":
        for entry in node:
            if local(entry.tag) != "entry" or [local(c.tag) for c in entry] != ["key", "value"]:
                raise Drift(f"{where}: a map entry must be <entry><key/><value/></entry>")
            check_xml(shape.key, entry[0], f"{where}/key")
            check_xml(shape.value, entry[1], f"{where}/value")
    else:
        if len(node):
            raise Drift(f"{where}: a {shape.type_name} with elements inside")
        check_scalar(shape, node.text or "", where, "xml")


def check_xml_structure(shape, node, where, ignore=frozenset()):
    names, flat = {}, {}
    for key, member in shape.members.items():
        if member.serialization.get("location"):
            continue
        if member.type_name == "list" and member.serialization.get("flattened"):
            flat[member.serialization.get("name") or member.member.serialization.get("name", key)] = member
        names[member.serialization.get("name", key)] = (key, member)
    seen = set()
    for child in node:
        name = local(child.tag)
        if name in ignore:
            continue
        if name in flat:
            check_xml(flat[name].member, child, f"{where}/{name}")
        elif name in names:
            key, member = names[name]
            if key in seen:
                raise Drift(f"{where}: <{name}> twice")
            check_xml(member, child, f"{where}/{name}")
            seen.add(key)
        else:
            raise Drift(f"{where}: <{name}> is not in the model ({shape.name})")
    for key in shape.required_members:
        if not shape.members[key].serialization.get("location") and key not in seen:
            raise Drift(f"{where}: required {key} is missing ({shape.name})")


def check_json(shape, value, where, raw):
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            raise Drift(f"{where}: {value!r} is not a structure")
        for key, inner in value.items():
            if key not in shape.members:
                raise Drift(f"{where}: {key} is not in the model ({shape.name})")
            check_json(shape.members[key], inner, f"{where}/{key}", raw)
        for key in shape.required_members:
            if key not in value:
                raise Drift(f"{where}: required {key} is missing ({shape.name})")
    elif shape.type_name == "list":
        if not isinstance(value, list):
            raise Drift(f"{where}: {value!r} is not a list")
        for inner in value:
            check_json(shape.member, inner, f"{where}[]", raw)
    elif shape.type_name == "map":
        for key, inner in value.items():
            check_scalar(shape.key, key, f"{where}/key", raw)
            check_json(shape.value, inner, f"{where}/{key}", raw)
    else:
        check_scalar(shape, value, where, raw)


def check_answer(operation, status, headers, body, protocol):
    """Holds one successful answer against the output shape of `operation`."""
    where, shape = operation.name, operation.output_shape
    headers = {k.lower(): v for k, v in headers.items()}
    if not headers.get("x-amzn-requestid"):
        raise Drift(f"{where}: no x-amzn-requestid")
    if status != (operation.http.get("responseCode") or 200) and not 200 <= status < 300:
        raise Drift(f"{where}: status {status}")
    if protocol == "query":
        root = ET.fromstring(body)
        if local(root.tag) != f"{where}Response":
            raise Drift(f"{where}: root <{local(root.tag)}>")
        if root.find("./{*}ResponseMetadata/{*}RequestId") is None:
            raise Drift(f"{where}: no ResponseMetadata/RequestId")
        if shape is not None:
            result = root.find("./{*}" + shape.serialization.get("resultWrapper", f"{where}Result"))
            if result is None:
                raise Drift(f"{where}: no result element")
            check_xml_structure(shape, result, where)
        namespace = operation.service_model.metadata.get("xmlNamespace")
        if namespace and root.tag != f"{{{namespace}}}{local(root.tag)}":
            raise Drift(f"{where}: namespace of {root.tag}")
    elif protocol == "rest-xml" and (shape is None or "payload" in shape.serialization or not body):
        # What there is to say stands in headers; the body is the object itself, or nothing.
        if shape is not None and any(m.serialization.get("location") is None and k in shape.required_members for k, m in shape.members.items() if k != shape.serialization.get("payload")):
            raise Drift(f"{where}: required members in no body")
        if body and (shape is None or "payload" not in shape.serialization):
            raise Drift(f"{where}: a body where there is none")
    elif protocol == "rest-xml":
        root = ET.fromstring(body)
        # S3's own name for it, which the model does not tell [S3 API, ListObjectsV2].
        expected = {"ListObjectsV2Output": "ListBucketResult"}.get(shape.name, shape.name)
        if local(root.tag) != expected:
            raise Drift(f"{where}: root <{local(root.tag)}>, expected <{expected}>")
        check_xml_structure(shape, root, where)
        for key, member in shape.members.items():
            name = member.serialization.get("name", key).lower()
            if member.serialization.get("location") == "header" and key in shape.required_members:
                if name not in headers:
                    raise Drift(f"{where}: header {name} is missing")
    elif protocol in ("json", "cbor"):
        if shape is not None:
            check_json(shape, body, where, protocol)
    else:
        raise Drift(f"{where}: unknown protocol {protocol}")
