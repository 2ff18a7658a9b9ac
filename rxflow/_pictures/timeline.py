"""`Timeline`: the picture of a run's times for a notebook, a document and a terminal."""

from rxflow._markup import Markup, element, joined
from rxflow._pictures.cells import plain_text
from rxflow._pictures.run_tree import RunTree
from rxflow._pictures.titles import remarks_on, state_name_of, title_of

_TEXT_WIDTH = 100


class Timeline:
    """When a flow run, its task runs and its subflows waited, ran and failed, as bars.

    A notebook shows it as a picture, and ``print`` as text. `FlowRunView.timeline` reads one.
    """

    __slots__ = ("_tree",)

    def __init__(self, tree: RunTree) -> None:
        self._tree = tree

    @property
    def svg(self) -> str:
        """The picture as SVG, for a file of its own or a document.

        It has no script and no style, and its texts are escaped.
        """
        return str(self._picture())

    def __str__(self) -> str:
        """Show the timeline as lines of text, 100 cells wide."""
        from rxflow._pictures.text_timeline import timeline_lines  # noqa: PLC0415 - as `_picture`

        return plain_text(timeline_lines(self._tree, _TEXT_WIDTH))

    def __repr__(self) -> str:
        """Show the run's id, name and state."""
        root = self._tree.root
        return f"<Timeline of {root.id} name={root.name!r} state={state_name_of(root)!r}>"

    def _repr_html_(self) -> str:
        """Show the picture, for notebooks; of a long one a part, which can be scrolled."""
        root = self._tree.root
        title = joined(element("strong", {}, title_of(root)), f" {state_name_of(root)}")
        remarks = (element("div", {}, remark) for remark in remarks_on(self._tree))
        box = {"style": "max-height: 40em; max-width: 1200px; overflow: auto"}
        return element("div", box, title, self._picture(), *remarks)

    def _picture(self) -> Markup:
        # Not with the views, which every watch imports: the modules of pictures take 2 ms.
        from rxflow._pictures.svg_timeline import svg_timeline  # noqa: PLC0415

        return svg_timeline(self._tree)
