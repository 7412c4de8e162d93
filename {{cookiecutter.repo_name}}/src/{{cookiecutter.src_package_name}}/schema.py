"""One row and its target: the only description of the data.

prepare checks raw files against it, serve checks requests, infer checks inboxes. For another table, replace the fields
of Row and Example. A column whose name is no Python name has an alias: Annotated[float, Field(alias="Bill length")] or,
where a value may be missing, Annotated[float | None, Field(alias="Bill length")] = None.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Row(BaseModel):
    """One penguin, as anyone who asks for a prediction describes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    island: Annotated[str, Field(min_length=1, max_length=40, examples=["Biscoe"])]
    bill_length_mm: Annotated[float, Field(gt=0, lt=200, examples=[46.1])] | None = None
    bill_depth_mm: Annotated[float, Field(gt=0, lt=100, examples=[13.2])] | None = None
    flipper_length_mm: Annotated[float, Field(gt=0, lt=500, examples=[211])] | None = None
    body_mass_g: Annotated[float, Field(gt=0, lt=50_000, examples=[4500])] | None = None
    sex: Annotated[Literal["female", "male"], Field(examples=["female"])] | None = None


class Example(Row):
    """One penguin whose species is known: a row to learn from."""

    species: Literal["Adelie", "Chinstrap", "Gentoo"]
