// Retry the card charge of every invoice of last month that failed.
const now = new Date();
const day = (d: Date): string => d.toISOString().slice(0, 10);
const since = day(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1, 1)));
const until = day(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 0)));

const failed = await shop.invoices.list({ since, until, status: "failed" });
const retried = await Promise.all(failed.map((invoice) => shop.invoices.retry({ invoice_id: invoice.id })));

return {
  month: since.slice(0, 7),
  failed: failed.length,
  paid: retried.filter((i) => i.status === "paid").map((i) => i.id),
  still_failing: retried.filter((i) => i.status !== "paid").map((i) => ({ id: i.id, why: i.failure })),
  collected_cents: retried.filter((i) => i.status === "paid").reduce((sum, i) => sum + i.amount_cents, 0),
};
