"""A web page that holds the drawing and needs nothing else."""

from __future__ import annotations

from html import escape

__all__ = ["to_page"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; --paper: #ffffff; --ink: #1a1a1a; }}
  @media (prefers-color-scheme: dark) {{ :root {{ --paper: #14171a; --ink: #e6e6e6; }} }}
  body {{ margin: 0; background: var(--paper); color: var(--ink);
         font: 14px/1.45 Helvetica, Arial, sans-serif; }}
  main {{ padding: 1rem; overflow: auto; }}
  pre {{ font: 13px/1.4 ui-monospace, Menlo, Consolas, monospace; margin: 0; }}
  svg {{ display: block; }}
  details {{ padding: 0 1rem 1rem; overflow: auto; }}
  summary {{ cursor: pointer; padding: .25rem 0; }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def to_page(title: str, svg: str | None, text: str) -> str:
    """Write the page: the drawing where there is one, with the tree folded below it."""
    tree = f"<pre>{escape(text)}</pre>"
    if svg is None:
        return _PAGE.format(title=escape(title), body=tree)
    picture = svg[svg.index("<svg") :]  # without the XML prolog, which HTML does not have
    body = f"{picture}\n</main>\n<main>\n<details><summary>As text</summary>{tree}</details>"
    return _PAGE.format(title=escape(title), body=body)
