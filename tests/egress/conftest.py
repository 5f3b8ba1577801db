from tests.egress.egress_kit import serve

__all__ = ["serve"]
