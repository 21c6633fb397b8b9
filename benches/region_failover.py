"""The runbook `region-failover` as a script: the same calls in the same order, no journal, no approval.

Usage: region_failover.py AWS_URL DNS_HOST:PORT ENDPOINTS_PORT
Prints JSON: steps, calls, total_ms, in_calls_ms. Clients are made before the clock starts.
"""

import json
import socket
import struct
import sys
import time
import urllib.request
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config

URL, DNS, PORT = sys.argv[1:4]
EAST, WEST = "us-east-1", "us-west-2"
ACCOUNT = "123456789012"
WEST_ARN = f"arn:aws:rds:{WEST}:{ACCOUNT}:cluster:payments-usw2"
TOPICS = {region: f"arn:aws:sns:{region}:{ACCOUNT}:payments-alerts" for region in (WEST, EAST)}
PANEL = f"arn:aws:route53-recovery-control::{ACCOUNT}:controlpanel/0123456789abcdef0123456789abcdef"
CONTROLS = {EAST: f"{PANEL}/routingcontrol/aaaaaaaaaaaa0001", WEST: f"{PANEL}/routingcontrol/aaaaaaaaaaaa0002"}
NAME, ADDRESS = "api.payments.example.com", "127.0.12.1"

calls = 0
in_calls = 0.0


def timed(call, *args, **kwargs):
    global calls, in_calls
    began = time.perf_counter()
    try:
        return call(*args, **kwargs)
    finally:
        calls += 1
        in_calls += time.perf_counter() - began


def client(service, region):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=URL,
        aws_access_key_id="SIMULATED",
        aws_secret_access_key="simulated",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=5, connect_timeout=3),
    )


rds = {region: client("rds", region) for region in (WEST, EAST)}
sns = {region: client("sns", region) for region in (WEST, EAST)}
cloudwatch = client("cloudwatch", WEST)
arc = client("route53-recovery-cluster", WEST)


def notify(message):
    for region, arn in TOPICS.items():
        timed(sns[region].publish, TopicArn=arn, Message=message)


def writers():
    """What both Regions say of who writes."""
    said = set()
    for region in (WEST, EAST):
        answer = timed(rds[region].describe_global_clusters, GlobalClusterIdentifier="payments")["GlobalClusters"][0]
        writer = [m["DBClusterArn"] for m in answer["GlobalClusterMembers"] if m["IsWriter"]]
        said.add((answer["Status"], "FailoverState" in answer, *writer))
    return said


def lag_seconds():
    now = datetime.now(timezone.utc)
    query = {
        "Id": "lag",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/RDS",
                "MetricName": "AuroraGlobalDBRPOLag",
                "Dimensions": [{"Name": "DBClusterIdentifier", "Value": "payments-usw2"}],
            },
            "Period": 60,
            "Stat": "Maximum",
        },
    }
    answer = timed(
        cloudwatch.get_metric_data, MetricDataQueries=[query], StartTime=now - timedelta(minutes=10), EndTime=now
    )
    return answer["MetricDataResults"][0]["Values"][0] / 1000


def healthy(url):
    with urllib.request.urlopen(url, timeout=3) as answer:
        answer.read()
        assert answer.status == 200


def resolve(name):
    """One A question over UDP to the zone's own server; the address in the last answer."""
    host, port = DNS.rsplit(":", 1)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.sendto(struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1), (host, int(port)))
        answer = s.recv(512)
    # The address is the answer record's last four octets: header and question, then name, type, class, TTL, length.
    start = 12 + len(labels) + 4 + 2 + 2 + 2 + 4 + 2
    return socket.inet_ntoa(answer[start : start + 4])


def until(what, holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.5)


began = time.perf_counter()
# announce
notify("a failover begins")
# check-target
(state,) = writers()
assert state[0] == "available" and not state[1] and state[2] != WEST_ARN, state
timed(rds[WEST].describe_db_clusters, DBClusterIdentifier="payments-usw2")
# bound-loss
assert lag_seconds() < 600
# promote
timed(
    rds[WEST].failover_global_cluster,
    GlobalClusterIdentifier="payments",
    TargetDbClusterIdentifier=WEST_ARN,
    AllowDataLoss=True,
)
moved = {("available", False, WEST_ARN)}
until("the target is promoted", lambda: writers() == moved)
# verify-writer
until("the target is the only writer", lambda: writers() == moved)
# probe-target
timed(healthy, f"http://{ADDRESS}:{PORT}/healthz")
# flip
timed(
    arc.update_routing_control_states,
    UpdateRoutingControlStateEntries=[
        {"RoutingControlArn": CONTROLS[WEST], "RoutingControlState": "On"},
        {"RoutingControlArn": CONTROLS[EAST], "RoutingControlState": "Off"},
    ],
)
for region, state in ((WEST, "On"), (EAST, "Off")):
    answer = timed(arc.get_routing_control_state, RoutingControlArn=CONTROLS[region])
    assert answer["RoutingControlState"] == state
# verify-dns
until("the zone answers with the target", lambda: timed(resolve, NAME) == ADDRESS)
# probe-public
timed(healthy, f"http://{timed(resolve, NAME)}:{PORT}/healthz")
# report
notify("served from us-west-2")
total = time.perf_counter() - began
print(json.dumps({"steps": 10, "calls": calls, "total_ms": total * 1e3, "in_calls_ms": in_calls * 1e3}))
