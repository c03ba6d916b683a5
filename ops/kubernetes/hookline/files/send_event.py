"""`helm test`: an event type is made, an event is sent and accepted; what was made is removed.

Run in the image with HELM_TEST_API (…/api/v1) and HELM_TEST_MASTER_KEY.
"""

import json
import os
import sys
import urllib.request

API = os.environ["HELM_TEST_API"]
MASTER_KEY = os.environ["HELM_TEST_MASTER_KEY"]


def call(method, path, body=None, token=MASTER_KEY):
    """Return the API's answer; raise for anything but a success."""
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(API + path, data=data, headers=headers, method=method)  # noqa: S310 - our own API
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - likewise
        content = answer.read()
    return json.loads(content) if content else None


organization = call("POST", "/organizations", {"name": "Helm test"})["organization_id"]
application = call("POST", "/applications", {"organization_id": organization, "name": "Helm test"})["application_id"]
try:
    secret = call("POST", "/application_secrets", {"application_id": application, "name": "helm test"})["token"]
    parts = {"service": "chart", "resource_type": "release", "verb": "tested"}
    call("POST", "/event_types", {"application_id": application, **parts})
    event = {
        "application_id": application,
        "event_type": "chart.release.tested",
        "payload": '{"from": "helm test"}',
        "payload_content_type": "application/json",
        "occurred_at": "2026-01-02T03:04:05Z",
        "labels": {"from": "helm-test"},
    }
    accepted = call("POST", "/event", event, token=secret)
    sys.stdout.write(f"accepted: event {accepted['event_id']} at {accepted['received_at']}\n")
finally:
    call("DELETE", f"/applications/{application}")
    call("DELETE", f"/organizations/{organization}")
