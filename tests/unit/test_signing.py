"""Standard Webhooks signatures, with the package from PyPI as an independent witness."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from hub.delivery.outgoing.signing import PREFIX, key_of, message_id, new_secret, signature_headers

BODY = '{"größe":1}'.encode()


def now() -> datetime:
    return datetime.now(UTC)  # the witness compares with the machine's clock


def test_the_example_of_the_specification_is_signed_alike() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signature_headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_witness_takes_a_message_with_either_of_two_secrets_and_no_other() -> None:
    old, new = new_secret(), new_secret()
    headers = dict(signature_headers([new, old], message_id("e1", 7), now(), BODY))
    assert Webhook(new).verify(BODY, headers) == Webhook(old).verify(BODY, headers) == {"größe": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_each_signed_part_is_signed(name: str) -> None:
    secret = new_secret()
    headers = dict(signature_headers([secret], "msg_e_1", now(), BODY))
    headers[name] = headers[name][:-1] + ("1" if headers[name][-1] != "1" else "2")
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers)


def test_a_fresh_secret_has_32_bytes_and_is_never_the_same() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(base64.b64decode(secret.removeprefix(PREFIX))) for secret in made} == {32}


@pytest.mark.parametrize(
    ("secret", "key"), [("whsec_AAEC", b"\0\1\2"), ("plain words", b"plain words"), ("whsec_?", b"whsec_?")]
)
def test_a_declared_secret_of_another_form_is_used_as_it_is(secret: str, key: bytes) -> None:
    assert key_of(secret) == key
