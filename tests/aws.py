# SPDX-License-Identifier: AGPL-3.0-or-later
"""Amazon's queues, in moto's server: what a Lambda's event source does with them is done here by hand."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from testyard.local.ports import free_ports

#: Where scripts/setup has put it.
SERVER = Path(__file__).parents[1] / ".venv-moto" / "bin" / "moto_server"
_ACCOUNT = "123456789012"
_REGION = "eu-west-1"


class Queues:
    """SQS. Moto looks at the header of a call to see for which service it is, and at no signature."""

    def __init__(self, address: str) -> None:
        self._address = address

    def make(self, name: str) -> None:
        """Create a queue whose messages come again at once when they were not deleted."""
        self._ask("CreateQueue", QueueName=name, Attributes={"VisibilityTimeout": "0"})

    def send(self, name: str, body: str) -> None:
        """Put a message into a queue."""
        self._ask("SendMessage", QueueUrl=self._url(name), MessageBody=body)

    def event(self, name: str) -> dict[str, Any]:
        """The event that Lambda makes of the messages that wait."""
        found = self._ask("ReceiveMessage", QueueUrl=self._url(name), MaxNumberOfMessages=10)
        return {
            "Records": [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "eventSource": "aws:sqs",
                    "eventSourceARN": f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{name}",
                    "awsRegion": _REGION,
                }
                for message in found.get("Messages", [])
            ]
        }

    def settle(self, name: str, event: dict[str, Any], answer: dict[str, Any]) -> None:
        """Delete what did not fail, as Lambda does with ``ReportBatchItemFailures``."""
        failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        for record in event["Records"]:
            if record["messageId"] not in failed:
                self._ask("DeleteMessage", QueueUrl=self._url(name), ReceiptHandle=record["receiptHandle"])

    def _url(self, name: str) -> str:
        return f"{self._address}/{_ACCOUNT}/{name}"

    def _ask(self, action: str, **parameters: Any) -> dict[str, Any]:
        answer = httpx.post(
            self._address,
            json=parameters,
            headers={
                "X-Amz-Target": f"AmazonSQS.{action}",
                "Content-Type": "application/x-amz-json-1.0",
                "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{_REGION}/sqs/aws4_request",
            },
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found


@contextmanager
def aws_queues(folder: Path) -> Iterator[Queues]:
    """Moto's server on loopback (3 s to start)."""
    port = free_ports(1)[0]
    with (
        (folder / "moto.log").open("wb") as log,
        subprocess.Popen([SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log) as server,
    ):
        try:
            _wait(server, port, folder / "moto.log")
            yield Queues(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/moto-api/", trust_env=False)
        except httpx.HTTPError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        else:
            return
