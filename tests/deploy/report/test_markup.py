"""Whatever is no markup is text, in elements and in attributes."""

from __future__ import annotations

from edgeq.deploy.report.markup import Markup, element, join, text

HOSTILE = '</script><b onclick="x()">\'&'


def test_text_is_escaped_and_markup_is_not() -> None:
    assert text("<b>") == "&lt;b&gt;"
    assert text(Markup("<b>")) == "<b>"
    assert text(None) == ""
    assert element("p", element("b", HOSTILE), 3, None).count("<") == 4


def test_attributes_are_escaped_shortened_and_left_out() -> None:
    made = element("a", title=HOSTILE, class_="x", data_at=1.5, aria_hidden=None, open=True)
    assert made == (
        '<a title="&lt;/script&gt;&lt;b onclick=&quot;x()&quot;&gt;&#x27;&amp;" class="x" '
        'data-at="1.5" open></a>'
    )


def test_what_python_adds_to_markup_is_text_again() -> None:
    assert text(element("b") + HOSTILE).startswith("&lt;b&gt;")
    assert join(["a", element("b")], ", ") == "a, <b></b>"


def test_empty_elements_are_closed() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("line", x1=0) == '<line x1="0"/>'
