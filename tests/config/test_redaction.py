"""Masking secrets that a server repeats: whole, encoded, cut off, and quoted."""

import base64
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._backends.reply_failures import after_comma, printable
from rxflow._config.redaction import MASK, Redactor, secrets_of, user_info_secrets
from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings

SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=9)


def base64_of(text: str) -> str:
    """Encode a text as a header of HTTP does."""
    return base64.b64encode(text.encode()).decode()


@given(SECRETS, st.text("ab .:", max_size=9), st.text("ab .:", max_size=9))
def test_a_secret_is_masked_in_every_form(secret: str, before: str, after: str) -> None:
    """Raw, in another case, in base64 and percent-encoded, wherever it stands."""
    redactor = Redactor([secret])
    encoded = base64_of(secret)
    for form in (
        secret,
        encoded,
        encoded.rstrip("="),
        base64.urlsafe_b64encode(secret.encode()).decode(),
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe="").lower(),
        quote_plus(secret),
    ):
        assert form not in redactor.redact(f"{before}{form}{after}") or form in MASK


@given(SECRETS, st.integers(0, 300))
def test_a_secret_in_a_quote_of_a_server_is_masked(secret: str, position: int) -> None:
    """A quote is cut off, and escaped by `repr`; what is left of the secret is masked."""
    quoted = after_comma(printable("-" * position + secret + " is wrong"))
    shown = Redactor([secret]).redact(quoted)
    for length in range(9, len(secret) + 1):
        assert secret[:length] not in shown or secret[:length] in f"{'-' * 300} is wrong"


def test_blanks_of_a_secret_may_be_joined() -> None:
    """A message has one blank where a secret has several."""
    shown = printable("no such key: first   second\tthird!")
    assert Redactor(["first   second\tthird"]).redact(shown) == f"no such key: {MASK}!"


def test_a_short_secret_is_masked_where_it_stands_alone() -> None:
    """A password that is a common word is not masked inside of other words."""
    redactor = Redactor(user_info_secrets("admin:user"))
    assert redactor.redact("users, not 'user'") == f"users, not '{MASK}'"


def test_nothing_is_masked_without_a_secret() -> None:
    """A server without credentials is quoted as it is."""
    for redactor in (Redactor([]), Redactor([""])):
        assert redactor.redact("HTTP 401 for ''") == "HTTP 401 for ''"


def settings(**fields: object) -> Settings:
    """Settings with secrets."""
    return Settings(api_url="https://prefect.example/api", **fields)  # type: ignore[arg-type]


CASES = {
    "a key": (settings(api_key=Secret("pnu_canary17")), ["pnu_canary17", "Bearer pnu_canary17"]),
    "an auth string": (
        settings(auth_string=Secret("ada:canary/17")),
        ["ada:canary/17", "canary/17", f"Basic {base64_of('ada:canary/17')}", "canary%2F17"],
    ),
    "a user alone": (settings(auth_string=Secret("canary17")), ["canary17"]),
    "a short password": (settings(auth_string=Secret("ada:17")), ["ada:17", "ada%3A17"]),
    "a header": (
        settings(headers=(("X-Key", Secret("Token canary17")),)),
        ["Token canary17", "canary17", base64_of("canary17")],
    ),
    "a tenant": (settings(tenant_id=Secret("5a1e8c0e-canary")), ["5a1e8c0e-canary"]),
}


@pytest.mark.parametrize("case", CASES)
def test_all_secrets_of_the_settings_are_masked(case: str) -> None:
    """Every credential, whole and in parts."""
    given_settings, texts = CASES[case]
    redactor = Redactor(secrets_of(given_settings))
    for text in texts:
        assert redactor.redact(f"got <{text}>.") in {f"got <{MASK}>.", f"got <Basic {MASK}>."}


def test_a_header_without_a_secret_masks_no_word() -> None:
    """Short values of headers are ordinary words."""
    redactor = Redactor(secrets_of(settings(headers=(("X-Retry", Secret("1")),))))
    assert redactor.redact("failed 1 time") == "failed 1 time"
