// Writes src/serve/translate_write/phone/plans.rs: of the numbering plans that libphonenumber-js knows (the version that
// Logto carries), what is needed to read a number in international form. With --check it only compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import metadata from 'libphonenumber-js/metadata.min.json';

const file = fileURLToPath(new URL('../src/serve/translate_write/phone/plans.rs', import.meta.url));
const { version } = JSON.parse(readFileSync(new URL('../node_modules/libphonenumber-js/package.json', import.meta.url), 'utf8'));

// Several countries may share a calling code; a number is read by the plan of the first.
const plans = new Map(Object.entries(metadata.nonGeographic));
for (const [code, [main]] of Object.entries(metadata.country_calling_codes)) plans.set(code, metadata.countries[main]);

const option = (text) => (text ? `Some(r"${text}")` : 'None');
const rows = [...plans].sort(([one], [other]) => (one < other ? -1 : 1)).map(([code, plan]) => {
  const [, , pattern, lengths, , nationalPrefix, , prefixForParsing, rule] = plan;
  return `    plan("${code}", r"${pattern}", &[${lengths.join(', ')}], ${option(prefixForParsing || nationalPrefix)}, ${option(rule)}),\n`;
});
const text = `//! Numbering plans by calling code, of libphonenumber-js ${version}. Made by scripts/phone-plans.mjs.

use super::{Plan, plan};

/// In the order of their codes as text.
#[rustfmt::skip]
pub(super) const PLANS: &[Plan] = &[
${rows.join('')}];
`;

if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) {
    console.error(`${file} is not what the metadata of libphonenumber-js ${version} says`);
    process.exit(1);
  }
} else writeFileSync(file, text);
