// What was spent per category, as a table.
interface Row { category: string; pieces: number; euros: string; organic_share: string }

const orders = await shop.orders.list({ limit: 200 });
const sums = new Map<string, { pieces: number; cents: number; organic: number }>();
for (const order of orders.filter((o) => o.status !== "cancelled")) {
  for (const item of order.items) {
    const sum = sums.get(item.category) ?? { pieces: 0, cents: 0, organic: 0 };
    const cents = item.quantity * item.price_cents;
    sum.pieces += item.quantity;
    sum.cents += cents;
    if (item.organic) sum.organic += cents;
    sums.set(item.category, sum);
  }
}

const table: Row[] = [...sums]
  .sort(([, a], [, b]) => b.cents - a.cents)
  .map(([category, s]) => ({
    category,
    pieces: s.pieces,
    euros: (s.cents / 100).toFixed(2),
    organic_share: `${Math.round((100 * s.organic) / s.cents)} %`,
  }));
return table;
