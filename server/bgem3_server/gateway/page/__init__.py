"""The page at ``/``: compare a query with passages, in a browser."""

from bgem3_server.gateway.page.router import page_router

__all__ = ["page_router"]
