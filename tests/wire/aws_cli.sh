#!/bin/sh
# Drives the simulated AWS with the aws command line: describe, switch over, fail over, change records, read metrics,
# publish. Usage: aws_cli.sh URL VENV
set -eu
url=$1
venv=$2
export AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_PAGER= AWS_MAX_ATTEMPTS=1
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
account=123456789012
east=arn:aws:rds:us-east-1:$account:cluster:payments-use1
west=arn:aws:rds:us-west-2:$account:cluster:payments-usw2

# The endpoint is given on every call: the aws command line 1.46 ignores AWS_ENDPOINT_URL for RDS in us-east-1, and
# would call the real AWS.
aws() { "$venv/bin/aws" --endpoint-url "$url" --cli-read-timeout 10 --cli-connect-timeout 5 "$@"; }
sim() { "$venv/bin/python" - "$url/_sim/$1" "${2-}" <<'P'
import sys, urllib.request
data = sys.argv[2].encode() or None
print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], data)).read().decode())
P
}
fail() { echo "FAILED: $*" >&2; exit 1; }
same() { [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"; }
refused() {
    code=$1
    shift
    if said=$(aws "$@" 2>&1); then fail "$* succeeded, expected $code"; fi
    case $said in *"($code)"*) ;; *) fail "$*: expected $code, got: $said" ;; esac
}
writer() {
    aws rds describe-global-clusters --region us-west-2 --global-cluster-identifier payments --output text \
        --query "GlobalClusters[0].[Status, FailoverState.Status, GlobalClusterMembers[?IsWriter].DBClusterArn | [0]]"
}
settles_on() {
    for _ in $(seq 60); do
        if [ "$(writer)" = "available	None	$1" ]; then return; fi
        sim advance '{"ms": 30000}' >/dev/null
    done
    fail "the writer did not settle on $1: $(writer)"
}

echo "describe"
same "writer" "$(writer)" "available	None	$east"
same "cluster" "$(aws rds describe-db-clusters --region us-west-2 --query 'DBClusters[].DBClusterIdentifier' --output text)" payments-usw2
refused GlobalClusterNotFoundFault rds describe-global-clusters --region us-east-1 --global-cluster-identifier nobody
refused DBClusterNotFoundFault rds describe-db-clusters --region us-east-1 --db-cluster-identifier payments-usw2

echo "read metrics"
sim advance '{"ms": 900000}' >/dev/null
now=$(sim state | "$venv/bin/python" -c 'import json,sys; print(json.load(sys.stdin)["now_ms"] // 1000)')
values=$(aws cloudwatch get-metric-statistics --region us-west-2 --namespace AWS/RDS --metric-name AuroraGlobalDBRPOLag \
    --dimensions Name=DBClusterIdentifier,Value=payments-usw2 --period 60 --statistics Maximum \
    --start-time $((now - 600)) --end-time "$now" --query 'length(Datapoints)' --output text)
[ "$values" -ge 3 ] || fail "only $values datapoints"
aws cloudwatch put-metric-data --region us-west-2 --namespace Failoverd --metric-name Flip --value 1

echo "an object in S3"
at="--bucket payments-standby --key payments/there --region us-west-2"
printf 'here' > "${TMPDIR:-/tmp}/failoverd-object.$$"
# shellcheck disable=SC2086
{
    refused 404 s3api head-object $at
    aws s3api put-object $at --body "${TMPDIR:-/tmp}/failoverd-object.$$" --query ETag --output text >/dev/null
    same "length" "$(aws s3api head-object $at --query ContentLength --output text)" 4
    aws s3api delete-object $at
}
rm -f "${TMPDIR:-/tmp}/failoverd-object.$$"

echo "switch over"
aws rds switchover-global-cluster --region us-east-1 --global-cluster-identifier payments \
    --target-db-cluster-identifier "$west" --query GlobalCluster.Status --output text | grep -qx switching-over || fail "switchover"
settles_on "$west"

echo "fail over"
aws rds failover-global-cluster --region us-east-1 --global-cluster-identifier payments --allow-data-loss \
    --target-db-cluster-identifier "$east" --query GlobalCluster.Status --output text | grep -qx failing-over || fail "failover"
settles_on "$east"

echo "change records"
batch='{"Changes":[{"Action":"UPSERT","ResourceRecordSet":{"Name":"cli.payments.example.com","Type":"A","TTL":5,"ResourceRecords":[{"Value":"192.0.2.7"}]}}]}'
id=$(aws route53 change-resource-record-sets --region us-east-1 --hosted-zone-id Z0PAYMENTS --change-batch "$batch" \
    --query ChangeInfo.Id --output text)
for _ in $(seq 60); do
    status=$(aws route53 get-change --region us-east-1 --id "$id" --query ChangeInfo.Status --output text)
    [ "$status" = INSYNC ] && break
    sim advance '{"ms": 10000}' >/dev/null
done
same "change" "$status" INSYNC
refused NoSuchHostedZone route53 get-hosted-zone --region us-east-1 --id ZNOBODY

echo "publish"
aws sns publish --region us-west-2 --topic-arn "arn:aws:sns:us-west-2:$account:payments-alerts" \
    --subject "failover" --message "done" --query MessageId --output text | grep -q . || fail "publish"
refused InvalidParameter sns publish --region us-east-1 --topic-arn "arn:aws:sns:us-west-2:$account:payments-alerts" --message x

echo "throttling"
sim plane '{"plane": "sns", "region": "us-west-2", "reach": "throttles"}' >/dev/null
refused Throttled sns list-topics --region us-west-2
sim plane '{"plane": "sns", "region": "us-west-2", "reach": "up"}' >/dev/null
echo "ok aws_cli"
