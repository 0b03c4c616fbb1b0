// A Chromium with one tab on the page, and what is watched over all the time.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { say } from './desk.mjs';

const out = fileURLToPath(new URL('../../../out/page', import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LOOKS = { wide: { width: 1280, height: 900 }, narrow: { width: 400, height: 860 } };

export async function openBrowser({ executable, origin }) {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const chrome = await chromium.launch({ executablePath: executable });
  say(`Chromium ${chrome.version()}`);
  const context = await chrome.newContext({ viewport: LOOKS.wide, locale: 'en-GB', timezoneId: 'Africa/Accra', serviceWorkers: 'block' });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const noise = [];
  const browser = {
    page,
    context,
    addresses: [],
    nStates: 0,
    nChecks: 0,
    nPictures: 0,
    // Lines of the console that a state brings about on purpose.
    expected: [],
    assertQuiet() {
      assert.deepEqual(noise, [], `noise:\n${noise.join('\n')}`);
    },
    close: () => chrome.close(),
  };
  const note = (line) => {
    if (!browser.expected.some((pattern) => pattern.test(line))) noise.push(line);
  };
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && note(`console: ${message.text()} ${message.location().url ?? ''}`));
  page.on('pageerror', (error) => note(`error: ${error.stack}`));
  context.on('request', (request) => {
    browser.addresses.push(request.url());
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:')) note(`another host: ${request.url()}`);
  });
  // A breach of the policy is told to the document, whatever the console says.
  await page.exposeFunction('breached', (what) => note(`policy: ${what}`));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => window.breached(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`)));

  /** Nothing serious by axe-core, as it looks now. */
  async function accessible(state) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const lines = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(' | ').slice(0, 600)}`);
    browser.nChecks += 1;
    assert.deepEqual(violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)), [], `${state}\n${lines.join('\n')}`);
    for (const line of lines) say(`    axe: ${line.slice(0, 140)}`);
  }

  /** A state looked at: pictures, at least one wide one, checks in each look. */
  browser.look = async (state, looks = ['wide-light']) => {
    browser.nStates += 1;
    const name = `${String(browser.nStates).padStart(2, '0')}-${state}`;
    for (const look of looks) {
      const [size, colorScheme] = look.split('-');
      await page.setViewportSize(LOOKS[size]);
      await page.emulateMedia({ colorScheme });
      // Drawn anew for that width.
      await page.evaluate(() => window.scrollTo(0, 0));
      await page.waitForTimeout(150);
      await accessible(`${name}, ${look}`);
      const [across, width] = await page.evaluate(() => [document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]);
      assert.ok(across <= width, `${name}, ${look}: ${across} px in ${width}`);
      await page.screenshot({ path: path.join(out, `${name}-${look}.png`), fullPage: true });
      browser.nPictures += 1;
    }
    await page.setViewportSize(LOOKS.wide);
    await page.emulateMedia({ colorScheme: 'light' });
    browser.assertQuiet();
    say(`${name}: ${looks.join(', ')}`);
  };
  return browser;
}
