"""The attributes of a job and of what it leads to, as a query sees them."""

from __future__ import annotations

from hub.model.query import Attribute, Form, Shapes

JOB = "job"

UNFILTERED = frozenset({"response_body"})
"""What can be selected but not asked for."""

_FORMS: tuple[tuple[str, Form], ...] = (
    ("id", Form.TEXT),
    ("resource_action", Form.WORD),
    ("resource_type", Form.WORD),
    ("resource_id", Form.TEXT),
    ("resource_name", Form.TEXT),
    ("description_l10n", Form.TEXT),
    ("state", Form.WORD),
    ("phase", Form.WORD),
    ("start_time", Form.MOMENT),
    ("end_time", Form.MOMENT),
    ("estimated_completion_time", Form.MOMENT),
    ("progress_percentage", Form.NUMBER),
    ("parent_id", Form.TEXT),
    ("root_id", Form.TEXT),
    ("step_order", Form.NUMBER),
    ("user", Form.TEXT),
    ("response_body", Form.OBJECT),
    ("response_status", Form.WORD),
    ("resource_action_l10n", Form.TEXT),
    ("resource_type_l10n", Form.TEXT),
    ("state_l10n", Form.TEXT),
    ("phase_l10n", Form.TEXT),
    ("response_status_l10n", Form.TEXT),
)

SHAPES: Shapes = {
    JOB: {
        **{name: Attribute(name, form) for name, form in _FORMS},
        **{name: Attribute(name, Form.ONE, JOB) for name in ("parent", "root")},
        **{name: Attribute(name, Form.MANY, JOB) for name in ("children", "leafs")},
    }
}
