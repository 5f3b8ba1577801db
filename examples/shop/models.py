"""What the shop's operations take and give. Money is whole cents of EUR; dates are ISO days."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

Category = Literal["bakery", "dairy", "drinks", "fruit", "household", "meat", "pantry", "vegetables"]
OrderStatus = Literal["placed", "shipped", "delivered", "cancelled"]
InvoiceStatus = Literal["open", "paid", "failed", "void"]
TicketStatus = Literal["open", "closed"]


class _Named(BaseModel):
    id: str


class Product(BaseModel):
    id: str
    name: str
    category: Category
    organic: bool
    price_cents: int
    stock: int


class CategoryCount(BaseModel):
    category: Category
    products: int
    organic: int


class CartLine(BaseModel):
    product_id: str
    name: str
    quantity: int
    price_cents: int


class Cart(BaseModel):
    lines: list[CartLine]
    total_cents: int


class NewLine(BaseModel):
    """A line of an order to be placed."""

    product_id: str
    quantity: int = Field(1, ge=1, le=99)


class OrderLine(BaseModel):
    product_id: str
    name: str
    category: Category
    organic: bool
    quantity: int
    price_cents: int = Field(description="Of one piece, as charged")


class NewOrder(BaseModel):
    """What an order would be; it has no id yet."""

    placed_on: date
    status: OrderStatus
    total_cents: int
    items: list[OrderLine]


class Order(NewOrder, _Named):
    pass


class Invoice(BaseModel):
    id: str
    order_id: str
    issued_on: date
    status: InvoiceStatus
    amount_cents: int
    attempts: int = Field(description="How often the card was charged, with or without success")
    failure: Literal["insufficient_funds", "card_expired", "bank_unreachable"] | None = None


class ReturnsPolicy(BaseModel):
    days: int = Field(description="Counted from the day of the order")
    perishable_categories: list[Category] = Field(description="Refunded, never taken back")
    text: str


class NewReturn(BaseModel):
    """What a return would be; it has no id yet."""

    order_id: str
    product_id: str
    quantity: int
    refund_cents: int
    send_back: bool


class Return(NewReturn, _Named):
    pass


class Message(BaseModel):
    author: Literal["customer", "shop"]
    text: str


class NewTicket(BaseModel):
    """What a ticket would be; it has no id yet."""

    subject: str
    status: TicketStatus
    opened_on: date
    messages: list[Message]


class Ticket(NewTicket, _Named):
    pass
