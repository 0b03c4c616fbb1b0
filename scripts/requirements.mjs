// What must be on the machine before anything can be built, and what to do about it: one
// line each. Node itself is looked at in setup.mjs.
const TARGET = 'wasm32-unknown-unknown';

/**
 * The first thing that is missing, as {line, mend?}: `mend` is a command, as [program,
 * args], that may bring it; `line` is what to say without it. Undefined: all is there.
 *
 * @param probe  (command, args) => {isThere, isDone, stdout, stderr}
 * @param wanted the oldest Rust that will do, such as "1.91"
 * @param exists (path) => boolean
 */
export function findMissing(probe, { wanted, exists }) {
  const rustc = probe('rustc', ['--version']);
  if (!rustc.isThere) return { line: `Rust not found. Install it from rustup.rs (stable, ${wanted} or newer) and open a new terminal.` };
  if (!rustc.isDone) return { line: `rustc does not run: ${firstLine(rustc.stderr)}` };
  const version = /^rustc (\d+\.\d+)\S*/.exec(rustc.stdout);
  if (version && isOlder(version[1], wanted)) {
    return { line: `Rust ${wanted} or newer is needed, this is ${version[0].slice(6)}. Run: rustup update stable` };
  }
  if (!probe('cc', ['--version']).isThere) {
    return { line: 'no C compiler (cc): Rust links with it. Debian: apt-get install build-essential; macOS: xcode-select --install' };
  }
  const library = probe('rustc', ['--print', 'target-libdir', '--target', TARGET]);
  if (library.isDone && exists(library.stdout.trim())) return undefined;
  if (!probe('rustup', ['--version']).isThere) {
    return { line: `this Rust has no target ${TARGET}, and there is no rustup to add it. Install Rust from rustup.rs.` };
  }
  return {
    mend: ['rustup', ['target', 'add', TARGET]],
    line: `the Rust target ${TARGET} is missing and could not be added. With a network, run: rustup target add ${TARGET}`,
  };
}

function isOlder(found, wanted) {
  const [[major, minor], [wantedMajor, wantedMinor]] = [found, wanted].map((version) => version.split('.').map(Number));
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}

function firstLine(text) {
  return text.trim().split('\n', 1)[0].replace(/^error: /, '') || 'it says nothing';
}
