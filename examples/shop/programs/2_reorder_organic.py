# Cancel the last three orders and order only their organic items again.
orders = await shop.orders.list(status="placed", limit=3)

wanted = {}
for order in orders:
    for item in order["items"]:
        if item["organic"]:
            wanted[item["product_id"]] = wanted.get(item["product_id"], 0) + item["quantity"]
    await shop.orders.cancel(order_id=order["id"])

if wanted:
    placed = await shop.orders.place(items=[{"product_id": p, "quantity": q} for p, q in wanted.items()])
    result = {
        "cancelled": [order["id"] for order in orders],
        "order": placed["id"],
        "items": [f"{item['quantity']} x {item['name']}" for item in placed["items"]],
        "total_cents": placed["total_cents"],
    }
else:
    result = {"cancelled": [order["id"] for order in orders], "order": None}
result
