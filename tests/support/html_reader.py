"""Read HTML as a browser does: its elements, their attributes and their texts."""

from html.parser import HTMLParser

VOID = {"meta", "input", "br"}


class Element:
    """An element that was read.

    Attributes:
        name: Its name.
        attributes: Its attributes.
        text: All text in it.
    """

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.text = ""

    @property
    def classes(self) -> list[str]:
        """Its classes."""
        return self.attributes.get("class", "").split()


class HtmlReader(HTMLParser):
    """The elements of a document, in order.

    Attributes:
        elements: The elements.
        open: Those that have not ended.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.text = ""
        self.feed(html)
        self.close()

    def find(self, name: str, class_: str | None = None) -> list[Element]:
        """Return the elements of a name, with a class."""
        named = [each for each in self.elements if each.name == name]
        return [each for each in named if class_ is None or class_ in each.classes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        """Add text to all elements that are open."""
        self.text += data
        for element in self.open:
            element.text += data
