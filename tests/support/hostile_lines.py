"""Messages of log lines that do harm wherever a text is not treated as data.

Each dictionary has them by what they attempt.
"""

MARKUP = {
    "script": "<script>alert('script')</script>",
    "image": "<img src=x onerror=\"alert('image')\">",
    "end-of-text": "</pre></td></textarea></title></style><img src=x onerror=alert('end')>",
    "end-of-script": "</script><script>alert('second script')</script>",
    "comment": "--><svg onload=alert('comment')>",
    "attribute": "\"'><img src=x onerror=alert('attribute')>",
    "request": '<img src="http://other.invalid/leak.png">',
    "style": "<style>@import url(http://other.invalid/leak.css);</style>",
    "frame": "<iframe srcdoc=\"<script>parent.alert('frame')</script>\"></iframe>",
}
"""Text that acts where it stands in HTML unescaped: it opens a dialog or sends a request."""

FORMATS = {
    "entities": "&lt;b&gt; &amp;amp; &#x3c;script&#x3e;",
    "link": "javascript:alert('link') http://other.invalid/?a=1&b=2",
    "jinja": "{{ 7 * 7 }} {% for x in y %} {# comment #}",
    "template-literal": "`${7 * 7}` \\u003cscript\\u003e",
    "format": "%s %d %n {0} {message} {",
    "rich": "[red]red[/red] [/] [link=http://other.invalid]here[/link] :boom: [bold",
    "markdown": "# one **two** `three` [four](http://other.invalid)",
    "json": '{"kind": "closed", "a": null}',
}
"""Text that means something to a parser of another language."""

BREAKS = {
    "event": "first\n\ndata: forged\nid: 7\nevent: forged\nretry: 1\n\nlast",
    "returns": "one\rtwo\r\nthree\r\rfour",
    "separators": "one\u2028two\u2029three\x85four\x0bfive\x0csix",
    "empty": "",
    "blank": "  \t ",
    "tabs": "a\tb\tc",
}
"""Text that ends lines, or frames of a protocol of lines."""

CONTROLS = {
    "colour": "\x1b[31mred\x1b[0m \x1b[1;5mblink",
    "screen": "\x1b[2J\x1b[H\x1b[3J\x1bc\x1b[?1049h",
    "cursor": "\x1b[10A\x1b[2Kup\x08\x08\x08back",
    "title": "\x1b]0;owned\x07\x1b]2;owned\x1b\\",
    "hyperlink": "\x1b]8;;http://other.invalid\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "c1": "\x9b31mred\x9d0;owned\x9c",
    "nul": "a\x00b\x07c\x7fd",
    "answerback": "\x05\x1b[c\x1b[6n\x1b]11;?\x07",
}
"""Text that acts on a terminal."""

SCRIPTS = {
    "bidi": "user\u202e gnp.exe \u2066\u2067 end",
    "zero-width": "pass\u200bword\u200d\ufeff \u2060",
    "wide": "\u65e5\u672c\u8a9e\u306e\u30ed\u30b0 \uff26\uff55\uff4c\uff4c",
    "combining": "Z\u0351\u036b\u0343a\u0300\u0301\u0302\u0303 e\u0301",
    "emoji": "\U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "tags": "flag \U000e0041\U000e0042 \ue000 \ufffe",
}
"""Text that is wider, narrower, or in another order than its characters."""

LONG = {
    "word": "x" * 1_000_000,
    "words": "many words " * 20_000,
    "lines": "one of many lines\n" * 5_000,
}
"""Text that is long."""

ALL = MARKUP | FORMATS | BREAKS | CONTROLS | SCRIPTS | LONG
"""All of them; no name stands for two."""
