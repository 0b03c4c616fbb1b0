// All set-up, from a fresh clone. Runs on the system's Node; what follows it runs on the
// one in node_modules. `--tools-only` leaves out the release build of the Worker.
//
// This file is in words that an old Node reads, so that it can say that it is too old.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 3)) {
  console.error(`set-up: Node 20.3 or newer is needed, this is ${process.versions.node}. Install one from nodejs.org, or by your version manager.`);
  process.exit(1);
}
import('./setup_steps.mjs').then(({ setUp }) => setUp({ isToolsOnly: process.argv.includes('--tools-only') }));
