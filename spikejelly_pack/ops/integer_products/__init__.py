"""Exact products of integer weights and codes, by the fastest route that is proven exact."""

from __future__ import annotations

from .base import Kernel, Product, Route, Window, layout, rows_of, storage_dtype
from .choice import (
    ROUTES,
    Measured,
    choose_route,
    forget_choices,
    measured_choices,
    measured_table,
    routes,
)

__all__ = [
    "ROUTES",
    "Kernel",
    "Measured",
    "Product",
    "Route",
    "Window",
    "choose_route",
    "forget_choices",
    "layout",
    "measured_choices",
    "measured_table",
    "routes",
    "rows_of",
    "storage_dtype",
]
