"""Proofs of the EnOS sign-in, by vectors that were computed elsewhere."""

from __future__ import annotations

from hub.dialects.enos.sign_in import encryption, signature

WHEN = "1700000000000"


def test_the_encryption_is_that_of_the_documents() -> None:
    wanted = "fce3227dc4e3c11fd442b5e515f3accbb74e83c160cb88bdd3572961ecd07c86"

    assert encryption("ak-1", WHEN, b"sec-1") == wanted


def test_the_signature_is_that_of_the_documents() -> None:
    wanted = "26404a3720679e791aff47eae6c937b54a744a5df4105b554de9c5b87570b0cd"

    assert signature("tok-1", [("orgId", "o1")], b'{"data":[]}', WHEN, b"sec-1") == wanted


def test_the_query_is_signed_in_the_order_of_its_names() -> None:
    one = signature("t", [("b", "2"), ("a", "1")], b"", WHEN, b"s")

    assert one == signature("t", [("a", "1"), ("b", "2")], b"", WHEN, b"s")
    assert one != signature("t", [("a", "2"), ("b", "1")], b"", WHEN, b"s")
