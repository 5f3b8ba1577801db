"""OpenAPI 3.0, 3.1 and Swagger 2.0 documents as capabilities."""

from inhabit.connectors.openapi.connector import OpenApiConnector

__all__ = ["OpenApiConnector"]
