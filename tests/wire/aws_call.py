"""Holds what failoverd's `aws.call` relies on against botocore, which AWS wrote.

Usage: aws_call.py signatures|services      (JSON on standard input)

signatures: requests as they arrived, each signed by failoverd; botocore's own SigV4 must come to the same signature.
services:   what failoverd believes of services and REST operations; AWS's models must say the same.
"""

import json
import re
import sys

import botocore.auth
import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def signature(authorization):
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
        authorization,
    )
    assert found, authorization
    return found.groups()


def signatures(requests):
    for r in requests:
        headers = {name.lower(): value for name, value in r["headers"]}
        access, date, region, service, signed, ours = signature(headers["authorization"])
        assert (access, region, service) == (r["access_key"], r["region"], r["service"]), headers["authorization"]
        assert {"host", "x-amz-date"} <= set(signed.split(";")), signed
        if r["session_token"]:
            assert headers["x-amz-security-token"] == r["session_token"] and "x-amz-security-token" in signed
        request = AWSRequest(
            method=r["method"],
            url="http://" + headers["host"] + r["path"],
            headers={name: headers[name] for name in signed.split(";")},
            data=r["body"].encode(),
        )
        auth = SigV4Auth(Credentials(r["access_key"], r["secret_key"], r["session_token"] or None), service, region)
        request.context["timestamp"] = headers["x-amz-date"]
        canonical = auth.canonical_request(request)
        theirs = auth.signature(auth.string_to_sign(request, canonical), request)
        assert ours == theirs, f"{r['method']} {r['path']}: {ours} is not {theirs}\n{canonical}"
        # A check that cannot fail proves nothing.
        request.data = r["body"].encode() + b" "
        assert ours != auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    print(f"ok {len(requests)} signatures")


def services(table):
    session = botocore.session.get_session()
    # botocore keys models by folder; the endpoint prefix or the signing name is what failoverd calls a service.
    models = {}
    for name in session.get_available_services():
        metadata = session.get_service_model(name).metadata if name in table["folders"] else None
        if metadata:
            models[name] = session.get_service_model(name)
    for s in table["services"]:
        model = models[s["folder"]]
        m = model.metadata
        assert m["endpointPrefix"] == s["name"], (s, m["endpointPrefix"])
        assert m.get("signingName", m["endpointPrefix"]) == s["name"], (s, m.get("signingName"))
        assert m["serviceId"] == s["sdk_id"], (s, m["serviceId"])
        assert m["signatureVersion"] == "v4", (s, m["signatureVersion"])
        offered = set(m.get("protocols", [m["protocol"]])) | {m["protocol"]}
        assert s["protocol"] in {"json", "rest-json", "query", "ec2"} and s["protocol"] in offered, (s, offered)
        if s["protocol"] == "json":
            assert (m["targetPrefix"], m["jsonVersion"]) == (s["target"], s["json_version"]), (s, m)
        if s["protocol"] in ("query", "ec2"):
            assert m["apiVersion"] == s["version"], (s, m["apiVersion"])
    for o in table["operations"]:
        http = models[o["service"]].operation_model(o["operation"]).http
        bare = lambda path: re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")
        assert (http["method"], bare(http["requestUri"])) == (o["method"], bare(o["path"])), (o, http)
        shape = models[o["service"]].operation_model(o["operation"]).input_shape
        for name in re.findall(r"\{([^}]*)\}", o["path"]):
            assert shape.members[name].serialization.get("location") in ("uri", "querystring"), (o, name)
    print(f"ok {len(table['services'])} services, {len(table['operations'])} operations")


if __name__ == "__main__":
    {"signatures": signatures, "services": services}[sys.argv[1]](json.load(sys.stdin))
