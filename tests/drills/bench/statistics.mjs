// Rounds in turns, medians, and text tables.

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

/** Each case once a round, the order changed every round; the first round warms up. */
export async function inTurns(rounds, cases) {
  const samples = cases.map(() => []);
  for (let round = 0; round <= rounds; round += 1) {
    for (let turn = 0; turn < cases.length; turn += 1) {
      const index = (round + turn) % cases.length;
      const value = await cases[index](round);
      if (round > 0) samples[index].push(value);
    }
  }
  return samples;
}

export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  const cell = (value, column) => (column === 0 ? String(value).padEnd(widths[0]) : String(value).padStart(widths[column]));
  return rows.map((row) => row.map(cell).join('  ')).join('\n');
}
