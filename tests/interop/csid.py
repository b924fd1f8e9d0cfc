"""csid.py ENDPOINT: grpcio's health, reflection and status clients against rbd-csid, as TAP."""

import sys
import time

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)
from grpc_status import rpc_status

SERVED = ("", "csi.v1.Controller", "csi.v1.Identity", "csi.v1.Node")

count = failed = 0


def ok(good, name, why=""):
    global count, failed
    count += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {count} - {name}", flush=True)
    if not good:
        print(f"# {why}", flush=True)


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name

    def check(service):
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            return status(stub.Check(request, timeout=120).status)
        except grpc.RpcError as e:
            return e.code().name

    def watch(service):
        call = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=120)
        first = status(next(call).status)
        call.cancel()
        return first

    got = [check(service) for service in SERVED]
    ok(got == ["SERVING"] * len(SERVED), "health: Check", got)
    ok(check("csi.v1.Nope") == "NOT_FOUND", "... of an unknown service")
    got = [watch(service) for service in SERVED]
    ok(got == ["SERVING"] * len(SERVED), "health: Watch", got)
    ok(watch("csi.v1.Nope") == "SERVICE_UNKNOWN", "... of an unknown service")


def reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = sorted(database.get_services())
    ok("csi.v1.Node" in services and len(services) == 7, "reflection: the services", services)
    pool = DescriptorPool(database)
    request = pool.FindMessageTypeByName("csi.v1.NodeStageVolumeRequest")
    got = request.fields_by_name["volume_capability"].message_type.full_name
    ok(got == "csi.v1.VolumeCapability", "... a message with those that it uses", got)
    service = pool.FindServiceByName("csi.v1.Controller")
    got = service.methods_by_name["CreateVolume"].input_type.full_name
    ok(got == "csi.v1.CreateVolumeRequest", "... a service", got)
    try:
        pool.FindMessageTypeByName("csi.v1.Nope")
        ok(False, "... no unknown symbol")
    except KeyError:
        ok(True, "... no unknown symbol")


def details(channel):
    """A cluster that is not there: the deadline comes, and tells programs what goes on."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    request = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("csi.v1.CreateVolumeRequest"))(name="late")
    capability = request.volume_capabilities.add()
    capability.mount.SetInParent()
    capability.access_mode.mode = 1
    request.parameters.update(clusterID="nowhere", pool="rbd")
    request.secrets.update(userID="u", userKey="AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==")
    call = channel.unary_unary("/csi.v1.Controller/CreateVolume",
                               request_serializer=lambda m: m.SerializeToString())
    start = time.monotonic()
    # The server's deadline is 0.1 s before the client's. On a loaded machine grpcio may all the same come first, with an
    # error of its own, which has no details: then the call is made again. Every 10 s the connection fails, and is begun anew.
    while True:
        try:
            call(request, timeout=2)
            ok(False, "details: a deadline")
            return
        except grpc.RpcError as e:
            error, status = e, rpc_status.from_call(e)
        now = time.monotonic()
        if status and b"CONNECTING" in status.SerializeToString() or now > start + 120:
            break
    most = (now - start) * 1000
    ok(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, "details: a deadline", error)
    info = error_details_pb2.ErrorInfo()
    ok(status and len(status.details) == 1 and status.details[0].Unpack(info),
       "... has an ErrorInfo", status)
    ok((info.reason, info.domain) == ("OPERATION_RUNNING", "rbd.csi.ceph.com"),
       "... with reason and domain", info)
    got = dict(info.metadata)
    age = int(got.pop("age_ms", 0))
    ok(got == {"operation": "CreateVolume", "subject": "late", "state": "CONNECTING"},
       "... and tells what runs", info)
    ok(1000 <= age <= most, "... for how long", (age, most))


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        health(channel)
        reflection(channel)
        details(channel)
    print(f"1..{count}")
    sys.exit(1 if failed else 0)


main()
