"""One device with the unmodified Python SDK: registers, then connects to its hub, sends a message and reads its twin.

Reads one JSON object from stdin, writes one to stdout: what became of it, or how the SDK words its failure.
"""

import json
import sys

from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient


def register(device, credential):
    common = {
        "provisioning_host": device["host"],
        "registration_id": device["registrationId"],
        "id_scope": device["idScope"],
        "websockets": device["webSockets"],
    }
    if "key" in device:
        client = ProvisioningDeviceClient.create_from_symmetric_key(symmetric_key=device["key"], **common)
    else:
        client = ProvisioningDeviceClient.create_from_x509_certificate(x509=credential, **common)
    client.provisioning_payload = {"model": "x1"}
    return client.register()


def use_hub(device, credential, state):
    common = {"websockets": device["webSockets"]}
    if "key" in device:
        client = IoTHubDeviceClient.create_from_symmetric_key(
            symmetric_key=device["key"], hostname=state.assigned_hub, device_id=state.device_id, **common
        )
    else:
        client = IoTHubDeviceClient.create_from_x509_certificate(
            x509=credential, hostname=state.assigned_hub, device_id=state.device_id, **common
        )
    client.connect()
    try:
        client.send_message(json.dumps({"hello": state.device_id}))
        return client.get_twin()
    finally:
        client.shutdown()


def run(device):
    credential = None
    if "key" not in device:
        credential = X509(cert_file=device["certFile"], key_file=device["keyFile"])
    try:
        result = register(device, credential)
        state = result.registration_state
        answer = {
            "status": result.status,
            "operationId": result.operation_id,
            "assignedHub": state.assigned_hub,
            "deviceId": state.device_id,
            "subStatus": state.sub_status,
        }
        if result.status == "assigned":
            answer["twin"] = use_hub(device, credential, state)
        return answer
    except Exception as error:
        causes = []
        cause = error
        while cause is not None:
            causes.append(f"{type(cause).__name__}: {cause}")
            cause = cause.__cause__
        return {"error": causes}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
