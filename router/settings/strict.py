"""What all parts of the tier policy file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from router.settings.durations import parse_duration

Duration = Annotated[float, BeforeValidator(parse_duration)]


class Strict(BaseModel):
    """No unknown key, no conversion between types, no change afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
