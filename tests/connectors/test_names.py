"""Names are identifiers in both languages, readable, and the same each time."""

import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.connectors.names import MAX_NAME_CHARS, identifier, is_reserved, parameter, unique


@pytest.mark.parametrize(("text", "name"), [
    ("list-for-repo", "list_for_repo"), ("GetCustomers", "get_customers"), ("getHTTPResponseV2", "get_http_response_v2"),
    ("listVMs", "list_vms"), ("IPv4Address", "ipv4_address"), ("OAuth2Token", "oauth2_token"), ("2fa", "n2_fa"),
    ("delete", "delete_"), ("from", "from_"), ("then", "then_"), ("__proto__", "proto"), ("Résumé of user's", "resume_of_users"),
    ("createS3Bucket", "create_s3_bucket"), ("users.user.GetMailFolder", "users_user_get_mail_folder"),
])
def test_readable(text: str, name: str) -> None:
    assert identifier(text) == name


@pytest.mark.parametrize(("text", "name"), [
    ("perPage", "perPage"), ("class", "class_"), ("filter[name]", "filter_name"), ("X-Request-Id", "X_Request_Id"),
    ("$top", "top"), ("@type", "type"), ("2nd", "n2nd"), ("__proto__", "proto"),
])
def test_parameters_keep_what_can_be_written(text: str, name: str) -> None:
    assert parameter(text) == name


@given(st.text(max_size=300))
def test_any_text_gives_a_name_of_both_languages(text: str) -> None:
    for name in (identifier(text), parameter(text)):
        assert name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
        assert len(name) <= MAX_NAME_CHARS + 2
        assert not name.startswith("__")
    assert re.fullmatch(r"[a-z][a-z0-9_]*", identifier(text))
    assert not is_reserved(identifier(text))
    assert identifier(text) == identifier(text)


@given(st.lists(st.sampled_from(["a", "b", "a_2", "a_3", "b_2"]), max_size=12))
def test_unique_is_unique_and_keeps_the_first(names: list[str]) -> None:
    result = unique(names)
    assert len(set(result)) == len(names) == len(result)
    for index, name in enumerate(names):
        if name not in names[:index]:
            assert result[index] == name
