"""Devices with the unmodified Python clients.

Reads one JSON object per line from stdin and does what it asks, all of them at once; writes one line to stdout for
each: the result, or how the clients word their failure.
"""

import json
import sys
import tempfile
import threading

from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient

writing = threading.Lock()


def create(client, asked, **more):
    """Both clients are made alike, by the kind of the credential."""
    more["websockets"] = asked["transport"] == "mqtt-ws"
    credential = asked["credential"]
    if credential["kind"] == "sas":
        return client.create_from_symmetric_key(symmetric_key=credential["key"], **more)
    # They read certificates from files, when they are made.
    with tempfile.NamedTemporaryFile("w") as cert, tempfile.NamedTemporaryFile("w") as key:
        cert.write(credential["cert"])
        key.write(credential["key"])
        cert.flush()
        key.flush()
        return client.create_from_x509_certificate(x509=X509(cert_file=cert.name, key_file=key.name), **more)


def register(asked):
    client = create(
        ProvisioningDeviceClient,
        asked,
        provisioning_host=asked["host"],
        registration_id=asked["registrationId"],
        id_scope=asked["idScope"],
    )
    if "payload" in asked:
        client.provisioning_payload = asked["payload"]
    result = client.register()
    state = result.registration_state
    return {
        "status": result.status,
        "substatus": state.sub_status,
        "assignedHub": state.assigned_hub,
        "deviceId": state.device_id,
        # A text; "null" where the service sent none.
        "payload": json.loads(state.response_payload),
    }


def use_hub(asked):
    client = create(IoTHubDeviceClient, asked, hostname=asked["hub"], device_id=asked["deviceId"])
    client.connect()
    try:
        client.send_message(json.dumps({"hello": asked["deviceId"]}))
        return client.get_twin()["desired"]
    finally:
        client.shutdown()


def answer(asked):
    line = {"id": asked["id"]}
    try:
        line["result"] = register(asked) if asked["do"] == "register" else use_hub(asked)
    except Exception as error:
        line["error"] = causes_of(error)
    with writing:
        print(json.dumps(line), flush=True)


def causes_of(error):
    causes = []
    while error is not None:
        causes.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return causes


if __name__ == "__main__":
    for text in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(text),), daemon=True).start()
