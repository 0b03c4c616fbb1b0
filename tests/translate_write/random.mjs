// Random choices that a seed repeats.

export function createRandom(seed) {
  let state = (BigInt(seed) * 0x9e3779b97f4a7c15n & 0xffffffffffffffffn) | 1n;
  function below(end) {
    state ^= state << 13n & 0xffffffffffffffffn;
    state ^= state >> 7n;
    state ^= state << 17n & 0xffffffffffffffffn;
    return Number((state >> 11n) % BigInt(end));
  }
  const pick = (list) => list[below(list.length)];
  return {
    below,
    pick,
    chance: (percent) => below(100) < percent,
    /** One of [[weight, value], ...]. */
    weighted(pairs) {
      let at = below(pairs.reduce((sum, [weight]) => sum + weight, 0));
      for (const [weight, value] of pairs) {
        if (at < weight) return value;
        at -= weight;
      }
      return undefined;
    },
    some: (list, most) => Array.from({ length: below(most + 1) }, () => pick(list)),
  };
}
