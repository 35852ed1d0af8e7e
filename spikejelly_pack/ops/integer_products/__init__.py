"""Exact products of integer weights and codes, by the fastest route that is proven exact."""

from __future__ import annotations

from .base import Fire, FusedRoute, Kernel, Product, Route, Window, layout, rows_of, storage_dtype
from .choice import (
    ROUTES,
    Measured,
    choose_fusion,
    choose_route,
    forget_choices,
    fused_routes,
    measured_choices,
    measured_table,
    routes,
)

__all__ = [
    "ROUTES",
    "Fire",
    "FusedRoute",
    "Kernel",
    "Measured",
    "Product",
    "Route",
    "Window",
    "choose_fusion",
    "choose_route",
    "forget_choices",
    "fused_routes",
    "layout",
    "measured_choices",
    "measured_table",
    "routes",
    "rows_of",
    "storage_dtype",
]
