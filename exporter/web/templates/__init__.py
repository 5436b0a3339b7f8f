"""The pages' templates, and how they are filled."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from exporter.web import format as wording
from exporter.web.assets import assets_version
from exporter.web.charts import line_label, line_paths

__all__ = ["ENVIRONMENT", "fill", "warm"]

ENVIRONMENT = Environment(
    loader=PackageLoader("exporter.web"),
    autoescape=True,  # what is shown comes from servers, which may be hostile
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.filters.update(
    age=wording.age,
    clock=wording.clock,
    iso=wording.iso,
    line_label=line_label,
    line_paths=line_paths,
    marked=wording.marked,
    board_address=wording.board_address,
    panel_address=wording.panel_address,
    reason_text=wording.reason_text,
    sentence=wording.sentence,
    share=wording.share,
    span=wording.span,
    stage_text=wording.stage_text,
)
ENVIRONMENT.globals.update(fact=wording.fact)


def fill(name: str, /, **values: Any) -> str:
    """Fill a template.

    Its macros and what they see hold each other, and with them all that is shown: let go of here, it is not left to the
    garbage collector, which is made to come seldom.
    """
    template = ENVIRONMENT.get_template(name)
    context = template.new_context({**values, "version": assets_version()})
    try:
        return "".join(template.root_render_func(context))
    finally:
        context.vars.clear()
        context.blocks.clear()


def warm() -> None:
    """Compile every template, so that no reader waits for it and no file is read later."""
    for name in ENVIRONMENT.list_templates(extensions=["html", "svg"]):
        ENVIRONMENT.get_template(name)
