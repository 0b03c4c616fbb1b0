// Medians and text tables.

export function median(values) {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Round by round, then the median: what disturbs one round disturbs both of its sides. */
export function ratio(of, to) {
  const ratios = of.map((value, round) => value / to[round]);
  const fixed = (value) => (Number.isFinite(value) ? Number(value.toFixed(3)) : null);
  return { median: fixed(median(ratios)), min: fixed(Math.min(...ratios)), max: fixed(Math.max(...ratios)) };
}

export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  const cell = (value, column) => (column === 0 ? String(value).padEnd(widths[0]) : String(value).padStart(widths[column]));
  return rows.map((row) => row.map(cell).join('  ')).join('\n');
}
