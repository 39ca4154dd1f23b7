"""What somebody says of an exchange, in a log or a traceback, tells nothing of what is in it."""

from typing import Any, cast

from headworks.gateway.exchange import Exchange
from headworks.gateway.heads import Head


def test_an_exchange_shows_neither_body_nor_key():
    """A representation is written where nobody looks for secrets."""
    fields = [(b"authorization", b"Bearer hw_secret")]
    head = Head("POST", "/v1/files", b"", fields, is_current=True, keeps_alive=True)
    nobody = cast("Any", None)
    exchange = Exchange(
        nobody, head, 7, [b"private"], more_body=False, has_news=True, keep_alive=True
    )
    assert "Exchange" in repr(exchange)
    assert "private" not in repr(exchange)
    assert "hw_secret" not in repr(exchange)
