"""The content of a message: text, parts of text, and pictures where the model has eyes."""

from __future__ import annotations

from dataclasses import dataclass, field

from local_engine.api.errors import ApiError, invalid, unsupported
from local_engine.api.fields import Fields
from local_engine.pictures.bounds import BadPicture
from local_engine.pictures.data_url import picture_of
from local_engine.text.template import ChatTemplate

MOST_PICTURES = 32


@dataclass(slots=True)
class Album:
    """The pictures of one request, in their order. Without a template to show them in, none is taken."""

    template: ChatTemplate | None = None
    pictures: list[bytes] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def content(self, content: object, place: str) -> str:
        """The text of a message, with a mark of this process where each picture stands."""
        if isinstance(content, str):
            return content
        if not isinstance(content, list) or not content:
            raise invalid(place, f"{place} must be a string or a list of parts.")
        return "".join(self._part(part, f"{place}[{index}]") for index, part in enumerate(content))

    def refusal(self, number: int, why: BadPicture) -> ApiError:
        """Of a picture that native code could not read, or that does not fit."""
        place = self.places[number] if number < len(self.places) else "messages"
        return invalid(place, f"{place}: the picture cannot be read: {why}.", "invalid_picture")

    def _part(self, part: object, place: str) -> str:
        if not isinstance(part, dict):
            raise invalid(place, f"{place} must be an object.")
        fields = Fields(part, place)
        kind = fields.text("type")
        if kind == "image_url" and self.template is not None:
            return self._picture(fields, f"{place}.image_url", self.template)
        if kind != "text":
            reads = "text and pictures (image_url)" if self.template is not None else "text"
            message = f"{place}: parts of type {kind!r} cannot be read; this model reads {reads} only."
            raise unsupported(f"{place}.type", message)
        text = fields.text("text")
        if text is None:
            raise invalid(f"{place}.text", f"{place}.text is missing.")
        fields.finish()
        return text

    def _picture(self, fields: Fields, place: str, template: ChatTemplate) -> str:
        inner = fields.fields("image_url")
        fields.finish()
        url = inner.text("url") if inner is not None else None
        if inner is None or url is None:
            raise invalid(place, f"{place} must be an object with a url.")
        inner.refuse("detail", "every picture is read in one way, the model's own.", ("auto",))
        inner.finish()
        if len(self.pictures) == MOST_PICTURES:
            raise invalid(place, f"{place}: a request may have at most {MOST_PICTURES} pictures.")
        self.pictures.append(self._checked(url, place))
        self.places.append(place)
        return template.picture(len(self.pictures) - 1)

    @staticmethod
    def _checked(url: str, place: str) -> bytes:
        try:
            return picture_of(url)
        except BadPicture as why:
            raise invalid(f"{place}.url", f"{place}.url: {why}.", "invalid_picture") from None
