// What came, held to what the book says comes.

const plain = (text) => text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').replace(/\s+/g, ' ').trim();
const pattern = (text) => plain(text).split('…').map((part) => part.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('.*?');

/** The first of `expected` that is not in `output`, in their order; undefined: all are. */
export function missing(expected, output) {
  const lines = output.split('\n').map(plain);
  let from = 0;
  for (const one of expected) {
    // A line is a line, a span a part of one.
    const form = one.line === undefined ? new RegExp(pattern(one.part)) : new RegExp(`^${pattern(one.line)}$`);
    const at = lines.findIndex((line, index) => index >= from && form.test(line));
    if (at < 0) return one.line ?? one.part;
    from = one.line === undefined ? at : at + 1;
  }
  return undefined;
}
